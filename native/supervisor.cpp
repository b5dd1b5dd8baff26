// SPDX-License-Identifier: GPL-3.0-or-later
#include "supervisor.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "signal_shield.h"
#include "thread_name.h"

namespace cloudstore {

using std::chrono::milliseconds;

Supervisor::~Supervisor() {
  stop();
  for (std::thread* thread : {&watchdog_, &loop_}) {
    if (thread->joinable()) {
      thread->join();
    }
  }
}

void Supervisor::start(milliseconds timeout) {
  const SignalShield shield;
  {
    const Lock lock(mutex_);
    startTimeout_ = timeout;
    startBy_ = Clock::now() + timeout;
  }
  // First, since it also ends what the other one runs.
  watchdog_ = std::thread([this] { watch(); });
  loop_ = std::thread([this] { runLoop(); });
}

Supervisor::Started Supervisor::awaitStart() {
  Lock lock(mutex_);
  while (!started_ && Clock::now() < startBy_) {
    changed_.wait_until(lock, Clock::time_point(startBy_));
  }
  if (!started_) {
    started_ = Started{std::nullopt, "the runtime was not ready after " +
                                         std::to_string(startTimeout_.count() / 1000) + " s"};
  }
  return *started_;
}

void Supervisor::failCallsAfter(milliseconds grace) {
  const Lock lock(mutex_);
  failCallsAt_ = Clock::now() + grace;
}

void Supervisor::stop() {
  bridge_.close();
  const Lock lock(mutex_);
  stopping_ = true;
  changed_.notify_all();
}

bool Supervisor::awaitStop() {
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return over_ || !watchdog_.joinable(); });
  return ended_ || !loop_.joinable();
}

void Supervisor::onStarting() {
  const Lock lock(mutex_);
  startBy_ = Clock::now() + startTimeout_;
}

void Supervisor::onReady(const RuntimeSettings& settings) {
  const Lock lock(mutex_);
  settings_ = settings;
  ready_ = true;
  bridge_.setTimeouts(settings.timeouts);
  if (!started_) {
    started_ = Started{settings, {}};
  }
  changed_.notify_all();
}

void Supervisor::onRefused(const std::string& message) {
  const Lock lock(mutex_);
  if (!started_) {
    started_ = Started{std::nullopt, message};
    changed_.notify_all();
  } else {
    // Not at Orthanc's start: the setting was fine then, so this counts as one more end, and is
    // tried again.
    surroundings_.logError(message);
  }
}

void Supervisor::runLoop() {
  const ThreadName name("storage-loop");
  while (awaitNext(runOnce())) {
  }
  const Lock lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

/** @returns why it ended */
std::string Supervisor::runOnce() {
  std::unique_ptr<Runtime> runtime;
  std::string reason;
  try {
    Lock lock(mutex_);
    starts_.push_back(Clock::now());
    const bool restarted = started_.has_value();
    lock.unlock();
    runtime = surroundings_.create(restarted);
    lock.lock();
    if (stopping_) {
      return "the plugin is stopping";
    }
    runtime_ = runtime.get();
    ++run_;
    ready_ = false;
    hangs_ = false;
    seenTurns_ = bridge_.turns();
    turnedAt_ = Clock::now();
    lock.unlock();
    reason = runtime->run();
  } catch (const std::exception& error) {
    reason = error.what();
  }
  const Lock lock(mutex_);
  runtime_ = nullptr;
  changed_.notify_all();
  return reason;
}

/** @returns whether another runtime is to follow the one that has ended, once it is time for it */
bool Supervisor::awaitNext(const std::string& endReason) {
  Lock lock(mutex_);
  if (!started_) {
    started_ = Started{std::nullopt, "the runtime ended while it started: " + endReason};
    changed_.notify_all();
  }
  if (stopping_ || !started_->settings) {
    return false;
  }
  const auto windowStart = Clock::now() - limits_.startsWindow;
  std::erase_if(starts_, [&](Clock::time_point start) { return start <= windowStart; });
  if (starts_.size() < limits_.maxStarts) {
    surroundings_.logError("The storage runtime ended (" + endReason +
                           "): requests that were under way have failed, a new one starts");
  } else {
    const std::string why = "the storage runtime ended " + std::to_string(limits_.maxStarts) +
                            " times within " + std::to_string(limits_.startsWindow.count() / 1000) +
                            " s, the last time because: " + endReason;
    bridge_.breakDown(why);
    surroundings_.logError("Storage is out of order until that time is over: " + why);
    changed_.wait_until(lock, starts_.front() + limits_.startsWindow, [this] { return stopping_; });
  }
  if (!stopping_) {
    bridge_.repair();
  }
  return !stopping_;
}

void Supervisor::watch() {
  surroundings_.nameThread("STORAGE-WATCH");
  Lock lock(mutex_);
  while (!changed_.wait_for(lock, limits_.heartbeat, [this] { return stopping_; })) {
    if (failCallsAt_ && Clock::now() >= *failCallsAt_) {
      bridge_.failWaiting("Orthanc is stopping", limits_.stoppingCall);
    }
    if (runtime_ != nullptr) {
      checkTurns(lock);
    }
  }
  end(lock);
  over_ = true;
  changed_.notify_all();
}

void Supervisor::checkTurns(Lock& lock) {
  const auto now = Clock::now();
  const uint64_t turns = bridge_.turns();
  const milliseconds limit =
      ready_ ? settings_.watchdogTimeout : std::max(settings_.watchdogTimeout, limits_.restart);
  bridge_.poke();
  if (turns != seenTurns_ || limit.count() == 0) {
    seenTurns_ = turns;
    turnedAt_ = now;
    return;
  }
  // Calls that wait one after another, each for a shorter time than this limit, count as well.
  if (now - turnedAt_ < limit || bridge_.waiting() == 0) {
    return;
  }
  const uint64_t hung = run_;
  runtime_->terminate("the event loop had not turned for " + std::to_string(limit.count()) + " ms");
  const bool heeded = changed_.wait_for(
      lock, limits_.forcedStop, [&] { return stopping_ || runtime_ == nullptr || run_ != hung; });
  if (!heeded) {
    // Native code that does not return, such as a call of the system for a disk that hangs.
    hangs_ = true;
    turnedAt_ = Clock::now();
    const std::string why =
        "the event loop hangs in native code and cannot be ended; if it does not come back, "
        "Orthanc must be restarted";
    surroundings_.logError("Storage is out of order: " + why);
    bridge_.breakDown(why);
  }
}

void Supervisor::end(Lock& lock) {
  const auto hasEnded = [this] { return ended_ || !loop_.joinable(); };
  const auto drained = Clock::now() + limits_.drain;
  while (!hasEnded() && bridge_.waiting() > 0 && Clock::now() < drained) {
    changed_.wait_for(lock, milliseconds(10));
  }
  // One that was refused has nothing to finish, nor has one that stores nothing; one that hangs
  // hears nothing.
  if (runtime_ != nullptr && !hangs_ && started_ && started_->settings &&
      started_->settings->storage) {
    runtime_->stop();
    changed_.wait_for(lock, std::max(limits_.politeStop, settings_.stopTimeout), hasEnded);
  }
  if (runtime_ != nullptr) {
    runtime_->terminate("it did not stop when it was asked to");
  }
  if (!changed_.wait_for(lock, limits_.forcedStop, hasEnded)) {
    // Native code that never returns can't be ended. Its thread keeps what it uses; this library
    // is never unloaded.
    bridge_.detach("the plugin is stopping");
    surroundings_.logError("The storage runtime could not be ended; its thread is left behind");
  }
  bridge_.breakDown("the plugin is stopping");
}

}  // namespace cloudstore
