// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <orthanc/OrthancCPlugin.h>

#include <string>
#include <type_traits>

#include "call_gate.h"
#include "request.h"

namespace cloudstore {

/** Runs a call into Orthanc. Orthanc turns its own exceptions into error codes, but lets those of
 * boost through, such as that of a mutex which is gone; on a thread of ours they would end the
 * process.
 *  @returns the code that the call returns, if any; InternalError where it threw */
template <typename Call>
OrthancPluginErrorCode guardOrthanc(const Call& call) noexcept {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Call>>) {
      call();
      return OrthancPluginErrorCode_Success;
    } else {
      return call();
    }
  } catch (...) {
    return OrthancPluginErrorCode_InternalError;
  }
}

/** Orthanc, as one Initialize handed it over. All its memory is allocated and freed here. thread:
 * any. What is asked of it goes through the gate, and what is known from the start is kept, so that
 * threads which had to be left behind touch nothing that is gone. */
class OrthancContext {
 public:
  /** thread: Initialize's. */
  explicit OrthancContext(OrthancPluginContext* context);

  /** Before its REST API, jobs, metrics and names of threads: until OrthancStopped. */
  [[nodiscard]] CallGate& callGate() const { return callGate_; }
  /** Before its log: until Finalize returns. */
  [[nodiscard]] CallGate& logGate() const { return logGate_; }

  /** For callbacks, on Orthanc's own threads, and for those inside of a visit. */
  [[nodiscard]] OrthancPluginContext* raw() const { return context_; }
  [[nodiscard]] const std::string& orthancVersion() const { return version_; }

  /** @param source what Orthanc shows in the place of the source file, before the message */
  void log(OrthancPluginLogLevel level, const std::string& message,
           const char* source = "shim") const;
  /** Names the calling thread in Orthanc's log; not once Orthanc is stopping. @param name at most
   * 15 characters, a limit of Linux */
  void nameThread(const char* name) const;

  /** The whole configuration of Orthanc as JSON, as it was at Initialize. @throws
   * std::runtime_error */
  [[nodiscard]] const std::string& configuration() const;

  /** Asks Orthanc's REST API, plugins included. It may come back into this plugin, so never on the
   * loop's thread.
   *  @returns status 500 with Orthanc's error code as its body where Orthanc gives no status;
   * kNotCalled once Orthanc is stopping */
  [[nodiscard]] Answer get(const std::string& path) const;

  /** Frees what Orthanc has allocated, also after Finalize: the function belongs to the program. */
  void free(void* block) const { free_(block); }

 private:
  OrthancPluginContext* const context_;
  const OrthancPluginFree free_;
  const std::string version_;
  const std::string configuration_;  // empty: Orthanc does not give it
  mutable CallGate callGate_;
  mutable CallGate logGate_;
};

}  // namespace cloudstore
