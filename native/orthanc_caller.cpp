// SPDX-License-Identifier: GPL-3.0-or-later
#include "orthanc_caller.h"

#include <exception>
#include <utility>

namespace cloudstore {

OrthancCaller::~OrthancCaller() {
  if (thread_.joinable()) {
    stop(std::chrono::hours(1));
  }
}

bool OrthancCaller::stop(std::chrono::milliseconds limit) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    if (!changed_.wait_for(lock, limit, [this] { return !busy_; })) {
      return false;
    }
  }
  if (thread_.joinable()) {
    thread_.join();
  }
  return true;
}

void OrthancCaller::submit(uint64_t ticket, Work work) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    calls_.push_back({ticket, std::move(work)});
    if (!thread_.joinable() && !stopping_) {
      thread_ = std::thread([this] { run(); });
    }
  }
  changed_.notify_all();
}

void OrthancCaller::run() {
  orthanc_.nameThread("STORAGE-CALLS");
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !calls_.empty(); });
    if (stopping_) {
      return;
    }
    const Call call = std::move(calls_.front());
    calls_.pop_front();
    busy_ = true;
    lock.unlock();
    OrthancAnswer answer{call.ticket, {}};
    try {
      answer.answer = call.work(orthanc_);
    } catch (const std::exception& error) {
      answer.answer.body = error.what();
    }
    bridge_.post(std::move(answer));
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace cloudstore
