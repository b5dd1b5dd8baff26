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

#include "bridge.h"
#include "orthanc_context.h"

namespace cloudstore {

/** Carries TypeScript's calls of Orthanc on a thread of its own, one after another. Such a call may
 * wait for Orthanc's database while that waits for our storage, so it must never hold up the loop.
 */
class OrthancCaller {
 public:
  OrthancCaller(const OrthancContext& orthanc, Bridge& bridge)
      : orthanc_(orthanc), bridge_(bridge) {}
  ~OrthancCaller();
  OrthancCaller(const OrthancCaller&) = delete;
  OrthancCaller& operator=(const OrthancCaller&) = delete;

  using Work = std::function<RestAnswer(const OrthancContext&)>;

  /** thread: any; does not block. The answer comes through the bridge, under the ticket. What the
   * work throws is the body of a 500. */
  void submit(uint64_t ticket, Work work);

  /** Drops what is queued and waits for the call under way, at most for `limit`. Close the bridge
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

  const OrthancContext& orthanc_;
  Bridge& bridge_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // guarded by mutex_
  std::deque<Call> calls_;
  bool stopping_ = false;
  bool busy_ = false;
  std::thread thread_;  // started by the first call: most configurations never make one
};

}  // namespace cloudstore
