// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "jobs.h"
#include "lanes.h"
#include "orthanc_context.h"

namespace cloudstore {

/** All that lives from one Initialize to its Finalize. Members end in the reverse of their order.
 */
struct PluginState {
  explicit PluginState(OrthancPluginContext* context) : orthanc(context), lanes(orthanc, jobs) {}

  OrthancContext orthanc;
  /** Storage operations that ended without an answer of TypeScript's, which counts all others. */
  std::atomic<uint64_t> unanswered{0};
  JobTable jobs;
  Lanes lanes;
};

/** The state that Orthanc's callbacks work on, which come without a pointer of ours. thread: any.
 *  @returns nullptr before Initialize and after Finalize */
std::shared_ptr<PluginState> currentState();

}  // namespace cloudstore
