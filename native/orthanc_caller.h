// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "bridge.h"

namespace cloudstore {

/** Carries TypeScript's calls of Orthanc on a thread of its own, one after another. Such a call may
 * wait for Orthanc's database while that waits for our storage, so it must never hold up the loop.
 *
 *  open, from the start: calls are taken. closed, by `close`: what is queued and what comes is
 * answered as not called. stopped, by `stop`: there is no thread any more. */
class OrthancCaller {
 public:
  /** @param nameThread runs at the start of the thread; does not throw */
  OrthancCaller(Bridge& bridge, std::function<void()> nameThread)
      : bridge_(bridge), nameThread_(std::move(nameThread)) {}
  ~OrthancCaller();
  OrthancCaller(const OrthancCaller&) = delete;
  OrthancCaller& operator=(const OrthancCaller&) = delete;

  using Work = std::function<RestAnswer()>;

  /** thread: any; does not block. The answer comes through the bridge, under the ticket. What the
   * work throws is the body of a 500. @throws std::system_error where there is no thread to be had;
   * nothing is submitted then */
  void submit(uint64_t ticket, Work work);

  /** thread: any; does not wait for the call under way. */
  void close();

  /** Closes, and waits for the call under way, at most for `limit`. Close the bridge
   * first, lest that call wait for us. thread: not one of those that such a call runs on.
   *  @returns false if Orthanc does not come back: the thread is left behind, and still uses this
   * object, which must then never be destroyed */
  bool stop(std::chrono::milliseconds limit);

 private:
  struct Call {
    uint64_t ticket;
    Work work;
  };

  void run();

  Bridge& bridge_;
  const std::function<void()> nameThread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::deque<Call> calls_;
  bool closed_ = false;
  bool busy_ = false;
  std::thread thread_;  // started by the first call: most configurations never make one
};

}  // namespace cloudstore
