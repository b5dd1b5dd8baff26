// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "bridge.h"
#include "jobs.h"
#include "orthanc_caller.h"
#include "orthanc_context.h"
#include "supervisor.h"

namespace cloudstore {

class Lanes;

/** One event loop, and the way to it. Members end in the reverse of their order. */
struct Lane {
  Lane(Lanes& lanes, size_t index);

  const size_t index;  // 0 is the first, which alone serves what Orthanc asks beside storage
  Bridge bridge;
  OrthancCaller caller;
  Supervisor supervisor;
};

/** The event loops from one Initialize to its Finalize: one, or as many as the configuration says.
 *  `start` and `stop` are for Orthanc's main thread; in between, all that changes is inside the
 * lanes. */
class Lanes {
 public:
  Lanes(const OrthancContext& orthanc, JobTable& jobs);
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  [[nodiscard]] const OrthancContext& orthanc() const { return orthanc_; }
  [[nodiscard]] JobTable& jobs() const { return jobs_; }

  /** Starts the first one, which knows how many there are to be, then makes and starts the others
   * side by side. Blocks until all are ready or one is refused, at most for twice the timeout. */
  Supervisor::Started start(std::chrono::milliseconds timeout);
  /** thread: any. As that of Supervisor. */
  void failCallsAfter(std::chrono::milliseconds grace);
  /** thread: any; does not wait. From now on TypeScript's questions are answered as not asked, also
   * those that are queued. */
  void closeCalls();
  /** Ends all, side by side. @param callGrace for questions that Orthanc works on
   *  @returns false if a thread is left behind, which still uses this object */
  bool stop(std::chrono::milliseconds callGrace);

  /** thread: any. Of the first lane. */
  Bridge& first() { return lanes_.front()->bridge; }
  /** thread: any. Where the fewest calls wait. */
  Bridge& leastBusy();
  /** thread: any, once all have started; does not block. Makes a call of another lane, and has its
   * answer posted to the asker. @throws std::out_of_range where there is no such lane */
  void ask(size_t index, const std::string& name, Bridge& asker, uint64_t ticket);

 private:
  const OrthancContext& orthanc_;
  JobTable& jobs_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace cloudstore
