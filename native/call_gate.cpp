// SPDX-License-Identifier: GPL-3.0-or-later
#include "call_gate.h"

namespace cloudstore {
namespace {

size_t indexOf(CallGate::Kind kind) { return static_cast<size_t>(kind); }

}  // namespace

thread_local std::array<size_t, CallGate::kKinds> CallGate::ownVisits{};

CallGate::Visit::Visit(CallGate& gate, Kind kind)
    : gate_(gate), kind_(kind), admitted_(gate.enter(kind)) {}

CallGate::Visit::~Visit() {
  if (admitted_) {
    gate_.leave(kind_);
  }
}

void CallGate::close(Kind kind) {
  const std::lock_guard<std::mutex> lock(mutex_);
  passages_.at(indexOf(kind)).open = false;
}

bool CallGate::isOpen(Kind kind) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return passages_.at(indexOf(kind)).open;
}

void CallGate::awaitQuiet(Kind kind) const {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this, kind] { return isQuietLocked(kind); });
}

bool CallGate::awaitQuiet(Kind kind, std::chrono::milliseconds limit) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, limit, [this, kind] { return isQuietLocked(kind); });
}

bool CallGate::enter(Kind kind) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Passage& passage = passages_.at(indexOf(kind));
  if (!passage.open) {
    return false;
  }
  ++passage.underWay;
  ++ownVisits.at(indexOf(kind));
  return true;
}

void CallGate::leave(Kind kind) {
  const std::lock_guard<std::mutex> lock(mutex_);
  --passages_.at(indexOf(kind)).underWay;
  --ownVisits.at(indexOf(kind));
  // With the lock held: who waits may destroy this gate as soon as it has the lock.
  changed_.notify_all();
}

bool CallGate::isQuietLocked(Kind kind) const {
  return passages_.at(indexOf(kind)).underWay <= ownVisits.at(indexOf(kind));
}

}  // namespace cloudstore
