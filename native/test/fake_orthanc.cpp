// SPDX-License-Identifier: GPL-3.0-or-later
#include "fake_orthanc.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <stdexcept>
#include <utility>

namespace cloudstore {
namespace {

/** For what comes at once, on a machine with other things to do. */
constexpr std::chrono::seconds kLogLimit(30);

/** Orthanc's memory. Global, as the plugin frees it without saying whose it is. */
class Memory {
 public:
  static Memory& instance() {
    static Memory memory;
    return memory;
  }

  void* allocate(uint64_t size) {
    // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): as Orthanc does
    void* block = std::malloc(size == 0 ? 1 : size);
    const std::lock_guard<std::mutex> lock(mutex_);
    blocks_.insert(block);
    return block;
  }

  char* copyOf(const std::string& text) {
    auto* block = static_cast<char*>(allocate(text.size() + 1));
    std::memcpy(block, text.c_str(), text.size() + 1);
    return block;
  }

  void free(void* block) {
    if (block == nullptr) {
      return;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (blocks_.erase(block) == 0) {
      violations_ += "freed what was not Orthanc's, or twice\n";
      return;
    }
    std::free(block);  // NOLINT(cppcoreguidelines-owning-memory)
  }

  void violated(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    violations_ += what + "\n";
  }

  std::string violations() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return violations_;
  }

  size_t blocks() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return blocks_.size();
  }

 private:
  std::mutex mutex_;
  std::set<void*> blocks_;
  std::string violations_;
};

void freeBlock(void* block) { Memory::instance().free(block); }

FakeOrthanc::RestReply& replyOf(OrthancPluginRestOutput* output) {
  return *reinterpret_cast<FakeOrthanc::RestReply*>(output);
}

std::string textOf(const void* data, uint64_t size) {
  return size == 0 ? std::string() : std::string(static_cast<const char*>(data), size);
}

}  // namespace

/** One per Initialize, as in Orthanc; kept afterwards, so that its use can be noticed. */
struct FakeOrthanc::Context {
  OrthancPluginContext raw{};
  std::string version;
  std::atomic<bool> alive{true};
};

FakeOrthanc::FakeOrthanc(std::string configuration) : configuration_(std::move(configuration)) {}

FakeOrthanc::~FakeOrthanc() {
  freeJobs();
  finalize();
  unload();
}

void FakeOrthanc::load() {
  library_ = dlopen(PLUGIN_PATH, RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    throw std::runtime_error(dlerror());  // NOLINT(concurrency-mt-unsafe)
  }
}

void FakeOrthanc::unload() {
  if (library_ != nullptr) {
    dlclose(library_);
    library_ = nullptr;
  }
}

template <typename Function>
Function FakeOrthanc::find(const char* name) const {
  void* symbol = dlsym(library_, name);
  if (symbol == nullptr) {
    throw std::runtime_error(std::string("the plugin lacks ") + name);
  }
  return reinterpret_cast<Function>(symbol);
}

int32_t FakeOrthanc::initialize() {
  if (library_ == nullptr) {
    load();
  }
  phase_ = Phase::kRunning;
  throwing_ = -1;
  context_ = std::make_shared<Context>();
  context_->version = version_;
  context_->raw = {this, context_->version.c_str(), freeBlock, invoke};
  return find<int32_t (*)(OrthancPluginContext*)>("OrthancPluginInitialize")(&context_->raw);
}

void FakeOrthanc::finalize() {
  if (context_ == nullptr) {
    return;
  }
  phase_ = Phase::kFinalize;
  find<void (*)()>("OrthancPluginFinalize")();
  context_->alive = false;
  formerContexts_.push_back(std::move(context_));
  storage_ = {};
  restCallback_ = nullptr;
  onChange_ = nullptr;
  unserialize_ = nullptr;
  refreshMetrics_ = nullptr;
}

void FakeOrthanc::stop() {
  change(OrthancPluginChangeType_OrthancStopped);
  phase_ = Phase::kApart;
  if (restCalls_ > 0) {
    Memory::instance().violated("is inside of the REST API, which is being destroyed");
  }
  freeJobs();
  finalize();
}

std::string FakeOrthanc::wrongNow(_OrthancPluginService service) const {
  const Phase phase = phase_;
  const std::string name = "began service " + std::to_string(service);
  switch (service) {
    case _OrthancPluginService_CallRestApi:
    case _OrthancPluginService_CreateJob:
    case _OrthancPluginService_SubmitJob:
    case _OrthancPluginService_SetMetricsValue:
    case _OrthancPluginService_SetMetricsIntegerValue:
    case _OrthancPluginService_SetCurrentThreadName:
      return phase == Phase::kRunning ? "" : name + " after OrthancStopped";
    case _OrthancPluginService_LogMessage:
    case _OrthancPluginService_LogError:
      return "";
    default:
      return phase == Phase::kFinalize ? name + " during Finalize" : "";
  }
}

OrthancPluginErrorCode FakeOrthanc::create(const std::string& uuid, std::string_view content) {
  return storage_.create(uuid.c_str(), content.data(), static_cast<int64_t>(content.size()),
                         OrthancPluginContentType_Dicom);
}

FakeOrthanc::Read FakeOrthanc::readWhole(const std::string& uuid) {
  OrthancPluginMemoryBuffer64 buffer{nullptr, 0};
  Read read{storage_.readWhole(&buffer, uuid.c_str(), OrthancPluginContentType_Dicom), {}};
  read.bytes = textOf(buffer.data, buffer.size);
  freeBlock(buffer.data);
  return read;
}

FakeOrthanc::Read FakeOrthanc::readRange(const std::string& uuid, uint64_t start, uint64_t length) {
  OrthancPluginMemoryBuffer64 buffer{Memory::instance().allocate(length), length};
  Read read{storage_.readRange(&buffer, uuid.c_str(), OrthancPluginContentType_Dicom, start), {}};
  if (read.code == OrthancPluginErrorCode_Success) {
    read.bytes = textOf(buffer.data, buffer.size);
  }
  freeBlock(buffer.data);
  return read;
}

OrthancPluginErrorCode FakeOrthanc::remove(const std::string& uuid) {
  return storage_.remove(uuid.c_str(), OrthancPluginContentType_Dicom);
}

FakeOrthanc::RestReply FakeOrthanc::rest(OrthancPluginHttpMethod method, const std::string& path,
                                         const Arguments& headers, const std::string& body) {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : headers) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  OrthancPluginHttpRequest request{};
  request.method = method;
  request.headersCount = static_cast<uint32_t>(keys.size());
  request.headersKeys = keys.data();
  request.headersValues = values.data();
  request.body = body.empty() ? nullptr : body.data();
  request.bodySize = static_cast<uint32_t>(body.size());
  RestReply reply;
  reply.code =
      restCallback_(reinterpret_cast<OrthancPluginRestOutput*>(&reply), path.c_str(), &request);
  return reply;
}

void FakeOrthanc::change(OrthancPluginChangeType type) {
  onChange_(type, OrthancPluginResourceType_None, nullptr);
  if (type == OrthancPluginChangeType_OrthancStopped) {
    phase_ = Phase::kStopped;
  }
}

std::vector<FakeOrthanc::LogLine> FakeOrthanc::log() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return log_;
}

bool FakeOrthanc::hasLogged(const std::string& part) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return linesWithLocked(part) > 0;
}

bool FakeOrthanc::awaitLog(const std::string& part, size_t lines) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return logged_.wait_for(lock, kLogLimit, [&] { return linesWithLocked(part) >= lines; });
}

size_t FakeOrthanc::linesWithLocked(const std::string& part) const {
  return static_cast<size_t>(std::count_if(log_.begin(), log_.end(), [&](const LogLine& line) {
    return line.text.find(part) != std::string::npos;
  }));
}

void FakeOrthanc::clearLog() {
  const std::lock_guard<std::mutex> lock(mutex_);
  log_.clear();
}

std::string FakeOrthanc::violations() { return Memory::instance().violations(); }

size_t FakeOrthanc::blocks() { return Memory::instance().blocks(); }

OrthancPluginErrorCode FakeOrthanc::invoke(OrthancPluginContext* context,
                                           _OrthancPluginService service, const void* parameters) {
  // The first member of ours.
  if (!reinterpret_cast<Context*>(context)->alive) {
    Memory::instance().violated("used the context after Finalize, for service " +
                                std::to_string(service));
    return OrthancPluginErrorCode_InternalError;
  }
  auto* self = static_cast<FakeOrthanc*>(context->pluginsManager);
  const std::string wrong = self->wrongNow(service);
  if (!wrong.empty()) {
    Memory::instance().violated(wrong);
  }
  if (service == self->throwing_) {
    throw std::runtime_error("boost: mutex lock failed in pthread_mutex_lock: Invalid argument");
  }
  return self->serve(service, parameters);
}

OrthancPluginErrorCode FakeOrthanc::serve(_OrthancPluginService service, const void* parameters) {
  switch (service) {
    case _OrthancPluginService_LogMessage: {
      const auto& message = *static_cast<const _OrthancPluginLogMessage*>(parameters);
      const std::lock_guard<std::mutex> lock(mutex_);
      log_.push_back({message.level, message.message});
      logged_.notify_all();
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_LogError: {
      const std::lock_guard<std::mutex> lock(mutex_);
      log_.push_back({OrthancPluginLogLevel_Error, static_cast<const char*>(parameters)});
      logged_.notify_all();
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_SetCurrentThreadName:
      pthread_setname_np(pthread_self(), static_cast<const char*>(parameters));
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_SetPluginProperty: {
      const auto& set = *static_cast<const _OrthancPluginSetPluginProperty*>(parameters);
      properties_[set.property] = set.value;
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_GetConfiguration:
      *static_cast<const _OrthancPluginRetrieveDynamicString*>(parameters)->result =
          Memory::instance().copyOf(configuration_);
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_RegisterStorageArea2:
      if (refuseStorageArea_) {
        return OrthancPluginErrorCode_StorageAreaAlreadyRegistered;
      }
      storage_ = *static_cast<const _OrthancPluginRegisterStorageArea2*>(parameters);
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_RegisterRestCallbackNoLock:
      restCallback_ = static_cast<const _OrthancPluginRestCallback*>(parameters)->callback;
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_RegisterJobsUnserializer:
      unserialize_ = static_cast<const _OrthancPluginJobsUnserializer*>(parameters)->unserializer;
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_RegisterRefreshMetricsCallback:
      refreshMetrics_ =
          static_cast<const _OrthancPluginRegisterRefreshMetricsCallback*>(parameters)->callback;
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_SetMetricsValue: {
      const auto& metric = *static_cast<const _OrthancPluginSetMetricsValue*>(parameters);
      metrics_[metric.name] = metric.value;
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_SetMetricsIntegerValue: {
      const auto& metric = *static_cast<const _OrthancPluginSetMetricsIntegerValue*>(parameters);
      metrics_[metric.name] = static_cast<double>(metric.value);
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_CreateJob: {
      const auto& wish = *static_cast<const _OrthancPluginCreateJob*>(parameters);
      jobs_.push_back(std::make_unique<Job>(wish));
      *wish.target = reinterpret_cast<OrthancPluginJob*>(jobs_.back().get());
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_SubmitJob: {
      const auto& submission = *static_cast<const _OrthancPluginSubmitJob*>(parameters);
      if (refuseJobs_) {
        return OrthancPluginErrorCode_Plugin;
      }
      *submission.resultId = Memory::instance().copyOf("job-" + std::to_string(jobs_.size()));
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_FreeJob:
      freeJob(static_cast<const _OrthancPluginFreeJob*>(parameters)->job);
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_RegisterOnChangeCallback:
      onChange_ = static_cast<const _OrthancPluginOnChangeCallback*>(parameters)->callback;
      return OrthancPluginErrorCode_Success;
    case _OrthancPluginService_CreateMemoryBuffer64: {
      const auto& wish = *static_cast<const _OrthancPluginCreateMemoryBuffer64*>(parameters);
      *wish.target = {wish.size == 0 ? nullptr : Memory::instance().allocate(wish.size), wish.size};
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_AnswerBuffer: {
      const auto& answer = *static_cast<const _OrthancPluginAnswerBuffer*>(parameters);
      RestReply& reply = replyOf(answer.output);
      reply.status = 200;
      reply.contentType = answer.mimeType;
      reply.body = textOf(answer.answer, answer.answerSize);
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_SetHttpHeader: {
      const auto& header = *static_cast<const _OrthancPluginSetHttpHeader*>(parameters);
      replyOf(header.output).headers += std::string(header.key) + ": " + header.value + "\n";
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_SendHttpStatus: {
      const auto& answer = *static_cast<const _OrthancPluginSendHttpStatus*>(parameters);
      RestReply& reply = replyOf(answer.output);
      reply.status = answer.status;
      reply.contentType = "text/plain";
      reply.body = textOf(answer.body, answer.bodySize);
      return OrthancPluginErrorCode_Success;
    }
    case _OrthancPluginService_CallRestApi:
      return callRestApi(*static_cast<const _OrthancPluginCallRestApi*>(parameters));
    default:
      Memory::instance().violated("asked for service " + std::to_string(service) +
                                  ", which this Orthanc does not have");
      return OrthancPluginErrorCode_UnknownPluginService;
  }
}

bool FakeOrthanc::unserialize(const std::string& type, const std::string& serialized) {
  // As Orthanc does: it refuses a job that gives this field back.
  const std::string kept =
      serialized == "{}" ? R"({"Type":"x"})" : R"({"Type":"x",)" + serialized.substr(1);
  if (unserialize_(type.c_str(), kept.c_str()) == nullptr) {
    return false;
  }
  return jobs_.back()->serialized().find("Type") == std::string::npos;
}

void FakeOrthanc::freeJobs() {
  for (const std::unique_ptr<Job>& job : jobs_) {
    job->callbacks.finalize(job->callbacks.job);
  }
  jobs_.clear();
}

void FakeOrthanc::freeJob(const OrthancPluginJob* job) {
  const auto found = std::ranges::find_if(jobs_, [job](const auto& candidate) {
    return reinterpret_cast<const OrthancPluginJob*>(candidate.get()) == job;
  });
  (*found)->callbacks.finalize((*found)->callbacks.job);
  jobs_.erase(found);
}

std::map<std::string, double> FakeOrthanc::metrics() {
  refreshMetrics_();
  return metrics_;
}

OrthancPluginErrorCode FakeOrthanc::callRestApi(const _OrthancPluginCallRestApi& call) {
  if (!restApi_) {
    return OrthancPluginErrorCode_UnknownResource;
  }
  struct Stay {
    explicit Stay(std::atomic<int>& calls) : calls_(calls) { ++calls_; }
    ~Stay() { --calls_; }
    std::atomic<int>& calls_;
  };
  const Stay stay(restCalls_);
  const RestReply reply = restApi_(call.method, call.uri, textOf(call.body, call.bodySize));
  if (reply.code == OrthancPluginErrorCode_Success) {
    *call.httpStatus = reply.status;
    *call.answerBody = {Memory::instance().copyOf(reply.body),
                        static_cast<uint32_t>(reply.body.size())};
  }
  return reply.code;
}

}  // namespace cloudstore
