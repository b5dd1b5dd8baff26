// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

namespace cloudstore {

/** Stands before all that our own threads ask of Orthanc. Orthanc takes itself apart piece by
 * piece, so each kind of call has a last moment of its own (docs/decisions.md, "The end of life"):
 * from then on none begins, and those under way are waited for. Calls that Orthanc's threads make
 * inside a callback need no gate: Orthanc waits for its threads. thread: any. */
class CallGate {
 public:
  enum class Kind : uint8_t {
    kService,  // REST API, jobs, metrics, names of threads: until OrthancStopped
    kLog,      // until Finalize returns
  };

  /** One call, from before it begins until after it has ended. thread: the one that calls. */
  class Visit {
   public:
    Visit(CallGate& gate, Kind kind);
    ~Visit();
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    /** False: the gate is closed, and the call must not be made. */
    [[nodiscard]] bool admitted() const { return admitted_; }

   private:
    CallGate& gate_;
    const Kind kind_;
    const bool admitted_;
  };

  CallGate() = default;
  CallGate(const CallGate&) = delete;
  CallGate& operator=(const CallGate&) = delete;

  /** For good. */
  void close(Kind kind);
  [[nodiscard]] bool isOpen(Kind kind) const;
  /** Waits for the calls that are under way, except for those that the calling thread is inside of.
   * Close it first, lest new ones begin. */
  void awaitQuiet(Kind kind) const;
  /** @returns false if some are still under way after `limit` */
  [[nodiscard]] bool awaitQuiet(Kind kind, std::chrono::milliseconds limit) const;

 private:
  static constexpr size_t kKinds = 2;
  struct Passage {
    bool open = true;
    size_t underWay = 0;
  };

  bool enter(Kind kind);
  void leave(Kind kind);
  [[nodiscard]] bool isQuietLocked(Kind kind) const;

  /** Of the calling thread, in all gates: it is never inside of two. */
  static thread_local std::array<size_t, kKinds> ownVisits;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::array<Passage, kKinds> passages_;  // guarded by mutex_
};

}  // namespace cloudstore
