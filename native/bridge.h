// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "request.h"

namespace cloudstore {

/** Wakes a sleeping event loop. thread: any. Does nothing once the loop has gone. */
using Wakeup = std::function<void()>;

/** What has gathered for the loop since it last looked. */
struct Inbox {
  struct Arrival {
    uint64_t id = 0;
    AnyRequest request;
  };
  /** Of a question that TypeScript asked. */
  struct Reply {
    uint64_t ticket = 0;
    Answer answer;
  };
  std::vector<Arrival> arrivals;
  std::vector<uint64_t> abandoned;
  std::vector<Reply> replies;
};

/** The queue between Orthanc's threads and the one event loop, the table of live requests, and the
 * gate before both.
 *
 *  It lives from Initialize to Finalize and outlasts the runtimes that serve it: what one had taken
 * when it ended is lost and fails; what was still waiting in the queue is served by the next.
 *
 *  Order of locks: Supervisor::mutex_, Bridge::mutex_, Request's. A Wakeup is sent with the
 * bridge's not held. */
class Bridge {
 public:
  /** thread: any of Orthanc's; blocks until the request ends, at most for the time that it has. */
  Result call(const AnyRequest& request);

  /** thread: any. TypeScript tells them once it has read the configuration. */
  void setTimeouts(const Timeouts& timeouts);

  /** thread: the loop's. From now on the loop that `wakeup` wakes takes what arrives. */
  void attach(Wakeup wakeup);
  /** thread: any. The runtime that was attached is gone: what it had taken fails with the reason.
   */
  void detach(const std::string& reason);

  /** thread: any. No runtime can be had for now: everything fails at once with the reason, until
   * `repair`. */
  void breakDown(const std::string& reason);
  void repair();
  /** thread: any. The gate closes for good: calls that are waiting go on, new ones fail. */
  void close();
  /** thread: any. Ends the calls that have waited for so long; the loop is told to give them up. */
  void failWaiting(const std::string& reason, std::chrono::milliseconds age);

  /** thread: the loop's. Empties the queue. */
  Inbox take();
  /** thread: any. Hands the reply to a question of TypeScript's to the loop. */
  void post(Inbox::Reply reply);

  /** thread: any. Calls that wait for an answer. */
  [[nodiscard]] size_t waiting() const;
  /** thread: any. As `waiting`, to compare lanes by: one without a runtime comes after all that
   * have one. */
  [[nodiscard]] size_t load() const;
  /** thread: any. Grows whenever the loop has looked at its queue: a loop in which it stands still
   * has hung. */
  [[nodiscard]] uint64_t turns() const { return turns_; }
  /** thread: any. Makes the loop look at its queue. */
  void poke();

 private:
  struct Live {
    AnyRequest request;
    std::chrono::steady_clock::time_point since;
    bool taken = false;
  };
  using Lock = std::unique_lock<std::mutex>;

  /** Wakes the loop, unless it has been woken since it last looked. Gives up the lock. */
  void wake(Lock lock);
  void failLocked(bool takenOnly, const Result& result);

  std::atomic<uint64_t> turns_{0};

  mutable std::mutex mutex_;
  // guarded by mutex_
  Timeouts timeouts_;
  // nullptr: no runtime is attached. Shared, since a copy of the function itself would need memory,
  // and there may be none: a request that Orthanc's thread does not wait for must not stay here.
  std::shared_ptr<const Wakeup> wakeup_;
  bool woken_ = false;
  bool closed_ = false;
  bool broken_ = false;
  std::string brokenReason_;
  uint64_t nextId_ = 1;
  std::unordered_map<uint64_t, Live> live_;
  std::vector<uint64_t> queue_;
  std::vector<uint64_t> abandoned_;
  std::vector<Inbox::Reply> replies_;
};

}  // namespace cloudstore
