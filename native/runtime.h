// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "bridge.h"

namespace cloudstore {

/** What TypeScript tells the shim once it has read the configuration. */
struct RuntimeSettings {
  bool storage =
      false;  // false: no section of ours in the configuration, Orthanc keeps its own storage
  bool rangeReads = false;  // false: contents can only be verified, hence read, as a whole
  size_t lanes = 1;         // event loops there are to be; the first one's answer counts
  Timeouts timeouts;        // TypeScript's own are shorter; these are for when it is at fault
  std::chrono::milliseconds watchdogTimeout{0};  // for a loop that doesn't turn while calls wait
};

/** What a runtime tells its supervisor. thread: any; none of them blocks. */
class RuntimeEvents {
 public:
  virtual ~RuntimeEvents() = default;
  /** It still waits for something at its start, as it has been told to. */
  virtual void onStarting() = 0;
  virtual void onReady(const RuntimeSettings& settings) = 0;
  /** The configuration is wrong, or the store can't be reached: trying again is no use. */
  virtual void onRefused(const std::string& message) = 0;
  /** The loop has ended, whether it was asked to or not, and has detached itself from the bridge.
   */
  virtual void onEnded(const std::string& reason) = 0;
};

/** A loop on a thread of its own that serves the bridge. It runs from its construction on, and ends
 * once. */
class Runtime {
 public:
  /** thread: the supervisor's; joins the loop's thread, so `onEnded` must have come. */
  virtual ~Runtime() = default;
  /** thread: any. Asks it to finish what is under way, and end. */
  virtual void stop() = 0;
  /** thread: any. Ends it in the middle of whatever JavaScript it runs. */
  virtual void terminate(const std::string& reason) = 0;
};

}  // namespace cloudstore
