// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <uv.h>

#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "bridge.h"
#include "jobs.h"
#include "orthanc_caller.h"
#include "orthanc_context.h"
#include "runtime.h"

namespace node {
class CommonEnvironmentSetup;
class Environment;
}  // namespace node

namespace cloudstore {

class Binding;
class Lanes;
class NodeProcess;

/** One Node environment with its isolate, on a thread of its own. The thread starts with the
 * constructor and ends when the loop has nothing left to do, when JavaScript exits, or when it is
 * terminated; the last thing it does is to say so. */
class NodeInstance final : public Runtime {
 public:
  /** What an environment serves and uses; all of it outlives the instance. */
  struct Surroundings {
    NodeProcess& process;
    const OrthancContext& orthanc;
    Bridge& bridge;
    OrthancCaller& caller;
    JobTable& jobs;
    Lanes& lanes;
    size_t lane;  // which of them this one is
    RuntimeEvents& events;
    bool restarted;  // in the place of one that ended by itself
  };

  explicit NodeInstance(const Surroundings& surroundings);
  ~NodeInstance() override;
  NodeInstance(const NodeInstance&) = delete;
  NodeInstance& operator=(const NodeInstance&) = delete;

  void stop() override;
  void terminate(const std::string& reason) override;

  // For the binding. thread: js-loop only.
  [[nodiscard]] const Surroundings& surroundings() const { return surroundings_; }
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

  void run();
  void live(node::CommonEnvironmentSetup& setup);
  std::string endReason();
  static size_t onNearHeapLimit(void* instance, size_t limit, size_t initialLimit);

  const Surroundings surroundings_;
  std::string bundlePath_;

  // js-loop only
  uv_async_t async_{};
  Binding* binding_ = nullptr;
  int heapReserves_ = 0;

  std::shared_ptr<LoopWakeup> wakeup_;

  std::mutex mutex_;
  // guarded by mutex_
  node::Environment* environment_ = nullptr;
  std::string endReason_;
  bool stopRequested_ = false;
  bool terminated_ = false;

  std::thread thread_;
};

}  // namespace cloudstore
