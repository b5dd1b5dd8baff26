// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <memory>

#include "bridge.h"
#include "jobs.h"
#include "orthanc_caller.h"
#include "orthanc_context.h"
#include "supervisor.h"

namespace cloudstore {

/** All that lives from one Initialize to its Finalize. Members end in the reverse of their order.
 */
struct PluginState {
  explicit PluginState(OrthancPluginContext* context);

  OrthancContext orthanc;
  Bridge bridge;
  JobTable jobs;
  OrthancCaller caller;
  Supervisor supervisor;
};

/** The state that Orthanc's callbacks work on, which come without a pointer of ours. thread: any.
 *  @returns nullptr before Initialize and after Finalize */
std::shared_ptr<PluginState> currentState();

}  // namespace cloudstore
