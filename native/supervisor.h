// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "bridge.h"
#include "runtime.h"

namespace cloudstore {

/** What bounds a runtime's life; the tests have shorter ones. */
struct SupervisorLimits {
  size_t maxStarts = 5;  // within the window
  std::chrono::milliseconds startsWindow{60'000};
  // How often the loop is looked at; a hung one is found at most this much late.
  std::chrono::milliseconds heartbeat{250};
  // How long one that replaces another may take until it is ready, calls waiting or not.
  std::chrono::milliseconds restart{30'000};
  // The parts of Finalize's bounded time: calls under way may end by themselves, then TypeScript
  // may close its connections, then JavaScript is terminated. Orthanc has stopped its servers by
  // then, so that calls under way are rare.
  std::chrono::milliseconds drain{2'000};
  std::chrono::milliseconds politeStop{3'000};
  std::chrono::milliseconds forcedStop{5'000};
};

/** Keeps one runtime alive from Initialize to Finalize: starts it, watches that its loop turns,
 * replaces it when it ends by itself (not too often), and ends it in a bounded time. One that was
 * refused at the start is not replaced.
 *
 *  All of a runtime's life is managed on the supervisor's own thread; the public methods are for
 * Orthanc's. */
class Supervisor final : private RuntimeEvents {
 public:
  using Clock = std::chrono::steady_clock;
  using Factory = std::function<std::unique_ptr<Runtime>(RuntimeEvents&, bool restarted)>;
  enum class Severity : uint8_t { kError, kWarning, kInfo };
  using Log = std::function<void(Severity, const std::string&)>;

  struct Started {
    std::optional<RuntimeSettings> settings;  // absent: it was refused
    std::string refusal;
  };

  /** @param factory thread: the supervisor's; what it throws counts as the end of that runtime */
  Supervisor(Bridge& bridge, Factory factory, Log log, const SupervisorLimits& limits = {});
  ~Supervisor() override;
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /** Starts the first runtime. Blocks until it is ready or refused, at most for `timeout` after it
   * last said that it still starts. */
  Started start(std::chrono::milliseconds timeout);
  /** Orthanc is going to stop, but waits for its calls first: they get `grace` to end. Does not
   * block. */
  void hurry(std::chrono::milliseconds grace);
  /** Lets calls that are waiting end, then ends the runtime. Blocks for some seconds at most.
   *  @returns false if native code on the loop's thread never came back: that thread is left
   * behind, and still uses the bridge and this supervisor, which must then never be destroyed */
  bool stop();

 private:
  void onStarting() override;
  void onReady(const RuntimeSettings& settings) override;
  void onRefused(const std::string& message) override;
  void onEnded(const std::string& reason) override;

  void run();
  void watch(std::unique_lock<std::mutex>& lock);
  void replace(std::unique_lock<std::mutex>& lock);
  void endRuntime(std::unique_lock<std::mutex>& lock);
  void awaitEnd(std::unique_lock<std::mutex>& lock, std::chrono::milliseconds limit);
  void launch(std::unique_lock<std::mutex>& lock);

  Bridge& bridge_;
  const Factory factory_;
  const Log log_;
  const SupervisorLimits limits_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::optional<Started> started_;
  RuntimeSettings settings_;
  bool ready_ = false;
  bool stopping_ = false;
  bool ended_ = false;
  bool hangs_ = false;  // the loop has not heeded the watchdog
  bool leftBehind_ = false;
  std::string endReason_;
  std::deque<Clock::time_point> starts_;
  std::chrono::milliseconds startTimeout_{0};
  Clock::time_point startBy_;
  std::optional<Clock::time_point> hurryUntil_;

  // the supervisor's thread only
  std::unique_ptr<Runtime> runtime_;
  uint64_t seenTurns_ = 0;
  Clock::time_point turnedAt_;

  std::thread thread_;
};

}  // namespace cloudstore
