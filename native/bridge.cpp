// SPDX-License-Identifier: GPL-3.0-or-later
#include "bridge.h"

#include <limits>
#include <utility>

namespace cloudstore {

Result Bridge::call(const std::shared_ptr<Request>& request) {
  auto deadline = std::chrono::steady_clock::now();
  std::shared_ptr<Wakeup> wakeup;
  uint64_t id = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) {
      return {Result::Verdict::kClosed, 0, "the plugin is stopping"};
    }
    if (broken_) {
      return {Result::Verdict::kLost, 0, brokenReason_};
    }
    deadline += timeoutLocked(request->subject().operation);
    id = nextId_++;
    // In this order: if the table has no room, take() skips an id that it does not know. The other
    // way round, a request that nobody waits for would stay in the table.
    queue_.push_back(id);
    live_.emplace(id, Live{request, false});
    wakeup = filledLocked();
  }
  if (wakeup) {
    wakeup->send();
  }

  Result result = request->wait(deadline);

  wakeup.reset();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto live = live_.find(id);
    const bool taken = live != live_.end() && live->second.taken;
    live_.erase(id);
    // Ids that are still queued are skipped by take(), since the table no longer knows them.
    if (taken && result.verdict == Result::Verdict::kTimeout) {
      abandoned_.push_back(id);
      wakeup = filledLocked();
    }
  }
  if (wakeup) {
    wakeup->send();
  }
  return result;
}

void Bridge::setTimeouts(const Timeouts& timeouts) {
  const std::lock_guard<std::mutex> lock(mutex_);
  timeouts_ = timeouts;
}

void Bridge::attach(std::shared_ptr<Wakeup> wakeup) {
  std::shared_ptr<Wakeup> toWake;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wakeup_ = std::move(wakeup);
    woken_ = false;
    if (!queue_.empty()) {
      toWake = filledLocked();
    }
  }
  if (toWake) {
    toWake->send();
  }
}

void Bridge::detach(const std::string& reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  wakeup_.reset();
  woken_ = false;
  abandoned_.clear();
  answers_.clear();
  messages_.clear();
  failLocked(true, {Result::Verdict::kLost, 0, reason});
}

void Bridge::breakDown(const std::string& reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  broken_ = true;
  brokenReason_ = reason;
  failLocked(false, {Result::Verdict::kLost, 0, reason});
}

void Bridge::mend() {
  const std::lock_guard<std::mutex> lock(mutex_);
  broken_ = false;
}

void Bridge::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
}

void Bridge::failWaiting(const std::string& reason) {
  std::shared_ptr<Wakeup> wakeup;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& [id, live] : live_) {
      if (live.taken) {
        abandoned_.push_back(id);
      }
    }
    failLocked(false, {Result::Verdict::kClosed, 0, reason});
    wakeup = filledLocked();
  }
  if (wakeup) {
    wakeup->send();
  }
}

Inbox Bridge::take() {
  ++turns_;
  Inbox inbox;
  const std::lock_guard<std::mutex> lock(mutex_);
  woken_ = false;
  inbox.arrivals.reserve(queue_.size());
  for (const uint64_t id : queue_) {
    const auto live = live_.find(id);
    if (live != live_.end()) {
      live->second.taken = true;
      inbox.arrivals.push_back({id, live->second.request});
    }
  }
  queue_.clear();
  inbox.abandoned.swap(abandoned_);
  inbox.answers.swap(answers_);
  inbox.messages.swap(messages_);
  return inbox;
}

void Bridge::post(OrthancAnswer answer) {
  std::shared_ptr<Wakeup> wakeup;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    answers_.push_back(std::move(answer));
    wakeup = filledLocked();
  }
  if (wakeup) {
    wakeup->send();
  }
}

void Bridge::post(LaneMessage message) {
  std::shared_ptr<Wakeup> wakeup;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wakeup_ == nullptr) {
      return;
    }
    messages_.push_back(std::move(message));
    wakeup = filledLocked();
  }
  if (wakeup) {
    wakeup->send();
  }
}

size_t Bridge::waiting() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return live_.size();
}

size_t Bridge::load() const {
  // More than calls there can be.
  constexpr size_t kNoRuntime = std::numeric_limits<size_t>::max() / 2;
  const std::lock_guard<std::mutex> lock(mutex_);
  return live_.size() + (broken_ || wakeup_ == nullptr ? kNoRuntime : 0);
}

void Bridge::poke() {
  std::shared_ptr<Wakeup> wakeup;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    wakeup = wakeup_;
  }
  if (wakeup) {
    wakeup->send();
  }
}

std::shared_ptr<Wakeup> Bridge::filledLocked() {
  if (woken_ || wakeup_ == nullptr) {
    return nullptr;
  }
  woken_ = true;
  return wakeup_;
}

std::chrono::milliseconds Bridge::timeoutLocked(Operation operation) const {
  switch (operation) {
    case Operation::kRemove:
      return timeouts_.remove;
    case Operation::kMetrics:
      return timeouts_.metrics;
    default:
      return timeouts_.call;
  }
}

void Bridge::failLocked(bool takenOnly, const Result& result) {
  for (auto& [id, live] : live_) {
    if (live.taken || !takenOnly) {
      live.request->end(result);
    }
  }
}

}  // namespace cloudstore
