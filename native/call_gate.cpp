// SPDX-License-Identifier: GPL-3.0-or-later
#include "call_gate.h"

namespace cloudstore {

thread_local const CallGate::Visit* CallGate::innermost = nullptr;

CallGate::Visit::Visit(CallGate& gate) : gate_(gate), outer_(innermost) {
  const std::lock_guard<std::mutex> lock(gate.mutex_);
  if (gate.open_) {
    admitted_ = true;
    ++gate.underWay_;
  }
  innermost = this;
}

CallGate::Visit::~Visit() {
  innermost = outer_;
  if (admitted_) {
    const std::lock_guard<std::mutex> lock(gate_.mutex_);
    --gate_.underWay_;
    // With the lock held: who waits may destroy the gate as soon as it has the lock.
    gate_.changed_.notify_all();
  }
}

void CallGate::close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  open_ = false;
}

bool CallGate::isOpen() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return open_;
}

void CallGate::awaitQuiet() const {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return isQuietLocked(); });
}

bool CallGate::awaitQuiet(std::chrono::milliseconds limit) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return isQuietLocked(); });
}

bool CallGate::isQuietLocked() const {
  size_t own = 0;
  for (const Visit* visit = innermost; visit != nullptr; visit = visit->outer_) {
    own += visit->admitted_ && &visit->gate_ == this ? 1 : 0;
  }
  return underWay_ <= own;
}

}  // namespace cloudstore
