// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "bridge.h"

namespace cloudstore {

/** What TypeScript tells the shim once it has read the configuration. */
struct RuntimeSettings {
  bool storage =
      false;  // false: no section of ours in the configuration, Orthanc keeps its own storage
  bool rangeReads = false;  // false: contents can only be verified, hence read, as a whole
  size_t lanes = 1;         // event loops there are to be; the first one's answer counts
  Timeouts timeouts;        // TypeScript's own are shorter; these are for when it is at fault
  std::chrono::milliseconds stopTimeout{0};      // for TypeScript's last work, at Finalize
  std::chrono::milliseconds watchdogTimeout{0};  // for a loop that doesn't turn while calls wait
};

/** An event loop that serves the bridge, once. */
class Runtime {
 public:
  virtual ~Runtime() = default;
  /** thread: the loop's. Has detached itself from the bridge when it returns. @returns why it ended
   */
  virtual std::string run() = 0;
  /** thread: any, here and below; neither blocks. Asks it to finish what is under way, and end. */
  virtual void stop() = 0;
  /** Ends it in the middle of whatever JavaScript it runs. */
  virtual void terminate(const std::string& reason) = 0;
};

/** What bounds a runtime's life; the tests have shorter ones. */
struct SupervisorLimits {
  size_t maxStarts = 5;  // within the window
  std::chrono::milliseconds startsWindow{60'000};
  // How often the loop is looked at; a hung one is found at most this much late.
  std::chrono::milliseconds heartbeat{250};
  // How long one that replaces another may take until it is ready, calls waiting or not.
  std::chrono::milliseconds restart{30'000};
  // How long a call may take once the grace is over that calls have when Orthanc begins to stop.
  // Its clients' requests go on, and a removal that fails leaves an orphan.
  std::chrono::milliseconds stoppingCall{2'000};
  // The parts of Finalize's bounded time: calls under way may end by themselves, then TypeScript
  // may close its connections (or longer, as the settings say), then JavaScript is terminated.
  // Orthanc has stopped its servers by then, so that calls under way are rare.
  std::chrono::milliseconds drain{2'000};
  std::chrono::milliseconds politeStop{3'000};
  std::chrono::milliseconds forcedStop{5'000};
};

/** Keeps one event loop alive from Initialize to Finalize, on two threads. The loop's thread runs
 * one runtime after another: the next one when one ends by itself, not too often, and none after
 * one that was refused at the start. The watchdog's thread looks whether the loop turns, terminates
 * a runtime that does not, and ends the last one in a bounded time. The public methods are for
 * Orthanc's threads. */
class Supervisor {
 public:
  using Clock = std::chrono::steady_clock;
  /** What it needs of the world around. Its functions may be called with the supervisor's lock
   * held.
   */
  struct Surroundings {
    /** thread: the loop's; what it throws counts as the end of that runtime. @param restarted in
     * the place of one that ended by itself */
    std::function<std::unique_ptr<Runtime>(bool restarted)> create;
    /** thread: any; does not throw */
    std::function<void(const std::string&)> logError;
    /** Names the calling thread; does not throw. */
    std::function<void(const char*)> nameThread;
  };

  struct Started {
    std::optional<RuntimeSettings> settings;  // absent: it was refused
    std::string refusal;
  };

  Supervisor(Bridge& bridge, Surroundings surroundings, const SupervisorLimits& limits = {})
      : bridge_(bridge), surroundings_(std::move(surroundings)), limits_(limits) {}
  /** Waits for the threads, without limit. */
  ~Supervisor();
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  /** Starts the first runtime, which may take `timeout` from when it last said that it still
   * starts. @throws std::system_error where there are no threads to be had */
  void start(std::chrono::milliseconds timeout);
  /** Blocks until the first runtime is ready or refused. */
  Started awaitStart();
  /** Orthanc is going to stop, but waits for its calls first: they get `grace` to end, and
   * those that come later `stoppingCall`. Does not block. */
  void failCallsAfter(std::chrono::milliseconds grace);
  /** Lets calls that are waiting end, then ends the runtime. Does not block. */
  void stop();
  /** Blocks until the runtime has ended, for some seconds at most.
   *  @returns false if native code on the loop's thread never came back: that thread is left
   * behind, and still uses the bridge and this supervisor, which must then never be destroyed */
  bool awaitStop();

  // What a runtime tells. thread: any; none of them blocks.

  /** It still waits for something at its start, as it has been told to. */
  void onStarting();
  void onReady(const RuntimeSettings& settings);
  /** The configuration is wrong, or the store can't be reached: trying again is no use. */
  void onRefused(const std::string& message);

 private:
  using Lock = std::unique_lock<std::mutex>;

  void runLoop();
  std::string runOnce();
  bool awaitNext(const std::string& endReason);
  void watch();
  void checkTurns(Lock& lock);
  void end(Lock& lock);

  Bridge& bridge_;
  const Surroundings surroundings_;
  const SupervisorLimits limits_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::optional<Started> started_;
  std::chrono::milliseconds startTimeout_{0};
  Clock::time_point startBy_;
  std::optional<Clock::time_point> failCallsAt_;
  bool stopping_ = false;
  bool ended_ = false;  // the loop's thread has nothing left to do
  bool over_ = false;   // and so has the watchdog's
  std::deque<Clock::time_point> starts_;
  // of the runtime that runs, guarded by mutex_
  Runtime* runtime_ = nullptr;
  uint64_t run_ = 0;  // the how manieth it is
  RuntimeSettings settings_;
  bool ready_ = false;
  bool hangs_ = false;  // the loop has not heeded the watchdog
  uint64_t seenTurns_ = 0;
  Clock::time_point turnedAt_;

  std::thread loop_;
  std::thread watchdog_;
};

}  // namespace cloudstore
