// SPDX-License-Identifier: GPL-3.0-or-later
#include "supervisor.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace cloudstore {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using Verdict = Result::Verdict;

/** How a StubRuntime behaves. */
struct Script {
  enum class Start : uint8_t { kReady, kRefuse, kEnd, kSilent };
  Start start = Start::kReady;
  milliseconds startTime{0};
  size_t startSigns = 0;  // how often it says before that it still starts, each after a startTime
  RuntimeSettings settings{true, true, 1, {}, milliseconds(0)};
  bool heedsStop = true;
  bool heedsTerminate = true;
};

/** A runtime without Node. Requests tell it what to do by their uuid: "end" ends the runtime,
 * "spin" blocks it until it is terminated, "silent" gets no answer, all others succeed. */
class StubRuntime final : public Runtime {
 public:
  StubRuntime(Bridge& bridge, Supervisor& supervisor, const Script& script)
      : bridge_(bridge),
        supervisor_(supervisor),
        script_(script),
        wakeup_(std::make_shared<StubWakeup>(*this)) {}
  ~StubRuntime() override { wakeup_->close(); }
  StubRuntime(const StubRuntime&) = delete;
  StubRuntime& operator=(const StubRuntime&) = delete;

  void stop() override { ask(stopAsked_); }
  void terminate(const std::string& reason) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (reason_.empty()) {
        reason_ = reason;
      }
    }
    ask(terminateAsked_);
  }
  /** Lets one go that heeds nothing. */
  void free() { ask(freed_); }

 private:
  class StubWakeup {
   public:
    explicit StubWakeup(StubRuntime& runtime) : runtime_(&runtime) {}
    void send() {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (runtime_ != nullptr) {
        runtime_->ask(runtime_->woken_);
      }
    }
    void close() {
      const std::lock_guard<std::mutex> lock(mutex_);
      runtime_ = nullptr;
    }

   private:
    std::mutex mutex_;
    StubRuntime* runtime_;
  };

  void ask(bool& what) {
    // Notified with the lock: whoever hears of it may be destroyed as soon as it can have the lock.
    const std::lock_guard<std::mutex> lock(mutex_);
    what = true;
    changed_.notify_all();
  }

  [[nodiscard]] bool terminatedLocked() const {
    return freed_ || (terminateAsked_ && script_.heedsTerminate);
  }

  std::string run() override {
    for (size_t sign = 0; sign < script_.startSigns; ++sign) {
      std::this_thread::sleep_for(script_.startTime);
      supervisor_.onStarting();
    }
    std::this_thread::sleep_for(script_.startTime);
    switch (script_.start) {
      case Script::Start::kReady:
        bridge_.attach([wakeup = wakeup_] { wakeup->send(); });
        supervisor_.onReady(script_.settings);
        break;
      case Script::Start::kRefuse:
        supervisor_.onRefused("BucketName is missing");
        break;
      case Script::Start::kEnd:
        return end("it could not begin");
      case Script::Start::kSilent:
        break;
    }
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] {
        return woken_ || terminatedLocked() || (stopAsked_ && script_.heedsStop);
      });
      if (!woken_) {
        break;
      }
      woken_ = false;
      lock.unlock();
      const Inbox inbox = bridge_.take();
      lock.lock();
      for (const Inbox::Arrival& arrival : inbox.arrivals) {
        const auto& request = std::get<std::shared_ptr<StorageRequest>>(arrival.request);
        const std::string& uuid = request->subject().uuid;
        if (uuid == "spin") {
          changed_.wait(lock, [this] { return terminatedLocked(); });
        } else if (uuid == "end") {
          lock.unlock();
          return end("process.exit(7)");
        } else if (uuid != "silent") {
          request->end({Verdict::kSuccess, 0, {}});
        }
      }
    }
    const std::string reason = reason_.empty() ? "it was stopped" : reason_;
    lock.unlock();
    return end(reason);
  }

  std::string end(const std::string& reason) {
    bridge_.detach("the storage runtime ended: " + reason);
    return reason;
  }

  Bridge& bridge_;
  Supervisor& supervisor_;
  const Script script_;
  const std::shared_ptr<StubWakeup> wakeup_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  bool woken_ = false;
  bool stopAsked_ = false;
  bool terminateAsked_ = false;
  bool freed_ = false;
  std::string reason_;
};

constexpr milliseconds kHeartbeat{10};

/** Less than any wait of a stop: a busy machine must not be taken for one. */
constexpr milliseconds kAtOnce{900};
/** However busy the machine is. */
constexpr milliseconds kBounded{10'000};
/** A loop that turns is never taken for one that hangs. */
constexpr milliseconds kWatchdog{300};

SupervisorLimits quickLimits() {
  SupervisorLimits limits;
  limits.startsWindow = milliseconds(1'500);
  limits.heartbeat = kHeartbeat;
  limits.restart = milliseconds(800);
  limits.drain = milliseconds(1'000);
  limits.politeStop = milliseconds(1'000);
  limits.forcedStop = milliseconds(1'000);
  return limits;
}

class SupervisorTest : public testing::Test {
 protected:
  SupervisorTest()
      : supervisor(bridge,
                   {[this](bool restarted) -> std::unique_ptr<Runtime> {
                      const std::lock_guard<std::mutex> lock(mutex_);
                      ++starts_;
                      EXPECT_EQ(restarted, starts_ > 1);
                      if (failingStarts > 0) {
                        --failingStarts;
                        throw std::runtime_error("no thread to be had");
                      }
                      auto runtime = std::make_unique<StubRuntime>(bridge, supervisor, script);
                      newest = runtime.get();
                      return runtime;
                    },
                    [this](const std::string& message) {
                      const std::lock_guard<std::mutex> lock(mutex_);
                      log_ += message + "\n";
                    },
                    [](const char*) {}},
                   quickLimits()) {}

  Supervisor::Started start(milliseconds timeout = milliseconds(5'000)) {
    supervisor.start(timeout);
    return supervisor.awaitStart();
  }

  Result call(const std::string& uuid) {
    return bridge.call(std::make_shared<StorageRequest>(
        StorageRequest::Subject{StorageRequest::Operation::kRemove, uuid, 1}));
  }

  int starts() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return starts_;
  }

  std::string log() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return log_;
  }

  bool stopWithin(milliseconds limit) {
    const auto begin = steady_clock::now();
    supervisor.stop();
    const bool ended = supervisor.awaitStop();
    EXPECT_LT(steady_clock::now() - begin, limit);
    return ended;
  }

  Script script;
  int failingStarts = 0;
  StubRuntime* newest = nullptr;
  Bridge bridge;

 private:
  std::mutex mutex_;
  int starts_ = 0;
  std::string log_;

 protected:
  Supervisor supervisor;
};

TEST_F(SupervisorTest, StartsAndServes) {
  const auto started = start();
  ASSERT_TRUE(started.settings);
  EXPECT_TRUE(started.settings.value_or(RuntimeSettings{}).rangeReads);
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_TRUE(stopWithin(kBounded));
  EXPECT_EQ(call("x").verdict, Verdict::kClosed);
  EXPECT_EQ(log(), "");
}

TEST_F(SupervisorTest, StopsAtOnceWhenIdle) {
  ASSERT_TRUE(start().settings);
  EXPECT_TRUE(stopWithin(kAtOnce));
}

TEST_F(SupervisorTest, ARefusedOneIsEndedAndNotReplaced) {
  script.start = Script::Start::kRefuse;
  script.heedsStop = false;
  const auto started = start();
  EXPECT_FALSE(started.settings);
  EXPECT_EQ(started.refusal, "BucketName is missing");
  std::this_thread::sleep_for(5 * kHeartbeat);
  // Without the time of a polite stop: Orthanc is to say at once what is wrong.
  EXPECT_TRUE(stopWithin(kAtOnce));
  EXPECT_EQ(starts(), 1);
  EXPECT_EQ(log(), "");
}

TEST_F(SupervisorTest, OneThatStoresNothingIsEndedAtOnce) {
  script.settings.storage = false;
  script.heedsStop = false;
  EXPECT_TRUE(start().settings);
  EXPECT_TRUE(stopWithin(kAtOnce));
  EXPECT_EQ(starts(), 1);
}

TEST_F(SupervisorTest, OneThatEndsWhileItStartsIsARefusal) {
  script.start = Script::Start::kEnd;
  EXPECT_EQ(start().refusal, "the runtime ended while it started: it could not begin");
  std::this_thread::sleep_for(5 * kHeartbeat);
  EXPECT_TRUE(stopWithin(kAtOnce));
  EXPECT_EQ(starts(), 1);
}

TEST_F(SupervisorTest, OneThatSaysThatItStillStartsIsWaitedFor) {
  script.startTime = milliseconds(400);
  script.startSigns = 4;
  EXPECT_TRUE(start(milliseconds(1'500)).settings);
  EXPECT_TRUE(stopWithin(kAtOnce));
  EXPECT_EQ(starts(), 1);
}

TEST_F(SupervisorTest, OneThatIsNeverReadyIsARefusal) {
  script.start = Script::Start::kSilent;
  EXPECT_EQ(start(milliseconds(1'000)).refusal, "the runtime was not ready after 1 s");
  EXPECT_TRUE(stopWithin(kAtOnce));
  EXPECT_EQ(starts(), 1);
}

TEST_F(SupervisorTest, AFactoryThatThrowsIsARefusal) {
  failingStarts = 1;
  EXPECT_EQ(start().refusal, "the runtime ended while it started: no thread to be had");
  EXPECT_TRUE(stopWithin(kAtOnce));
}

TEST_F(SupervisorTest, ReplacesOneThatEnded) {
  ASSERT_TRUE(start().settings);
  const Result lost = call("end");
  EXPECT_EQ(lost.verdict, Verdict::kLost);
  EXPECT_EQ(lost.message, "the storage runtime ended: process.exit(7)");
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(starts(), 2);
  EXPECT_NE(log().find("The storage runtime ended (process.exit(7)): requests that were under way "
                       "have failed, a new one starts\n"),
            std::string::npos);
}

TEST_F(SupervisorTest, AFactoryThatThrowsLaterIsTriedAgain) {
  ASSERT_TRUE(start().settings);
  failingStarts = 1;
  EXPECT_EQ(call("end").verdict, Verdict::kLost);
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(starts(), 3);
}

TEST_F(SupervisorTest, GivesUpAfterFiveInTheWindowAndRecoversBehindIt) {
  const auto begin = steady_clock::now();
  ASSERT_TRUE(start().settings);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(call("end").message, "the storage runtime ended: process.exit(7)");
  }
  Result result;
  do {  // the fifth's end has to be noticed
    result = call("x");
  } while (result.message.find("process.exit(7)") == std::string::npos);
  EXPECT_EQ(result.message,
            "the storage runtime ended 5 times within 1 s, the last time because: process.exit(7)");
  const auto before = steady_clock::now();
  EXPECT_EQ(call("x").verdict, Verdict::kLost);
  EXPECT_LT(steady_clock::now() - before, kAtOnce);
  EXPECT_EQ(starts(), 5);
  while (call("x").verdict != Verdict::kSuccess) {
    ASSERT_LT(steady_clock::now() - begin, milliseconds(10'000));
    std::this_thread::sleep_for(kHeartbeat);
  }
  EXPECT_GE(steady_clock::now() - begin, milliseconds(1'500));
  EXPECT_EQ(starts(), 6);
}

TEST_F(SupervisorTest, StopsWhileOutOfOrder) {
  ASSERT_TRUE(start().settings);
  for (int i = 0; i < 5; ++i) {
    call("end");
  }
  EXPECT_TRUE(stopWithin(kAtOnce));
}

TEST_F(SupervisorTest, TheWatchdogReplacesALoopThatHangs) {
  script.settings.watchdogTimeout = milliseconds(100);
  ASSERT_TRUE(start().settings);
  const Result result = call("spin");
  EXPECT_EQ(result.verdict, Verdict::kLost);
  EXPECT_NE(result.message.find("the event loop had not turned for 100 ms"), std::string::npos);
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(starts(), 2);
}

TEST_F(SupervisorTest, TheWatchdogAddsUpCallsThatGiveUpBeforeIt) {
  script.settings.watchdogTimeout = milliseconds(200);
  script.settings.timeouts.remove = milliseconds(60);
  ASSERT_TRUE(start().settings);
  EXPECT_EQ(call("spin").verdict, Verdict::kTimeout);
  const auto begin = steady_clock::now();
  while (starts() < 2) {
    ASSERT_LT(steady_clock::now() - begin, milliseconds(5'000));
    call("x");
    std::this_thread::sleep_for(2 * kHeartbeat);  // in which nobody waits
  }
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
}

TEST_F(SupervisorTest, AfterALoopThatCannotBeEndedCallsFailAtOnceUntilItIsBack) {
  script.settings.watchdogTimeout = milliseconds(500);
  script.heedsTerminate = false;
  ASSERT_TRUE(start().settings);
  EXPECT_EQ(call("spin").verdict, Verdict::kLost);
  EXPECT_NE(log().find("Storage is out of order: the event loop hangs in native code"),
            std::string::npos);
  const auto begin = steady_clock::now();
  EXPECT_EQ(call("x").verdict, Verdict::kLost);
  EXPECT_LT(steady_clock::now() - begin, milliseconds(2'000));
  script.heedsTerminate = true;
  newest->free();
  while (call("x").verdict != Verdict::kSuccess) {
    ASSERT_LT(steady_clock::now() - begin, milliseconds(10'000));
    std::this_thread::sleep_for(kHeartbeat);
  }
  EXPECT_EQ(starts(), 2);
}

TEST_F(SupervisorTest, TheWatchdogSparesOneThatStillStarts) {
  script.settings.watchdogTimeout = kWatchdog;
  ASSERT_TRUE(start().settings);
  script.startTime = 2 * kWatchdog;
  EXPECT_EQ(call("end").verdict, Verdict::kLost);
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(starts(), 2);
}

TEST_F(SupervisorTest, TheWatchdogReplacesOneThatIsNeverReadyAgain) {
  script.settings.watchdogTimeout = kWatchdog;
  ASSERT_TRUE(start().settings);
  script.start = Script::Start::kSilent;
  EXPECT_EQ(call("end").verdict, Verdict::kLost);
  while (starts() < 2) {
    std::this_thread::yield();
  }
  script.start = Script::Start::kReady;
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(starts(), 3);
}

TEST_F(SupervisorTest, TheWatchdogSparesALoopThatTurnsWhileARequestWaits) {
  script.settings.watchdogTimeout = kWatchdog;
  script.settings.timeouts.remove = 3 * kWatchdog;
  ASSERT_TRUE(start().settings);
  EXPECT_EQ(call("silent").verdict, Verdict::kTimeout);
  EXPECT_EQ(starts(), 1);
}

TEST_F(SupervisorTest, TheWatchdogSparesAnIdleLoop) {
  script.settings.watchdogTimeout = kWatchdog;
  ASSERT_TRUE(start().settings);
  std::this_thread::sleep_for(3 * kWatchdog);
  EXPECT_EQ(starts(), 1);
}

TEST_F(SupervisorTest, CallsFailAfterTheGrace) {
  ASSERT_TRUE(start().settings);
  const auto begin = steady_clock::now();
  supervisor.failCallsAfter(milliseconds(1'000));
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(call("silent").verdict, Verdict::kClosed);
  EXPECT_GE(steady_clock::now() - begin, milliseconds(1'000));
  EXPECT_LT(steady_clock::now() - begin, kBounded);
}

TEST_F(SupervisorTest, StopFailsWhatIsUnderWayInABoundedTime) {
  ASSERT_TRUE(start().settings);
  Result result;
  std::thread caller([&] { result = call("silent"); });
  while (bridge.waiting() == 0) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(stopWithin(kBounded));
  caller.join();
  EXPECT_EQ(result.verdict, Verdict::kLost);
}

TEST_F(SupervisorTest, StopTerminatesOneThatDoesNotListen) {
  script.heedsStop = false;
  ASSERT_TRUE(start().settings);
  EXPECT_TRUE(stopWithin(kBounded));
}

TEST_F(SupervisorTest, StopDuringTheWatchdogsWaitIsBounded) {
  script.settings.watchdogTimeout = kWatchdog;
  ASSERT_TRUE(start().settings);
  std::thread caller([this] { call("spin"); });
  std::this_thread::sleep_for(kWatchdog + 5 * kHeartbeat);
  EXPECT_TRUE(stopWithin(kBounded));
  caller.join();
}

TEST_F(SupervisorTest, OneThatHeedsNothingIsLeftBehind) {
  script.heedsStop = false;
  script.heedsTerminate = false;
  ASSERT_TRUE(start().settings);
  EXPECT_FALSE(stopWithin(kBounded));
  supervisor.stop();
  EXPECT_FALSE(supervisor.awaitStop());
  EXPECT_NE(log().find("its thread is left behind"), std::string::npos);
  EXPECT_EQ(call("x").verdict, Verdict::kClosed);
  newest->free();
}

TEST_F(SupervisorTest, OneThatIsKnownToHangIsNotAskedToStop) {
  script.settings.watchdogTimeout = kWatchdog;
  script.heedsTerminate = false;
  ASSERT_TRUE(start().settings);
  EXPECT_EQ(call("spin").verdict, Verdict::kLost);
  EXPECT_FALSE(stopWithin(quickLimits().forcedStop + quickLimits().politeStop / 2));
  newest->free();
}

TEST_F(SupervisorTest, ManyCallersWhileRuntimesEnd) {
  script.settings.watchdogTimeout = milliseconds(5'000);
  ASSERT_TRUE(start().settings);
  std::vector<std::thread> threads;
  threads.reserve(8);
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      for (int j = 0; j < 100; ++j) {
        call(i == 0 && j % 50 == 10 ? "end" : "x");
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(call("x").verdict, Verdict::kSuccess);
  EXPECT_EQ(starts(), 3);
}

}  // namespace
}  // namespace cloudstore
