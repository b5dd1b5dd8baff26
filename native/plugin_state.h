// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "jobs.h"
#include "lanes.h"
#include "orthanc_context.h"

namespace cloudstore {

/** All that lives from one Initialize to its Finalize. Members end in the reverse of their order.
 */
struct PluginState {
  explicit PluginState(OrthancPluginContext* context) : orthanc(context), lanes(orthanc, *jobs) {}

  OrthancContext orthanc;
  /** Storage operations that ended without an answer of TypeScript's, which counts all others. */
  std::atomic<uint64_t> unanswered{0};
  const std::shared_ptr<JobTable> jobs = std::make_shared<JobTable>();
  Lanes lanes;
};

/** The state that Orthanc's callbacks work on, which come without a pointer of ours. thread: any.
 *  @returns nullptr before Initialize and after Finalize */
std::shared_ptr<PluginState> currentState();

/** Runs a callback of Orthanc's that needs no state: nothing may be thrown across the C ABI. */
template <typename Outcome, typename Body>
Outcome guarded(Outcome otherwise, Body body) noexcept {
  try {
    return body();
  } catch (...) {
    return otherwise;
  }
}

/** Likewise, of one that needs it.
 *  @param what for the log
 *  @returns what `body` returns; `otherwise` where it throws, and outside of Initialize and
 * Finalize
 */
template <typename Outcome, typename Body>
Outcome guarded(const char* what, Outcome otherwise, Body body) noexcept {
  try {
    const std::shared_ptr<PluginState> state = currentState();
    try {
      return state == nullptr ? otherwise : body(*state);
    } catch (const std::exception& error) {
      state->orthanc.log(OrthancPluginLogLevel_Error,
                         std::string(what) + " failed in the shim: " + error.what());
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch): there is no memory left to say more
  }
  return otherwise;
}

}  // namespace cloudstore
