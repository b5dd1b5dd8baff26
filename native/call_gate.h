// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace cloudstore {

/** Stands before what our own threads ask of Orthanc. Orthanc takes itself apart piece by piece, so
 * each kind of call has a gate, and a last moment, of its own (docs/decisions.md, "The end of
 * life"): from then on none begins, and those under way are waited for. Calls that Orthanc's
 * threads make inside a callback need no gate: Orthanc waits for its threads. thread: any. */
class CallGate {
 public:
  /** One call, from before it begins until after it has ended. thread: the one that calls; visits
   * of one thread end in the reverse of their order. */
  class Visit {
   public:
    explicit Visit(CallGate& gate);
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    /** False: the gate is closed, and the call must not be made. */
    [[nodiscard]] bool admitted() const { return admitted_; }

   private:
    friend class CallGate;
    CallGate& gate_;
    const Visit* const outer_;  // that the same thread is inside of
    bool admitted_ = false;
  };

  CallGate() = default;
  CallGate(const CallGate&) = delete;
  CallGate& operator=(const CallGate&) = delete;

  /** For good. */
  void close();
  [[nodiscard]] bool isOpen() const;
  /** Waits for the calls that are under way, except for those that the calling thread is inside of.
   * Close it first, lest new ones begin. */
  void awaitQuiet() const;
  /** @returns false if some are still under way after `limit` */
  [[nodiscard]] bool awaitQuiet(std::chrono::milliseconds limit) const;

 private:
  [[nodiscard]] bool isQuietLocked() const;

  static thread_local const Visit* innermost;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  // guarded by mutex_
  bool open_ = true;
  size_t underWay_ = 0;
};

}  // namespace cloudstore
