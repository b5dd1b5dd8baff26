// SPDX-License-Identifier: GPL-3.0-or-later
#include "supervisor.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "signal_shield.h"

namespace cloudstore {
namespace {

using std::chrono::milliseconds;

}  // namespace

Supervisor::Supervisor(Bridge& bridge, Factory factory, Log log, const SupervisorLimits& limits)
    : bridge_(bridge), factory_(std::move(factory)), log_(std::move(log)), limits_(limits) {}

Supervisor::~Supervisor() { stop(); }

Supervisor::Started Supervisor::start(milliseconds timeout) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    startTimeout_ = timeout;
    startBy_ = Clock::now() + timeout;
  }
  {
    const SignalShield shield;
    thread_ = std::thread([this] { run(); });
  }
  std::unique_lock<std::mutex> lock(mutex_);
  while (!started_ && Clock::now() < startBy_) {
    changed_.wait_until(lock, Clock::time_point(startBy_));
  }
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

void Supervisor::onStarting() {
  const std::lock_guard<std::mutex> lock(mutex_);
  startBy_ = Clock::now() + startTimeout_;
}

void Supervisor::onReady(const RuntimeSettings& settings) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    settings_ = settings;
    ready_ = true;
    bridge_.setTimeouts(settings.timeouts);
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
    changed_.wait_for(lock, limits_.heartbeat, [this] { return stopping_ || ended_; });
    if (started_ && !started_->settings) {
      // Refused: Initialize fails, and Orthanc with it; all that can follow is `stop`.
      changed_.wait(lock, [this] { return stopping_; });
    }
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
  ready_ = false;
  ended_ = false;
  hangs_ = false;
  seenTurns_ = bridge_.turns();
  turnedAt_ = now;
  lock.unlock();
  try {
    runtime_ = factory_(*this, restarted);
  } catch (const std::exception& error) {
    onEnded(error.what());
  }
  lock.lock();
}

void Supervisor::watch(std::unique_lock<std::mutex>& lock) {
  const auto now = Clock::now();
  const uint64_t turns = bridge_.turns();
  const milliseconds limit =
      ready_ ? settings_.watchdogTimeout : std::max(settings_.watchdogTimeout, limits_.restart);
  if (turns != seenTurns_ || limit.count() == 0) {
    seenTurns_ = turns;
    turnedAt_ = now;
  } else if (now - turnedAt_ >= limit && bridge_.waiting() > 0) {
    // Calls that wait one after another, each for a shorter time than this limit, count as well.
    lock.unlock();
    runtime_->terminate("the event loop had not turned for " + std::to_string(limit.count()) +
                        " ms");
    lock.lock();
    changed_.wait_for(lock, limits_.forcedStop, [this] { return ended_ || stopping_; });
    turnedAt_ = Clock::now();
    if (!ended_ && !stopping_) {
      // Native code that does not return, such as a call of the system for a disk that hangs.
      hangs_ = true;
      const std::string why =
          "the event loop hangs in native code and cannot be ended; if it does not come back, "
          "Orthanc "
          "must be restarted";
      lock.unlock();
      log_(Severity::kError, "Storage is out of order: " + why);
      bridge_.breakDown(why);
      lock.lock();
    }
    return;
  }
  lock.unlock();
  bridge_.poke();
  lock.lock();
}

void Supervisor::replace(std::unique_lock<std::mutex>& lock) {
  const bool justEnded = std::exchange(ended_, false);
  const std::string reason = endReason_;
  if (justEnded) {
    lock.unlock();
    runtime_.reset();
    lock.lock();
  }
  const auto windowStart = Clock::now() - limits_.startsWindow;
  while (!starts_.empty() && starts_.front() <= windowStart) {
    starts_.pop_front();
  }
  if (starts_.size() < limits_.maxStarts) {
    lock.unlock();
    if (justEnded) {
      log_(Severity::kError, "The storage runtime ended (" + reason +
                                 "): requests that were under way have failed, a new one starts");
    }
    bridge_.mend();
    lock.lock();
    launch(lock);
  } else if (justEnded) {
    const std::string why = "the storage runtime ended " + std::to_string(limits_.maxStarts) +
                            " times within " + std::to_string(limits_.startsWindow.count() / 1000) +
                            " s, the last time because: " + reason;
    lock.unlock();
    bridge_.breakDown(why);
    log_(Severity::kError, "Storage is out of order until that time is over: " + why);
    lock.lock();
  }
}

void Supervisor::endRuntime(std::unique_lock<std::mutex>& lock) {
  const auto drained = Clock::now() + limits_.drain;
  while (!ended_ && bridge_.waiting() > 0 && Clock::now() < drained) {
    changed_.wait_for(lock, milliseconds(10));
  }
  if (runtime_) {
    // One that was refused has nothing to finish, nor has one that stores nothing; one that hangs
    // hears nothing.
    if (!ended_ && !hangs_ && started_ && started_->settings && started_->settings->storage) {
      lock.unlock();
      runtime_->stop();
      lock.lock();
      awaitEnd(lock, limits_.politeStop);
    }
    if (!ended_) {
      lock.unlock();
      runtime_->terminate("it did not stop when it was asked to");
      lock.lock();
      awaitEnd(lock, limits_.forcedStop);
    }
    const bool ended = ended_;
    lock.unlock();
    if (ended) {
      runtime_.reset();
    } else {
      // Native code that never returns can't be ended. Its thread keeps what it uses; this library
      // is never unloaded.
      bridge_.detach("the plugin is stopping");
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

void Supervisor::awaitEnd(std::unique_lock<std::mutex>& lock, milliseconds limit) {
  changed_.wait_for(lock, limit, [this] { return ended_; });
}

}  // namespace cloudstore
