// SPDX-License-Identifier: GPL-3.0-or-later
#include "request.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace cloudstore {
namespace {

void checkBounds(uint64_t offset, uint64_t length, uint64_t size, const char* what) {
  if (offset > size || length > size - offset) {
    throw std::out_of_range(std::string(what) + ": bytes " + std::to_string(offset) + " to " +
                            std::to_string(offset + length) + " of " + std::to_string(size));
  }
}

}  // namespace

Result Request::wait(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!ended_.wait_until(lock, deadline, [this] { return !alive_; })) {
    alive_ = false;
    content_ = nullptr;
    result_ = {Result::Verdict::kTimeout, 0, "no answer before the deadline"};
  }
  return result_;
}

bool Request::use(uint64_t offset, size_t length, const std::function<void(const uint8_t*)>& work) {
  const std::unique_lock<std::mutex> lock = lockAlive();
  if (lock) {
    checkBounds(offset, length, contentSize_, "read");
    work(content_ + offset);
  }
  return lock.owns_lock();
}

bool Request::end(Result result) {
  std::unique_lock<std::mutex> lock = lockAlive();
  if (!lock) {
    return false;
  }
  endLocked(std::move(lock), std::move(result));
  return true;
}

std::unique_lock<std::mutex> Request::lockAlive() {
  std::unique_lock<std::mutex> lock(mutex_);
  return alive_ ? std::move(lock) : std::unique_lock<std::mutex>();
}

void Request::endLocked(std::unique_lock<std::mutex> lock, Result result) {
  if (result.verdict == Result::Verdict::kSuccess) {
    checkAnsweredLocked();
  }
  alive_ = false;
  content_ = nullptr;
  result_ = std::move(result);
  // First, lest the thread that wakes up has to wait for it.
  lock.unlock();
  ended_.notify_one();
}

bool StorageRequest::allocate(uint64_t size) {
  const std::unique_lock<std::mutex> lock = lockAlive();
  if (!lock) {
    return false;
  }
  if (allocate_ == nullptr) {
    throw std::logic_error("allocate: this request takes no bytes");
  }
  // Of an earlier attempt, nothing may be written any more, also where there is no room for this.
  target_ = nullptr;
  targetSize_ = 0;
  allocated_ = false;
  target_ = allocate_(size);
  if (target_ == nullptr && size > 0) {
    throw std::length_error("allocate: no room for " + std::to_string(size) + " bytes");
  }
  targetSize_ = size;
  writtenPrefix_ = 0;
  writtenFar_.clear();
  allocated_ = true;
  return true;
}

bool StorageRequest::write(uint64_t offset, const void* source, size_t length) {
  const std::unique_lock<std::mutex> lock = lockAlive();
  if (!lock) {
    return false;
  }
  checkBounds(offset, length, targetSize_, "write");
  if (length > 0) {
    std::memcpy(target_ + offset, source, length);
  }
  noteWritten(offset, offset + length);
  return true;
}

void StorageRequest::noteWritten(uint64_t start, uint64_t end) {
  if (start > writtenPrefix_) {
    uint64_t& farEnd = writtenFar_[start];
    farEnd = std::max(farEnd, end);
    return;
  }
  writtenPrefix_ = std::max(writtenPrefix_, end);
  while (!writtenFar_.empty() && writtenFar_.begin()->first <= writtenPrefix_) {
    writtenPrefix_ = std::max(writtenPrefix_, writtenFar_.begin()->second);
    writtenFar_.erase(writtenFar_.begin());
  }
}

void StorageRequest::checkAnsweredLocked() const {
  // Whole or nothing: a read that left bytes of Orthanc's memory unwritten is no success, whatever
  // was said.
  if (allocate_ != nullptr && (!allocated_ || writtenPrefix_ != targetSize_)) {
    throw std::logic_error("complete: bytes are missing from " + std::to_string(writtenPrefix_) +
                           " on, of " + std::to_string(targetSize_));
  }
}

bool Call::respond(Answer answer) {
  std::unique_lock<std::mutex> lock = lockAlive();
  if (!lock) {
    return false;
  }
  answer_ = std::move(answer);
  endLocked(std::move(lock), {Result::Verdict::kSuccess, 0, {}});
  return true;
}

}  // namespace cloudstore
