// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's jobs, whose work TypeScript does. thread: Orthanc's job threads step and stop, one
// at a time for each job; any of Orthanc's asks for the state, and resets a job that is to be
// repeated, also with the lock of its list of jobs held.
#include "jobs.h"

#include <atomic>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "plugin_state.h"

namespace cloudstore {
namespace {

// TypeScript knows what it means; Orthanc keeps it with the job.
constexpr const char* kJobType = "MoveStorage";
// Between two steps that found no runtime, and how many of them are too many: half a minute.
constexpr std::chrono::milliseconds kLostPause{250};
constexpr int kLostMax = 120;

/** What Orthanc holds of a job, until it calls `finalize`. */
class Job {
 public:
  Job(std::shared_ptr<JobTable> table, JobState state)
      : table_(std::move(table)), handle_(table_->add(std::move(state))) {}
  ~Job() { table_->remove(handle_); }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  [[nodiscard]] JobState state() const { return table_->get(handle_); }

  /** Tells TypeScript, with what the job last was. @returns whether TypeScript has done it */
  Result::Verdict tell(PluginState& state, const char* what,
                       Request::Limit limit = &Timeouts::call) const {
    // Orthanc's copy may change while TypeScript reads this one.
    const std::string serialized = this->state().serialized;
    return state.lanes.first()
        .call(std::make_shared<Call>(limit, what, handle_, serialized.data(), serialized.size()))
        .verdict;
  }

  /** Steps in a row that found no runtime. */
  int lostSteps = 0;
  /** Orthanc has reset the job when there was no runtime: that is to be told before the next step.
   */
  bool resetDue = false;
  /** What Orthanc has been shown last, and may still read. */
  std::string shownContent;
  std::string shownSerialized;

 private:
  const std::shared_ptr<JobTable> table_;
  const std::string handle_;
};

Job& jobOf(void* job) { return *static_cast<Job*>(job); }

void tellReset(PluginState& state, Job& job) {
  // Orthanc's list of jobs may be locked meanwhile.
  const Result::Verdict verdict = job.tell(state, "job-reset", &Timeouts::metrics);
  job.resetDue = verdict != Result::Verdict::kSuccess && verdict != Result::Verdict::kFailed;
}

OrthancPluginJobStepStatus takeStep(PluginState& state, Job& job) {
  if (job.resetDue) {
    tellReset(state, job);
  }
  const Result::Verdict verdict =
      job.resetDue ? Result::Verdict::kLost : job.tell(state, "job-step");
  if (verdict == Result::Verdict::kSuccess) {
    job.lostSteps = 0;
    return job.state().status;
  }
  // A new runtime takes the job up where this one left it.
  if (verdict == Result::Verdict::kFailed || ++job.lostSteps > kLostMax) {
    return OrthancPluginJobStepStatus_Failure;
  }
  std::this_thread::sleep_for(kLostPause);
  return OrthancPluginJobStepStatus_Continue;
}

bool isStopping(const PluginState& state) { return !state.orthanc.callGate().isOpen(); }

/** In the place of a step, once Orthanc is stopping: the job is to be kept as it is, and taken up
 * at the next start. */
OrthancPluginJobStepStatus rest(PluginState& state, const Job& job) {
  job.tell(state, "job-stop");
  // Orthanc waits for this thread before it takes away what a call under way needs.
  state.orthanc.callGate().awaitQuiet();
  // Orthanc takes the next step at once.
  std::this_thread::sleep_for(kLostPause);
  return OrthancPluginJobStepStatus_Continue;
}

OrthancPluginJobStepStatus step(void* raw) noexcept {
  // Otherwise there is no memory, or Orthanc is stopping: a move is not lost over that.
  return guarded("job", OrthancPluginJobStepStatus_Continue, [raw](PluginState& state) {
    Job& job = jobOf(raw);
    auto status = OrthancPluginJobStepStatus_Continue;
    if (!isStopping(state)) {
      status = takeStep(state, job);
    }
    // A failure would be the end of the job, also where it comes of Orthanc's being stopped.
    return status != OrthancPluginJobStepStatus_Success && isStopping(state) ? rest(state, job)
                                                                             : status;
  });
}

OrthancPluginErrorCode stop(void* raw, OrthancPluginJobStopReason /*reason*/) noexcept {
  return guarded("job", OrthancPluginErrorCode_Success, [raw](PluginState& state) {
    jobOf(raw).tell(state, "job-stop");
    return OrthancPluginErrorCode_Success;
  });
}

OrthancPluginErrorCode reset(void* raw) noexcept {
  return guarded("job", OrthancPluginErrorCode_Success, [raw](PluginState& state) {
    tellReset(state, jobOf(raw));
    return OrthancPluginErrorCode_Success;
  });
}

// These answer also after Finalize, from the table that the job has.

float progressOf(void* raw) noexcept {
  return guarded(0.0F, [raw] { return jobOf(raw).state().progress; });
}

const char* contentOf(void* raw) noexcept {
  return guarded<const char*>(nullptr, [&job = jobOf(raw)] {
    job.shownContent = job.state().content;
    return job.shownContent.c_str();
  });
}

const char* serializedOf(void* raw) noexcept {
  return guarded<const char*>(nullptr, [&job = jobOf(raw)] {
    job.shownSerialized = job.state().serialized;
    return job.shownSerialized.c_str();
  });
}

void finalize(void* raw) noexcept { const std::unique_ptr<Job> job(static_cast<Job*>(raw)); }

/** @returns nullptr where Orthanc refuses */
OrthancPluginJob* create(const PluginState& state, const char* type, std::unique_ptr<Job> job) {
  // Not OrthancPluginCreateJob2: for a job of that kind, PluginsJob::Serialize asks for the content
  // and takes the answer for "not serialized" (seen in 1.12.7), so that no job outlives Orthanc. To
  // be replaced once the oldest Orthanc that we support does better. By way of the service, since
  // the inline function is marked as deprecated.
  OrthancPluginJob* created = nullptr;
  const _OrthancPluginCreateJob params{&created,  job.get(),    finalize, type, progressOf,
                                       contentOf, serializedOf, step,     stop, reset};
  OrthancPluginContext* context = state.orthanc.raw();
  guardOrthanc(
      [&] { return context->InvokeService(context, _OrthancPluginService_CreateJob, &params); });
  if (created != nullptr) {
    // Orthanc has it now, until it calls finalize.
    static_cast<void>(job.release());  // NOLINT(bugprone-unused-return-value)
  }
  return created;
}

OrthancPluginJob* unserialize(const char* type, const char* serialized) noexcept {
  return guarded("job", static_cast<OrthancPluginJob*>(nullptr), [&](PluginState& state) {
    if (std::strcmp(type, kJobType) != 0) {
      return static_cast<OrthancPluginJob*>(nullptr);
    }
    auto job = std::make_unique<Job>(state.jobs, JobState{0, "{}", serialized});
    // Orthanc has added to what it kept, and takes it back only as it was: TypeScript knows how.
    return job->tell(state, "job-restore") == Result::Verdict::kSuccess
               ? create(state, type, std::move(job))
               : nullptr;
  });
}

}  // namespace

std::string JobTable::add(JobState state) {
  static std::atomic<uint64_t> nextHandle{1};
  std::string handle = std::to_string(nextHandle++);
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.emplace(handle, std::move(state));
  return handle;
}

JobState JobTable::get(const std::string& handle) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return jobs_.at(handle);
}

void JobTable::update(const std::string& handle, JobState state) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = jobs_.find(handle);
  if (found != jobs_.end()) {
    found->second = std::move(state);
  }
}

void JobTable::remove(const std::string& handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.erase(handle);
}

Answer submitJob(const std::string& type, const JobState& job, int priority) {
  const std::shared_ptr<PluginState> state = currentState();
  if (state == nullptr) {
    return notCalled();
  }
  const CallGate::Visit visit(state->orthanc.callGate());
  if (!visit.admitted()) {
    return notCalled();
  }
  OrthancPluginContext* context = state->orthanc.raw();
  OrthancPluginJob* created = create(*state, type.c_str(), std::make_unique<Job>(state->jobs, job));
  if (created == nullptr) {
    return {500, "text/plain", "Orthanc creates no job"};
  }
  const auto free = [&state](char* text) { state->orthanc.free(text); };
  std::unique_ptr<char, decltype(free)> id(nullptr, free);
  guardOrthanc([&] { id.reset(OrthancPluginSubmitJob(context, created, priority)); });
  if (id == nullptr) {
    guardOrthanc([&] { OrthancPluginFreeJob(context, created); });
    return {500, "text/plain", "Orthanc does not take the job"};
  }
  return {200, "text/plain", id.get()};
}

void registerJobs(OrthancPluginContext* context) {
  OrthancPluginRegisterJobsUnserializer(context, unserialize);
}

}  // namespace cloudstore
