// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>

namespace cloudstore {

/** How a request ended. */
struct Result {
  enum class Verdict : uint8_t {
    kSuccess,
    kFailed,   // TypeScript said so, and has logged why; `code` is the error code of Orthanc's that
               // it chose
    kTimeout,  // nobody answered before the deadline
    kClosed,   // the plugin is being finalised
    kLost,     // the runtime ended, or could not be restarted
  };
  Verdict verdict = Verdict::kLost;
  int32_t code = 0;
  std::string message;
};

/** How long callers wait. */
struct Timeouts {
  std::chrono::milliseconds call{60'000};
  std::chrono::milliseconds remove{60'000};  // Orthanc holds the lock of its index meanwhile
  std::chrono::milliseconds metrics{2'000};
  std::chrono::milliseconds lane{1'000};  // longer than a loop is ever busy at a stretch
};

/** What is asked of TypeScript, from its arrival until it ends, exactly once.
 *
 *  The thread that made it waits in `wait`; the loop's thread works on it; a watchdog may fail it.
 * Whoever ends it first wins. From then on the request is dead: no byte of its content is read and
 * nothing is written, so that the caller may free both as soon as `wait` has returned. */
class Request {
 public:
  using Limit = std::chrono::milliseconds Timeouts::*;

  virtual ~Request() = default;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] Limit limit() const { return limit_; }
  [[nodiscard]] uint64_t contentSize() const { return contentSize_; }

  /** thread: the one that made the request; blocks until the request ends, at the latest at the
   * deadline. */
  Result wait(std::chrono::steady_clock::time_point deadline);

  // thread: any, here and below. Each of these returns false, without doing anything, once the
  // request is dead. Before that they throw, and leave it alive, where they are asked for what
  // can't be.

  /** Lends bytes of the content where they lie, for as long as `work` runs; the request cannot end
   * meanwhile. @throws std::out_of_range; what `work` throws */
  bool use(uint64_t offset, size_t length, const std::function<void(const uint8_t*)>& work);
  /** @throws std::logic_error for success while something of the answer is missing */
  bool end(Result result);

 protected:
  /** @param content owned by the caller of `wait`; may be nullptr if it has no bytes */
  Request(Limit limit, const void* content, uint64_t contentSize)
      : limit_(limit), contentSize_(contentSize), content_(static_cast<const uint8_t*>(content)) {}

  /** @returns a lock that owns nothing where the request is dead */
  std::unique_lock<std::mutex> lockAlive();
  /** @throws as `end` */
  void endLocked(std::unique_lock<std::mutex> lock, Result result);

 private:
  virtual void checkAnsweredLocked() const {}

  const Limit limit_;
  const uint64_t contentSize_;
  std::mutex mutex_;
  std::condition_variable ended_;
  // guarded by mutex_
  const uint8_t* content_;
  bool alive_ = true;
  Result result_;
};

/** Makes room for the bytes of a read; called again, it starts anew. Owned by the request, so that
 * it outlives a caller that gave up.
 *  @returns where they go, or nullptr if there is no memory or the size is not the one that the
 * caller expects */
using Allocate = std::function<uint8_t*(uint64_t size)>;

/** What Orthanc asks of its storage. */
class StorageRequest final : public Request {
 public:
  /** The numbers are those of src/plugin/bridge.ts. */
  enum class Operation : uint8_t { kCreate = 0, kReadWhole = 1, kReadRange = 2, kRemove = 3 };
  struct Subject {
    Operation operation = Operation::kCreate;
    std::string uuid;
    int32_t contentType = 0;  // Orthanc's number of it
  };
  /** Of a range read, half-open. */
  struct Range {
    uint64_t start;
    uint64_t end;
  };

  /** A create: the content is what is to be stored. */
  StorageRequest(Subject subject, const void* content, uint64_t contentSize)
      : Request(&Timeouts::call, content, contentSize), subject_(std::move(subject)) {}
  /** A read, or where nothing is to be allocated a removal. */
  explicit StorageRequest(Subject subject, Allocate allocate = nullptr, Range range = {0, 0})
      : Request(allocate == nullptr ? &Timeouts::remove : &Timeouts::call, nullptr, 0),
        subject_(std::move(subject)),
        range_(range),
        allocate_(std::move(allocate)) {}

  [[nodiscard]] const Subject& subject() const { return subject_; }
  [[nodiscard]] const Range& range() const { return range_; }

  // As those of Request.

  /** Makes room for the answer. @throws std::logic_error for a request that takes no bytes;
   * std::length_error for a size that can't be had */
  bool allocate(uint64_t size);
  /** @throws std::out_of_range */
  bool write(uint64_t offset, const void* source, size_t length);

 private:
  void checkAnsweredLocked() const override;
  void noteWritten(uint64_t start, uint64_t end);

  const Subject subject_;
  const Range range_{0, 0};
  const Allocate allocate_;  // nullptr: it takes no bytes

  // guarded by Request's mutex
  uint8_t* target_ = nullptr;
  uint64_t targetSize_ = 0;
  bool allocated_ = false;
  uint64_t writtenPrefix_ = 0;               // all before it has been written
  std::map<uint64_t, uint64_t> writtenFar_;  // pieces beyond it, from start to end
};

/** An answer of HTTP's, in either direction. */
struct Answer {
  uint16_t status = 500;
  std::string contentType;  // of 200; all others go out as text/plain
  std::string body;
  std::string headers = {};  // a line "name: value" for each, beside those that Orthanc makes
};

/** No status of HTTP: Orthanc was not asked, since it is stopping. src/orthanc/api.ts knows it,
 * too.
 */
constexpr uint16_t kNotCalled = 0;
inline Answer notCalled() { return {kNotCalled, {}, "Orthanc is stopping"}; }

/** Anything else that is asked of TypeScript: by a name, of an argument, with a content. */
class Call final : public Request {
 public:
  /** @param name a method of HTTP, of the path that is the argument; or one of those that
   * src/plugin/bridge.ts lists
   *  @param headers of HTTP, a line "name: value" for each, with names in lower case */
  Call(Limit limit, std::string name, std::string argument, const void* content,
       uint64_t contentSize, std::string headers = {})
      : Request(limit, content, contentSize),
        name_(std::move(name)),
        argument_(std::move(argument)),
        headers_(std::move(headers)) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& argument() const { return argument_; }
  [[nodiscard]] const std::string& headers() const { return headers_; }

  /** Ends it with an answer. thread and return value: as those of Request */
  bool respond(Answer answer);
  /** thread: the one that made the call, after `wait`. */
  [[nodiscard]] const Answer& answer() const { return answer_; }

 private:
  const std::string name_;
  const std::string argument_;
  const std::string headers_;
  Answer answer_;  // guarded by Request's mutex
};

using AnyRequest = std::variant<std::shared_ptr<StorageRequest>, std::shared_ptr<Call>>;

inline Request& baseOf(const AnyRequest& request) {
  return *std::visit([](const auto& one) -> Request* { return one.get(); }, request);
}

}  // namespace cloudstore
