// SPDX-License-Identifier: GPL-3.0-or-later
#include "supervisor.h"

#include <utility>

namespace cloudstore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// How often the loop is looked at; a hung one is found at most this much late.
constexpr milliseconds kHeartbeat{250};
// The parts of Finalize's bounded time: calls under way may end by themselves, then TypeScript may
// close its connections, then JavaScript is terminated. Orthanc has stopped its servers by then, so
// that calls under way are rare.
constexpr seconds kDrain{2};
constexpr seconds kPoliteStop{3};
constexpr seconds kForcedStop{5};

}  // namespace

Supervisor::Supervisor(Bridge& bridge, Factory factory, Log log)
    : bridge_(bridge), factory_(std::move(factory)), log_(std::move(log)) {}

Supervisor::~Supervisor() { stop(); }

Supervisor::Started Supervisor::start(milliseconds timeout) {
  thread_ = std::thread([this] { run(); });
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, timeout, [this] { return started_.has_value(); });
  if (!started_) {
    started_ = Started{std::nullopt, "the runtime was not ready after " +
                                         std::to_string(timeout.count() / 1000) + " s"};
  }
  return *started_;
}

void Supervisor::hurry(milliseconds grace) {
  const std::lock_guard<std::mutex> lock(mutex_);
  hurryUntil_ = Clock::now() + grace;
}

bool Supervisor::stop() {
  if (!thread_.joinable()) {
    return !leftBehind_;
  }
  bridge_.close();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  return !leftBehind_;
}

void Supervisor::onReady(const RuntimeSettings& settings) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    settings_ = settings;
    bridge_.setTimeout(settings.callTimeout);
    if (!started_) {
      started_ = Started{settings, {}};
    }
  }
  changed_.notify_all();
}

void Supervisor::onRefused(const std::string& message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!started_) {
    started_ = Started{std::nullopt, message};
    changed_.notify_all();
  } else {
    // Not at Orthanc's start: the setting was fine then, so this counts as one more end, and is
    // tried again.
    log_(Severity::kError, message);
  }
}

void Supervisor::onEnded(const std::string& reason) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_ = true;
    endReason_ = reason;
    if (!started_) {
      started_ = Started{std::nullopt, "the runtime ended while it started: " + reason};
    }
  }
  changed_.notify_all();
}

void Supervisor::run() {
  std::unique_lock<std::mutex> lock(mutex_);
  launch(lock);
  while (!stopping_) {
    changed_.wait_for(lock, kHeartbeat, [this] { return stopping_ || ended_; });
    if (stopping_) {
      break;
    }
    if (hurryUntil_ && Clock::now() >= *hurryUntil_) {
      lock.unlock();
      bridge_.failWaiting("Orthanc is stopping");
      lock.lock();
    }
    if (ended_ || !runtime_) {
      replace(lock);
    } else {
      watch(lock);
    }
  }
  endRuntime(lock);
}

void Supervisor::launch(std::unique_lock<std::mutex>& lock) {
  const auto now = Clock::now();
  starts_.push_back(now);
  const bool restarted = started_.has_value();
  ended_ = false;
  seenTurns_ = bridge_.turns();
  turnedAt_ = now;
  lock.unlock();
  runtime_ = factory_(*this, restarted);
  lock.lock();
}

void Supervisor::watch(std::unique_lock<std::mutex>& lock) {
  const auto now = Clock::now();
  const uint64_t turns = bridge_.turns();
  const milliseconds limit = settings_.watchdogTimeout;
  if (turns != seenTurns_ || limit.count() == 0 || bridge_.waiting() == 0) {
    seenTurns_ = turns;
    turnedAt_ = now;
  } else if (now - turnedAt_ >= limit) {
    lock.unlock();
    runtime_->terminate("the event loop had not turned for " + std::to_string(limit.count()) +
                        " ms");
    lock.lock();
    changed_.wait_for(lock, kForcedStop, [this] { return ended_; });
    turnedAt_ = Clock::now();
    return;
  }
  lock.unlock();
  bridge_.poke();
  lock.lock();
}

void Supervisor::replace(std::unique_lock<std::mutex>& lock) {
  if (runtime_) {
    const std::string reason = endReason_;
    lock.unlock();
    runtime_.reset();
    bridge_.detach("the storage runtime ended: " + reason);
    log_(Severity::kError, "The storage runtime ended (" + reason +
                               "): requests that were under way have failed, a new one starts");
    lock.lock();
  }
  const auto windowStart = Clock::now() - kStartsWindow;
  while (!starts_.empty() && starts_.front() <= windowStart) {
    starts_.pop_front();
  }
  if (starts_.size() < kMaxStarts) {
    lock.unlock();
    bridge_.mend();
    lock.lock();
    launch(lock);
  } else if (ended_) {
    ended_ = false;
    const std::string reason = "the storage runtime ended " + std::to_string(kMaxStarts) +
                               " times within " + std::to_string(kStartsWindow.count()) +
                               " s, the last time because " + endReason_;
    lock.unlock();
    bridge_.breakDown(reason);
    log_(Severity::kError, "Storage is out of order until the minute is over: " + reason);
    lock.lock();
  }
}

void Supervisor::endRuntime(std::unique_lock<std::mutex>& lock) {
  const auto drained = Clock::now() + kDrain;
  while (!ended_ && bridge_.waiting() > 0 && Clock::now() < drained) {
    changed_.wait_for(lock, milliseconds(10));
  }
  if (runtime_) {
    if (!ended_) {
      lock.unlock();
      runtime_->stop();
      lock.lock();
      changed_.wait_for(lock, kPoliteStop, [this] { return ended_; });
    }
    if (!ended_) {
      lock.unlock();
      runtime_->terminate("it did not stop when it was asked to");
      lock.lock();
      changed_.wait_for(lock, kForcedStop, [this] { return ended_; });
    }
    const bool ended = ended_;
    lock.unlock();
    bridge_.detach("the plugin is stopping");
    if (ended) {
      runtime_.reset();
    } else {
      // Native code that never returns can't be ended. Its thread keeps what it uses; this library
      // is never unloaded.
      log_(Severity::kError, "The storage runtime could not be ended; its thread is left behind");
      static_cast<void>(runtime_.release());  // NOLINT(bugprone-unused-return-value)
      leftBehind_ = true;
    }
    lock.lock();
  }
  lock.unlock();
  bridge_.breakDown("the plugin is stopping");
  lock.lock();
}

}  // namespace cloudstore
