// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <uv.h>

#include <memory>
#include <mutex>
#include <string>

#include "supervisor.h"

namespace node {
class CommonEnvironmentSetup;
class Environment;
}  // namespace node

namespace cloudstore {

class Binding;
class Lanes;
struct Lane;

/** One Node environment with its isolate. It ends when the loop has nothing left to do, when
 * JavaScript exits, or when it is terminated. */
class NodeInstance final : public Runtime {
 public:
  /** @param lane what it serves. That and the others outlive it
   *  @param restarted in the place of one that ended by itself */
  NodeInstance(Lanes& lanes, Lane& lane, bool restarted);
  ~NodeInstance() override;
  NodeInstance(const NodeInstance&) = delete;
  NodeInstance& operator=(const NodeInstance&) = delete;

  std::string run() override;
  void stop() override;
  void terminate(const std::string& reason) override;

  // For the binding. thread: js-loop only.
  [[nodiscard]] Lanes& lanes() const { return lanes_; }
  [[nodiscard]] Lane& lane() const { return lane_; }
  [[nodiscard]] bool restarted() const { return restarted_; }
  /** The bundle's path, for stack traces and for its own `require`. */
  [[nodiscard]] const std::string& bundlePath() const { return bundlePath_; }
  /** From now on a request to stop reaches the binding. */
  void bind(Binding* binding);
  /** From now on the loop also wakes the binding when something has arrived. */
  void serve();
  /** Nothing will be served any more: the loop may end once its own work is done. */
  void release();
  /** Why the loop is about to end, for the log and those who wait. The first reason counts. */
  void setEndReason(const std::string& reason);

  /** The instance whose loop runs on this thread. @returns nullptr on other threads */
  static NodeInstance* current();

 private:
  class LoopWakeup;

  void live(node::CommonEnvironmentSetup& setup);
  void deliver();
  std::string endReason();
  static size_t onNearHeapLimit(void* instance, size_t limit, size_t initialLimit);

  Lanes& lanes_;
  Lane& lane_;
  const bool restarted_;
  const std::string bundleOverride_;  // empty: the embedded bundle runs
  const std::string bundlePath_;

  // js-loop only
  uv_async_t async_{};
  Binding* binding_ = nullptr;
  int heapReserves_ = 0;

  const std::shared_ptr<LoopWakeup> wakeup_;

  std::mutex mutex_;
  // guarded by mutex_
  node::Environment* environment_ = nullptr;
  std::string endReason_;
  bool stopRequested_ = false;
  bool terminated_ = false;
};

}  // namespace cloudstore
