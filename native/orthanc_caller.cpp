// SPDX-License-Identifier: GPL-3.0-or-later
#include "orthanc_caller.h"

#include <exception>

namespace cloudstore {

OrthancCaller::~OrthancCaller() {
  if (thread_.joinable()) {
    stop(std::chrono::hours(1));
  }
}

void OrthancCaller::close() {
  std::deque<Call> dropped;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    dropped.swap(calls_);
  }
  changed_.notify_all();
  for (const Call& call : dropped) {
    bridge_.post({call.ticket, notCalled()});
  }
}

bool OrthancCaller::stop(std::chrono::milliseconds limit) {
  close();
  {
    std::unique_lock<std::mutex> lock(mutex_);
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
    if (!closed_) {
      // Before the call is queued, lest one be made later whose caller was told that it failed.
      if (!thread_.joinable()) {
        thread_ = std::thread([this] { run(); });
      }
      calls_.push_back({ticket, std::move(work)});
      ticket = 0;
    }
  }
  if (ticket == 0) {
    changed_.notify_all();
  } else {
    bridge_.post({ticket, notCalled()});
  }
}

void OrthancCaller::run() {
  nameThread_();
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return closed_ || !calls_.empty(); });
    if (closed_) {
      return;
    }
    const Call call = std::move(calls_.front());
    calls_.pop_front();
    busy_ = true;
    lock.unlock();
    OrthancAnswer answer{call.ticket, {}};
    try {
      answer.answer = call.work();
    } catch (const std::exception& error) {
      answer.answer.body = error.what();
    } catch (...) {
      answer.answer.body = "unknown error";
    }
    bridge_.post(std::move(answer));
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace cloudstore
