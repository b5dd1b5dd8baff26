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

namespace cloudstore {

/** What Orthanc asks. The numbers are those of src/plugin/bridge.ts. */
enum class Operation : uint8_t {
  kCreate = 0,
  kReadWhole = 1,
  kReadRange = 2,
  kRemove = 3,
  kRest = 4,
  kJob = 5,
  kMetrics = 6
};

/** Where the bytes of an answer go. Owned by the request, so that it outlives a caller that gave
 * up. */
class Destination {
 public:
  virtual ~Destination() = default;
  /** Makes room for `size` bytes; called again, it starts anew.
   *  @returns where they go, or nullptr if there is no memory or the size is not the one that the
   * caller expects */
  virtual uint8_t* allocate(uint64_t size) = 0;
};

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

/** An answer to a REST call, in either direction. */
struct RestAnswer {
  uint16_t status = 500;
  std::string contentType;  // of 200; all others go out as text/plain
  std::string body;
};

/** No status of HTTP: Orthanc was not asked, since it is stopping. src/plugin/bridge.ts knows it, too. */
constexpr uint16_t kNotCalled = 0;
inline RestAnswer notCalled() { return {kNotCalled, {}, "Orthanc is stopping"}; }

/** One thing that Orthanc asks of TypeScript, from its arrival until it ends, exactly once.
 *
 *  The thread of Orthanc's that made it waits in `wait`; the loop's thread works on it; a watchdog
 * may fail it. Whoever ends it first wins. From then on the request is dead: no byte of the content
 * is read and none of the destination is written, so Orthanc may free both as soon as `wait` has
 * returned. */
class Request {
 public:
  struct Subject {
    Operation operation = Operation::kCreate;
    std::string uuid;         // REST: the path; jobs: the handle
    int32_t contentType = 0;  // Orthanc's number of it; REST: unused
    uint64_t rangeStart = 0;  // kReadRange only
    std::string method;       // REST; jobs: what the job is to do
  };

  /** @param content what is to be stored, owned by the caller of `wait`; may be nullptr if size is
   * 0
   *  @param size of the content; of a range read, the length that is asked for; else 0 */
  Request(Subject subject, const void* content, uint64_t size,
          std::unique_ptr<Destination> destination);

  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;

  [[nodiscard]] const Subject& subject() const { return subject_; }
  [[nodiscard]] uint64_t size() const { return size_; }

  /** thread: the one that made the request; blocks until the request ends, at the latest at the
   * deadline. */
  Result wait(std::chrono::steady_clock::time_point deadline);

  /** thread: any. Each of these six returns false, without doing anything, once the request is
   * dead. Before that they throw, and leave it alive, where they are asked for what can't be:
   * std::out_of_range for bytes beyond the content or the destination, std::length_error for a
   * destination of a size that can't be had, std::logic_error for one that the request does not
   * have, or for success while bytes of it are missing. */
  bool read(uint64_t offset, void* target, size_t length);
  /** Lends the bytes of the content where they lie, for as long as `work` runs; the request cannot
   * end meanwhile. What `work` throws goes on to the caller. */
  bool use(uint64_t offset, size_t length, const std::function<void(const uint8_t*)>& work);
  bool allocate(uint64_t size);
  bool write(uint64_t offset, const void* source, size_t length);
  bool end(Result result);
  bool answer(RestAnswer answer);

  /** thread: the one that made the request, after `wait`. */
  [[nodiscard]] Destination& destination() { return *destination_; }
  [[nodiscard]] const RestAnswer& restAnswer() const { return restAnswer_; }

 private:
  bool endLocked(Result result);
  void noteWrittenLocked(uint64_t start, uint64_t end);

  const Subject subject_;
  const uint64_t size_;
  const std::unique_ptr<Destination> destination_;

  std::mutex mutex_;
  std::condition_variable ended_;
  // guarded by mutex_
  const uint8_t* content_;
  bool alive_ = true;
  Result result_;
  uint8_t* target_ = nullptr;
  uint64_t targetSize_ = 0;
  uint64_t writtenPrefix_ = 0;               // all before it has been written
  std::map<uint64_t, uint64_t> writtenFar_;  // pieces beyond it, from start to end
  bool allocated_ = false;
  RestAnswer restAnswer_;
};

}  // namespace cloudstore
