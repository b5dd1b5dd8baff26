// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace cloudstore {

/** As much of Orthanc as the plugin can see: it loads the library as Orthanc does, hands it a
 * context, and takes note of all that the plugin does with that. What Orthanc would not survive is
 * kept as a violation: a double free, a context used after Finalize, a call that begins after its
 * last moment (docs/decisions.md, "The end of life") or lasts until what it needs is gone.
 *
 *  thread: load, unload, initialize and finalize are for one thread; all else any. */
class FakeOrthanc {
 public:
  struct LogLine {
    OrthancPluginLogLevel level;
    std::string text;
  };
  struct Read {
    OrthancPluginErrorCode code;
    std::string bytes;
  };
  struct RestReply {
    OrthancPluginErrorCode code = OrthancPluginErrorCode_Success;
    uint16_t status = 0;
    std::string contentType;
    std::string body;
    std::string headers = {};  // a line for each that the plugin has set
  };
  using Arguments = std::vector<std::pair<std::string, std::string>>;
  /** Answers a call that the plugin makes of Orthanc's REST API. thread: the plugin's. */
  using RestApi =
      std::function<RestReply(OrthancPluginHttpMethod, const std::string&, const std::string&)>;

  explicit FakeOrthanc(std::string configuration = "{}");
  /** Finalises and unloads what is loaded. */
  ~FakeOrthanc();
  FakeOrthanc(const FakeOrthanc&) = delete;
  FakeOrthanc& operator=(const FakeOrthanc&) = delete;

  void setConfiguration(std::string configuration) { configuration_ = std::move(configuration); }
  void setVersion(std::string version) { version_ = std::move(version); }
  void setRestApi(RestApi api) { restApi_ = std::move(api); }
  /** As if another plugin had registered a storage area before. */
  void refuseStorageArea() { refuseStorageArea_ = true; }

  /** @throws std::runtime_error with dlopen's words */
  void load();
  void unload();
  int32_t initialize();
  /** Alone, as after a start that failed: an Orthanc that ran says first that it stops. */
  void finalize();
  /** As Orthanc ends: it says so, waits for its job workers, takes itself apart, and finalises. */
  void stop();
  /** What a service throws from now on, as boost does where a mutex is gone. */
  void throwAt(_OrthancPluginService service) { throwing_ = service; }

  [[nodiscard]] bool hasStorageArea() const { return storage_.create != nullptr; }
  [[nodiscard]] const _OrthancPluginRegisterStorageArea2& storage() const { return storage_; }
  OrthancPluginErrorCode create(const std::string& uuid, std::string_view content);
  Read readWhole(const std::string& uuid);
  Read readRange(const std::string& uuid, uint64_t start, uint64_t length);
  OrthancPluginErrorCode remove(const std::string& uuid);
  RestReply rest(OrthancPluginHttpMethod method, const std::string& path,
                 const Arguments& headers = {}, const std::string& body = {});
  void change(OrthancPluginChangeType type);
  /** @returns what the plugin has set, such as its root URI; empty if nothing */
  [[nodiscard]] std::string property(_OrthancPluginProperty property) const {
    const auto found = properties_.find(property);
    return found == properties_.end() ? "" : found->second;
  }

  /** A job as Orthanc's engine has it. */
  struct Job {
    _OrthancPluginCreateJob callbacks;
    [[nodiscard]] OrthancPluginJobStepStatus step() const { return callbacks.step(callbacks.job); }
    [[nodiscard]] float progress() const { return callbacks.getProgress(callbacks.job); }
    [[nodiscard]] std::string content() const { return callbacks.getContent(callbacks.job); }
    [[nodiscard]] std::string serialized() const { return callbacks.getSerialized(callbacks.job); }
  };
  void refuseJobs() { refuseJobs_ = true; }
  /** The last that the plugin made. */
  [[nodiscard]] Job& job() { return *jobs_.back(); }
  [[nodiscard]] size_t jobs() const { return jobs_.size(); }
  /** As at a restart. @returns false if the plugin does not know the type */
  bool unserialize(const std::string& type, const std::string& serialized);
  /** Lets go of all jobs. */
  void freeJobs();
  /** As for /tools/metrics-prometheus. */
  std::map<std::string, double> metrics();

  [[nodiscard]] std::vector<LogLine> log() const;
  [[nodiscard]] bool hasLogged(const std::string& part) const;
  /** @returns false if so many lines with it have not come within half a minute */
  bool awaitLog(const std::string& part, size_t lines = 1) const;
  void clearLog();

  /** @returns what went wrong with memory and contexts so far, one a line; empty if nothing */
  static std::string violations();
  /** @returns blocks of Orthanc's memory that are with the plugin, or with the test */
  static size_t blocks();

 private:
  struct Context;
  /** What Orthanc still has. */
  enum class Phase : uint8_t {
    kRunning,   // all
    kStopped,   // OrthancStopped has been told: nothing that a thread of the plugin's may ask for
    kApart,     // no REST API, no jobs, no index: who is inside of it crashes
    kFinalize,  // nothing but the log
  };

  /** @returns what is wrong with a service at this time; empty if nothing */
  [[nodiscard]] std::string wrongNow(_OrthancPluginService service) const;
  static OrthancPluginErrorCode invoke(OrthancPluginContext* context, _OrthancPluginService service,
                                       const void* parameters);
  OrthancPluginErrorCode serve(_OrthancPluginService service, const void* parameters);
  void freeJob(const OrthancPluginJob* job);
  /** To be called with mutex_ held. */
  [[nodiscard]] size_t linesWithLocked(const std::string& part) const;
  OrthancPluginErrorCode callRestApi(const _OrthancPluginCallRestApi& call);
  template <typename Function>
  Function find(const char* name) const;

  std::string configuration_;
  std::string version_ = "1.12.7";
  RestApi restApi_;
  bool refuseStorageArea_ = false;

  void* library_ = nullptr;
  std::shared_ptr<Context> context_;
  std::vector<std::shared_ptr<Context>> formerContexts_;
  std::atomic<Phase> phase_{Phase::kRunning};
  std::atomic<int> restCalls_{0};
  std::atomic<int> throwing_{-1};
  _OrthancPluginRegisterStorageArea2 storage_{};
  OrthancPluginRestCallback restCallback_ = nullptr;
  OrthancPluginOnChangeCallback onChange_ = nullptr;
  OrthancPluginJobsUnserializer unserialize_ = nullptr;
  OrthancPluginRefreshMetricsCallback refreshMetrics_ = nullptr;
  std::map<std::string, double> metrics_;
  std::map<_OrthancPluginProperty, std::string> properties_;
  std::vector<std::unique_ptr<Job>> jobs_;
  bool refuseJobs_ = false;

  mutable std::mutex mutex_;
  mutable std::condition_variable logged_;
  std::vector<LogLine> log_;  // guarded by mutex_
};

}  // namespace cloudstore
