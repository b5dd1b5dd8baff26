// SPDX-License-Identifier: GPL-3.0-or-later
#include "request.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace cloudstore {
namespace {

void checkBounds(uint64_t offset, uint64_t length, uint64_t size, const char* what) {
  if (offset > size || length > size - offset) {
    throw std::out_of_range(std::string(what) + ": bytes " + std::to_string(offset) + " to " +
                            std::to_string(offset + length) + " of " + std::to_string(size));
  }
}

}  // namespace

Request::Request(Subject subject, const void* content, uint64_t size,
                 std::unique_ptr<Destination> destination)
    : subject_(std::move(subject)),
      size_(size),
      destination_(std::move(destination)),
      content_(static_cast<const uint8_t*>(content)) {}

Result Request::wait(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!ended_.wait_until(lock, deadline, [this] { return !alive_; })) {
    endLocked({Result::Verdict::kTimeout, 0, "no answer before the deadline"});
  }
  return result_;
}

bool Request::read(uint64_t offset, void* target, size_t length) {
  return use(offset, length, [target, length](const uint8_t* content) {
    if (length > 0) {
      std::memcpy(target, content, length);
    }
  });
}

bool Request::use(uint64_t offset, size_t length, const std::function<void(const uint8_t*)>& work) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!alive_) {
    return false;
  }
  // A range read has a size but no content.
  checkBounds(offset, length, content_ == nullptr ? 0 : size_, "read");
  work(content_ + offset);
  return true;
}

bool Request::allocate(uint64_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!alive_) {
    return false;
  }
  if (destination_ == nullptr) {
    throw std::logic_error("allocate: this request takes no bytes");
  }
  target_ = destination_->allocate(size);
  if (target_ == nullptr && size > 0) {
    throw std::length_error("allocate: no room for " + std::to_string(size) + " bytes");
  }
  targetSize_ = size;
  writtenPrefix_ = 0;
  writtenFar_.clear();
  allocated_ = true;
  return true;
}

bool Request::write(uint64_t offset, const void* source, size_t length) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!alive_) {
    return false;
  }
  checkBounds(offset, length, targetSize_, "write");
  if (length > 0) {
    std::memcpy(target_ + offset, source, length);
  }
  noteWrittenLocked(offset, offset + length);
  return true;
}

void Request::noteWrittenLocked(uint64_t start, uint64_t end) {
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

bool Request::end(Result result) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!endLocked(std::move(result))) {
      return false;
    }
  }
  // With the lock released, lest the thread that wakes up has to wait for it.
  ended_.notify_one();
  return true;
}

bool Request::answer(RestAnswer answer) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!alive_) {
      return false;
    }
    restAnswer_ = std::move(answer);
    endLocked({Result::Verdict::kSuccess, 0, {}});
  }
  ended_.notify_one();
  return true;
}

bool Request::endLocked(Result result) {
  if (!alive_) {
    return false;
  }
  // Whole or nothing: a read that left bytes of Orthanc's memory unwritten is no success, whatever
  // was said.
  if (result.verdict == Result::Verdict::kSuccess && destination_ != nullptr &&
      (!allocated_ || writtenPrefix_ != targetSize_)) {
    throw std::logic_error("complete: bytes are missing from " + std::to_string(writtenPrefix_) +
                           " on, of " + std::to_string(targetSize_));
  }
  alive_ = false;
  content_ = nullptr;
  target_ = nullptr;
  result_ = std::move(result);
  return true;
}

}  // namespace cloudstore
