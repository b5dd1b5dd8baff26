// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
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
  /** @param index 0 is the first, which alone serves what Orthanc asks beside storage */
  Lane(const OrthancContext& orthanc, JobTable& jobs, Lanes& lanes, size_t index);

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

  /** Starts the first one, which knows how many there are to be, then makes and starts the others
   * side by side. Blocks until all are ready or one is refused, at most for twice the timeout. */
  Supervisor::Started start(std::chrono::milliseconds timeout);
  /** thread: any. As Supervisor::hurry. */
  void hurry(std::chrono::milliseconds grace);
  /** thread: any; does not wait. From now on TypeScript's calls of Orthanc are answered as not
   * called, also those that are queued. */
  void closeCalls();
  /** Ends all, side by side. @param callGrace for a call of Orthanc's API that is under way
   *  @returns false if a thread is left behind, which still uses this object */
  bool stop(std::chrono::milliseconds callGrace);

  /** thread: any. Of the first lane. */
  Bridge& first() { return lanes_.front()->bridge; }
  /** thread: any. Where the fewest calls wait. */
  Bridge& leastBusy();
  /** thread: any, once all have started. @throws std::out_of_range where there is no such lane */
  void send(size_t index, LaneMessage message);

 private:
  const OrthancContext& orthanc_;
  JobTable& jobs_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

}  // namespace cloudstore
