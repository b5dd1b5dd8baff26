// SPDX-License-Identifier: GPL-3.0-or-later
#include "bridge.h"

#include <limits>
#include <utility>

namespace cloudstore {

Result Bridge::call(const AnyRequest& request) {
  Request& base = baseOf(request);
  Lock lock(mutex_);
  if (closed_) {
    return {Result::Verdict::kClosed, 0, "the plugin is stopping"};
  }
  if (broken_) {
    return {Result::Verdict::kLost, 0, brokenReason_};
  }
  const auto now = std::chrono::steady_clock::now();
  const auto deadline = now + timeouts_.*base.limit();
  const uint64_t id = nextId_++;
  // In this order: if the table has no room, take() skips an id that it does not know. The other
  // way round, a request that nobody waits for would stay in the table.
  queue_.push_back(id);
  live_.emplace(id, Live{request, now, false});
  wake(std::move(lock));

  Result result = base.wait(deadline);

  lock = Lock(mutex_);
  const auto live = live_.find(id);
  const bool taken = live != live_.end() && live->second.taken;
  live_.erase(id);
  // Ids that are still queued are skipped by take(), since the table no longer knows them.
  if (taken && result.verdict == Result::Verdict::kTimeout) {
    abandoned_.push_back(id);
    wake(std::move(lock));
  }
  return result;
}

void Bridge::setTimeouts(const Timeouts& timeouts) {
  const Lock lock(mutex_);
  timeouts_ = timeouts;
}

void Bridge::attach(Wakeup wakeup) {
  Lock lock(mutex_);
  wakeup_ = std::make_shared<const Wakeup>(std::move(wakeup));
  woken_ = false;
  if (!queue_.empty()) {
    wake(std::move(lock));
  }
}

void Bridge::detach(const std::string& reason) {
  const Lock lock(mutex_);
  wakeup_ = nullptr;
  woken_ = false;
  abandoned_.clear();
  replies_.clear();
  failLocked(true, {Result::Verdict::kLost, 0, reason});
}

void Bridge::breakDown(const std::string& reason) {
  const Lock lock(mutex_);
  broken_ = true;
  brokenReason_ = reason;
  failLocked(false, {Result::Verdict::kLost, 0, reason});
}

void Bridge::repair() {
  const Lock lock(mutex_);
  broken_ = false;
}

void Bridge::close() {
  const Lock lock(mutex_);
  closed_ = true;
}

void Bridge::failWaiting(const std::string& reason, std::chrono::milliseconds age) {
  const auto latest = std::chrono::steady_clock::now() - age;
  Lock lock(mutex_);
  for (auto& [id, live] : live_) {
    if (live.since > latest) {
      continue;
    }
    if (live.taken) {
      abandoned_.push_back(id);
    }
    baseOf(live.request).end({Result::Verdict::kClosed, 0, reason});
  }
  wake(std::move(lock));
}

Inbox Bridge::take() {
  ++turns_;
  Inbox inbox;
  const Lock lock(mutex_);
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
  inbox.replies.swap(replies_);
  return inbox;
}

void Bridge::post(Inbox::Reply reply) {
  Lock lock(mutex_);
  replies_.push_back(std::move(reply));
  wake(std::move(lock));
}

size_t Bridge::waiting() const {
  const Lock lock(mutex_);
  return live_.size();
}

size_t Bridge::load() const {
  // More than calls there can be.
  constexpr size_t kNoRuntime = std::numeric_limits<size_t>::max() / 2;
  const Lock lock(mutex_);
  return live_.size() + (broken_ || wakeup_ == nullptr ? kNoRuntime : 0);
}

void Bridge::poke() {
  Lock lock(mutex_);
  woken_ = false;
  wake(std::move(lock));
}

void Bridge::wake(Lock lock) {
  if (woken_ || wakeup_ == nullptr) {
    return;
  }
  woken_ = true;
  const std::shared_ptr<const Wakeup> wakeup = wakeup_;
  lock.unlock();
  (*wakeup)();
}

void Bridge::failLocked(bool takenOnly, const Result& result) {
  for (auto& [id, live] : live_) {
    if (live.taken || !takenOnly) {
      baseOf(live.request).end(result);
    }
  }
}

}  // namespace cloudstore
