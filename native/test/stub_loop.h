// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "bridge.h"

namespace cloudstore {

/** An event loop without Node: a thread that sleeps until it is woken, takes what has arrived, and
 * completes it. It detaches when it ends. */
class StubLoop {
 public:
  using Handler = std::function<void(const Inbox::Arrival&)>;

  static void complete(const Inbox::Arrival& arrival) {
    baseOf(arrival.request).end({Result::Verdict::kSuccess, 0, {}});
  }

  explicit StubLoop(Bridge& bridge, Handler handler = complete)
      : bridge_(bridge), handler_(std::move(handler)), wakeup_(std::make_shared<StubWakeup>()) {
    bridge_.attach([wakeup = wakeup_] { wakeup->send(); });
    thread_ = std::thread([this] { run(); });
  }
  ~StubLoop() {
    wakeup_->end();
    thread_.join();
    bridge_.detach("the stub ended");
  }
  StubLoop(const StubLoop&) = delete;
  StubLoop& operator=(const StubLoop&) = delete;

 private:
  class StubWakeup {
   public:
    void send() {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        woken_ = true;
      }
      changed_.notify_one();
    }
    void end() {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        ended_ = true;
      }
      changed_.notify_one();
    }
    /** @returns false once it has ended */
    bool wait() {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return woken_ || ended_; });
      woken_ = false;
      return !ended_;
    }

   private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool woken_ = false;
    bool ended_ = false;
  };

  void run() {
    while (wakeup_->wait()) {
      for (const Inbox::Arrival& arrival : bridge_.take().arrivals) {
        handler_(arrival);
      }
    }
  }

  Bridge& bridge_;
  const Handler handler_;
  const std::shared_ptr<StubWakeup> wakeup_;
  std::thread thread_;
};

}  // namespace cloudstore
