// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's jobs, whose work TypeScript does. thread: Orthanc's job threads step, stop and reset;
// any of Orthanc's asks for the state, also with the lock of its list of jobs held.
#include "jobs.h"

#include <atomic>
#include <chrono>
#include <cstring>
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

std::atomic<uint64_t> nextHandle{1};

/** What Orthanc holds of a job, until it calls `finalize`. While it lives, TypeScript can reach the
 * job. */
class Owner {
 public:
  Owner(PluginState& state, JobState::Snapshot snapshot)
      : job_(std::make_shared<JobState>(std::move(snapshot))) {
    state.jobs.add(job_);
  }
  ~Owner() {
    if (const std::shared_ptr<PluginState> state = currentState()) {
      state->jobs.remove(job_->handle());
    }
  }
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;

  [[nodiscard]] JobState& job() const { return *job_; }

 private:
  const std::shared_ptr<JobState> job_;
};

JobState& jobOf(void* owner) { return static_cast<Owner*>(owner)->job(); }

/** Tells TypeScript, with what the job last was. */
Result ask(PluginState& state, const JobState& job, const char* what, uint16_t* answer) {
  // Orthanc's copy may change while TypeScript reads this one.
  const std::string serialized = job.snapshot().serialized;
  const auto request =
      std::make_shared<Request>(Request::Subject{Operation::kJob, job.handle(), 0, 0, what},
                                serialized.data(), serialized.size(), nullptr);
  const Result result = state.lanes.first().call(request);
  if (result.verdict == Result::Verdict::kSuccess) {
    *answer = request->restAnswer().status;
  }
  return result;
}

/** Tells TypeScript, if there is one to tell. */
Result tell(const JobState& job, const char* what, uint16_t* answer) {
  const std::shared_ptr<PluginState> state = currentState();
  return state == nullptr ? Result{} : ask(*state, job, what, answer);
}

OrthancPluginJobStepStatus takeStep(JobState& job) {
  uint16_t answer = 0;
  Result result;
  if (job.resetDue()) {
    result = tell(job, "job-reset", &answer);
    job.resetDue() = result.verdict != Result::Verdict::kSuccess;
  }
  if (!job.resetDue()) {
    result = tell(job, "job-step", &answer);
  }
  if (result.verdict == Result::Verdict::kSuccess) {
    job.lostSteps() = 0;
    switch (answer) {
      case OrthancPluginJobStepStatus_Success:
        return OrthancPluginJobStepStatus_Success;
      case OrthancPluginJobStepStatus_Continue:
        return OrthancPluginJobStepStatus_Continue;
      default:
        return OrthancPluginJobStepStatus_Failure;
    }
  }
  // A new runtime takes the job up where this one left it.
  job.lostSteps() += 1;
  if (job.lostSteps() > kLostMax) {
    return OrthancPluginJobStepStatus_Failure;
  }
  std::this_thread::sleep_for(kLostPause);
  return OrthancPluginJobStepStatus_Continue;
}

bool isStopping() {
  const std::shared_ptr<PluginState> state = currentState();
  return state != nullptr && !state->orthanc.gate().isOpen(CallGate::Kind::kService);
}

/** In the place of a step, once Orthanc is stopping: the job is to be kept as it is, and taken up
 * at the next start. */
void rest(const JobState& job) {
  if (const std::shared_ptr<PluginState> state = currentState()) {
    uint16_t answer = 0;
    static_cast<void>(ask(*state, job, "job-stop", &answer));
    // Orthanc waits for this thread before it takes away what a call under way needs.
    state->orthanc.gate().awaitQuiet(CallGate::Kind::kService);
  }
  // Orthanc takes the next step at once.
  std::this_thread::sleep_for(kLostPause);
}

OrthancPluginJobStepStatus step(void* raw) noexcept {
  try {
    JobState& job = jobOf(raw);
    auto status = OrthancPluginJobStepStatus_Continue;
    if (!isStopping()) {
      status = takeStep(job);
    }
    // A failure would be the end of the job, also where it comes of Orthanc's being stopped.
    if (status != OrthancPluginJobStepStatus_Success && isStopping()) {
      rest(job);
      return OrthancPluginJobStepStatus_Continue;
    }
    return status;
  } catch (...) {
    return OrthancPluginJobStepStatus_Continue;  // no memory: a move is not lost over that
  }
}

OrthancPluginErrorCode stop(void* raw, OrthancPluginJobStopReason /*reason*/) noexcept {
  try {
    uint16_t answer = 0;
    static_cast<void>(tell(jobOf(raw), "job-stop", &answer));
    return OrthancPluginErrorCode_Success;
  } catch (...) {
    return OrthancPluginErrorCode_Plugin;
  }
}

OrthancPluginErrorCode reset(void* raw) noexcept {
  try {
    JobState& job = jobOf(raw);
    uint16_t answer = 0;
    job.resetDue() = tell(job, "job-reset", &answer).verdict != Result::Verdict::kSuccess;
    return OrthancPluginErrorCode_Success;
  } catch (...) {
    return OrthancPluginErrorCode_Plugin;
  }
}

float progressOf(void* raw) noexcept {
  try {
    return jobOf(raw).snapshot().progress;
  } catch (...) {
    return 0;
  }
}

const char* contentOf(void* raw) noexcept {
  try {
    return jobOf(raw).shownContent();
  } catch (...) {
    return nullptr;
  }
}

const char* serializedOf(void* raw) noexcept {
  try {
    return jobOf(raw).shownSerialized();
  } catch (...) {
    return nullptr;
  }
}

void finalize(void* raw) noexcept {
  try {
    const std::unique_ptr<Owner> owner(static_cast<Owner*>(raw));
  } catch (...) {  // NOLINT(bugprone-empty-catch): nothing may cross the C ABI
  }
}

/** @returns nullptr where Orthanc refuses */
OrthancPluginJob* create(PluginState& state, const char* type, std::unique_ptr<Owner> owner) {
  // Not OrthancPluginCreateJob2: for a job of that kind, PluginsJob::Serialize asks for the content
  // and takes the answer for "not serialized" (seen in 1.12.7), so that no job outlives Orthanc. To
  // be replaced once the oldest Orthanc that we support does better. By way of the service, since
  // the inline function is marked as deprecated.
  OrthancPluginJob* job = nullptr;
  const _OrthancPluginCreateJob params{&job,      owner.get(),  finalize, type, progressOf,
                                       contentOf, serializedOf, step,     stop, reset};
  OrthancPluginContext* context = state.orthanc.raw();
  static_cast<void>(guardOrthanc(
      [&] { return context->InvokeService(context, _OrthancPluginService_CreateJob, &params); }));
  if (job != nullptr) {
    // Orthanc has it now, until it calls finalize.
    static_cast<void>(owner.release());  // NOLINT(bugprone-unused-return-value)
  }
  return job;
}

OrthancPluginJob* unserialize(const char* type, const char* serialized) noexcept {
  try {
    const std::shared_ptr<PluginState> state = currentState();
    if (state == nullptr || std::strcmp(type, kJobType) != 0) {
      return nullptr;
    }
    auto owner = std::make_unique<Owner>(*state, JobState::Snapshot{0, "{}", serialized});
    uint16_t answer = 0;
    // Orthanc has added to what it kept, and takes it back only as it was: TypeScript knows how.
    if (ask(*state, owner->job(), "job-restore", &answer).verdict != Result::Verdict::kSuccess ||
        answer != OrthancPluginJobStepStatus_Success) {
      return nullptr;
    }
    return create(*state, type, std::move(owner));
  } catch (...) {
    return nullptr;
  }
}

}  // namespace

JobState::JobState(Snapshot snapshot)
    : handle_(std::to_string(nextHandle++)), snapshot_(std::move(snapshot)) {}

JobState::Snapshot JobState::snapshot() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return snapshot_;
}

const char* JobState::shownContent() {
  shownContent_ = snapshot().content;
  return shownContent_.c_str();
}

const char* JobState::shownSerialized() {
  shownSerialized_ = snapshot().serialized;
  return shownSerialized_.c_str();
}

void JobState::update(Snapshot snapshot) {
  const std::lock_guard<std::mutex> lock(mutex_);
  snapshot_ = std::move(snapshot);
}

void JobTable::add(const std::shared_ptr<JobState>& job) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_[job->handle()] = job;
}

void JobTable::update(const std::string& handle, JobState::Snapshot snapshot) {
  std::shared_ptr<JobState> job;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto found = jobs_.find(handle);
    if (found != jobs_.end()) {
      job = found->second.lock();
    }
  }
  if (job != nullptr) {
    job->update(std::move(snapshot));
  }
}

void JobTable::remove(const std::string& handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  jobs_.erase(handle);
}

RestAnswer submitJob(const std::string& type, JobState::Snapshot snapshot, int priority) {
  const std::shared_ptr<PluginState> state = currentState();
  if (state == nullptr) {
    return notCalled();
  }
  const CallGate::Visit visit(state->orthanc.gate(), CallGate::Kind::kService);
  if (!visit.admitted()) {
    return notCalled();
  }
  OrthancPluginContext* context = state->orthanc.raw();
  auto owner = std::make_unique<Owner>(*state, std::move(snapshot));
  OrthancPluginJob* job = create(*state, type.c_str(), std::move(owner));
  if (job == nullptr) {
    return {500, "text/plain", "Orthanc creates no job"};
  }
  const auto free = [&state](char* text) { state->orthanc.free(text); };
  std::unique_ptr<char, decltype(free)> id(nullptr, free);
  const OrthancPluginErrorCode code = guardOrthanc([&] {
    id.reset(OrthancPluginSubmitJob(context, job, priority));
    return id == nullptr ? OrthancPluginErrorCode_Plugin : OrthancPluginErrorCode_Success;
  });
  if (code != OrthancPluginErrorCode_Success) {
    static_cast<void>(guardOrthanc([&] {
      OrthancPluginFreeJob(context, job);
      return OrthancPluginErrorCode_Success;
    }));
    return {500, "text/plain", "Orthanc does not take the job"};
  }
  return {200, "text/plain", id.get()};
}

void registerJobs(OrthancPluginContext* context) {
  OrthancPluginRegisterJobsUnserializer(context, unserialize);
}

}  // namespace cloudstore
