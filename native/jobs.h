// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

#include <mutex>
#include <string>
#include <unordered_map>

#include "request.h"

namespace cloudstore {

/** What Orthanc may ask of a job at any time, under locks of its own: it is answered from what
 * TypeScript, which does the work, has told last. */
struct JobState {
  float progress = 0;
  std::string content = "{}";
  std::string serialized;
  /** Of the last step. */
  OrthancPluginJobStepStatus status = OrthancPluginJobStepStatus_Continue;
};

/** The jobs of this Initialize, by the handles that TypeScript knows them by. thread: any. */
class JobTable {
 public:
  /** @returns the handle, which is never used twice in one process */
  std::string add(JobState state);
  [[nodiscard]] JobState get(const std::string& handle) const;
  /** Does nothing where Orthanc has let go of the job. */
  void update(const std::string& handle, JobState state);
  void remove(const std::string& handle);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, JobState> jobs_;  // guarded by mutex_
};

/** Makes a job of Orthanc's and queues it. thread: any but the loop's, since Orthanc takes locks.
 *  @returns status 200 with the id that Orthanc gave it, or 500; kNotCalled once Orthanc is
 * stopping */
Answer submitJob(const std::string& type, const JobState& job, int priority);

/** Lets Orthanc bring back the jobs of a type that it has kept in its database. */
void registerJobs(OrthancPluginContext* context);

}  // namespace cloudstore
