// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

#include "bridge.h"

namespace cloudstore {

/** Carries TypeScript's questions on a thread of its own, one after another: to ask Orthanc may
 * wait for Orthanc's database while that waits for our storage, so it must never hold up the loop.
 *
 *  open, from the start: questions are taken. closed, by `close`: what is queued and what comes is
 * answered as not called. stopped, by `awaitStop`: there is no thread any more. */
class OrthancCaller {
 public:
  /** @param nameThread runs at the start of the thread; does not throw */
  explicit OrthancCaller(std::function<void()> nameThread) : nameThread_(std::move(nameThread)) {}
  ~OrthancCaller();
  OrthancCaller(const OrthancCaller&) = delete;
  OrthancCaller& operator=(const OrthancCaller&) = delete;

  struct Question {
    Bridge* asker;  // where the reply goes, under the ticket
    uint64_t ticket;
    std::function<Answer()> ask;  // what it throws is the body of a 500
  };

  /** thread: any; does not block. @throws std::system_error where there is no thread to be had;
   * nothing is submitted then */
  void submit(Question question);

  /** thread: any; does not wait for the question under way. */
  void close();

  /** Waits for the question under way, at most until the deadline. Close it first; and the bridge,
   * lest that question wait for us. thread: not one of those that Orthanc works on the question on.
   *  @returns false if Orthanc does not come back: the thread is left behind, and still uses this
   * object, which must then never be destroyed */
  bool awaitStop(std::chrono::steady_clock::time_point deadline);

 private:
  void run();

  const std::function<void()> nameThread_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::deque<Question> questions_;
  bool closed_ = false;
  bool busy_ = false;
  std::thread thread_;  // started by the first question: most configurations never ask one
};

}  // namespace cloudstore
