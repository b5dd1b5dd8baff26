// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "request.h"

namespace cloudstore {

/** What Orthanc may ask of a job at any time, under locks of its own: it is answered from here.
 * TypeScript, which does the work, brings it up to date. thread: any. */
class JobState {
 public:
  struct Snapshot {
    float progress = 0;
    std::string content = "{}";
    std::string serialized;
  };

  explicit JobState(Snapshot snapshot);

  /** Names the job towards TypeScript; never used twice in one process. */
  [[nodiscard]] const std::string& handle() const { return handle_; }
  [[nodiscard]] Snapshot snapshot() const;
  void update(Snapshot snapshot);
  /** thread: Orthanc's, one at a time. Valid until the next call. */
  const char* shownContent();
  const char* shownSerialized();
  /** thread: Orthanc's, one at a time. Steps in a row that found no runtime. */
  int& lostSteps() { return lostSteps_; }
  /** thread: Orthanc's, one at a time. Orthanc has reset the job when there was no runtime: that is
   * to be told before the next step. */
  bool& resetDue() { return resetDue_; }

 private:
  const std::string handle_;
  int lostSteps_ = 0;
  bool resetDue_ = false;
  std::string shownContent_;
  std::string shownSerialized_;
  mutable std::mutex mutex_;
  Snapshot snapshot_;  // guarded by mutex_
};

/** The jobs of this Initialize, so that TypeScript can reach them by their handle. thread: any. */
class JobTable {
 public:
  void add(const std::shared_ptr<JobState>& job);
  /** Does nothing where Orthanc has let go of the job. */
  void update(const std::string& handle, JobState::Snapshot snapshot);
  void remove(const std::string& handle);

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::weak_ptr<JobState>> jobs_;  // guarded by mutex_
};

/** Makes a job of Orthanc's and queues it. thread: any but the loop's, since Orthanc takes locks.
 *  @returns status 200 with the id that Orthanc gave it, or 500; kNotCalled once Orthanc is
 * stopping
 */
RestAnswer submitJob(const std::string& type, JobState::Snapshot snapshot, int priority);

/** Lets Orthanc bring back the jobs of a type that it has kept in its database. */
void registerJobs(OrthancPluginContext* context);

}  // namespace cloudstore
