// SPDX-License-Identifier: GPL-3.0-or-later
// The four functions that Orthanc looks up. thread: Orthanc's main thread calls Initialize and
// Finalize, by turns, any number of times.
#include <orthanc/OrthancCPlugin.h>

#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "callbacks.h"
#include "explorer.h"
#include "jobs.h"
#include "node_process.h"
#include "plugin_state.h"
#include "version.h"

namespace cloudstore {
namespace {

// The first Orthanc with OrthancPluginLogMessage.
constexpr int kMinMajor = 1;
constexpr int kMinMinor = 12;
constexpr int kMinRevision = 4;

// TypeScript itself gives up its start-up check after 10 s.
constexpr std::chrono::seconds kStartTimeout{30};
// For a call of Orthanc's REST API that is under way, and for callbacks on their way out.
constexpr std::chrono::seconds kLeaveGrace{2};
// docker stop kills after 10 s.
constexpr std::chrono::seconds kStopGrace{8};

std::mutex stateMutex;
std::shared_ptr<PluginState> state;  // guarded by stateMutex

void setState(std::shared_ptr<PluginState> next) {
  const std::lock_guard<std::mutex> lock(stateMutex);
  state.swap(next);
}

/** Orthanc is about to take itself apart, first what answers our calls; docs/decisions.md, "The end
 * of life", has the order. Storage goes on until Finalize. */
void onOrthancStopped(PluginState& current) {
  // Orthanc will wait for the requests of its clients, and these may wait for a store that hangs;
  // so may the call that is waited for here.
  current.lanes.failCallsAfter(kStopGrace);
  CallGate& gate = current.orthanc.callGate();
  gate.close();
  current.lanes.closeCalls();
  if (!gate.awaitQuiet(kStopGrace + kLeaveGrace)) {
    current.orthanc.log(
        OrthancPluginLogLevel_Warning,
        "Orthanc still works on a question of this plugin's, and cannot end before it "
        "has answered: its database, or another plugin, may hang");
  }
}

OrthancPluginErrorCode onChange(OrthancPluginChangeType change,
                                OrthancPluginResourceType /*resourceType*/,
                                const char* /*resource*/) noexcept {
  return guarded("change", OrthancPluginErrorCode_Plugin, [change](PluginState& current) {
    if (change == OrthancPluginChangeType_OrthancStopped) {
      onOrthancStopped(current);
    }
    return OrthancPluginErrorCode_Success;
  });
}

void endState() {
  const std::shared_ptr<PluginState> ending = currentState();
  if (ending == nullptr) {
    return;
  }
  ending->orthanc.callGate().close();  // where Orthanc has never run
  const bool ended = ending->lanes.stop(kLeaveGrace);
  setState(nullptr);
  // Callbacks whose request has just failed still say so in Orthanc's log, and the context is gone
  // once Finalize has returned.
  const auto deadline = std::chrono::steady_clock::now() + kLeaveGrace;
  while (ending.use_count() > 1 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ending->orthanc.logGate().close();
  static_cast<void>(ending->orthanc.logGate().awaitQuiet(kLeaveGrace));
  if (!ended) {
    // A thread still uses the state, so that must stay for ever.
    static_cast<void>(
        new std::shared_ptr<PluginState>(ending));  // NOLINT(cppcoreguidelines-owning-memory)
  }
}

int32_t refuse(const OrthancContext& orthanc, const std::string& why) {
  orthanc.log(OrthancPluginLogLevel_Error, why);
  endState();
  return -1;
}

int32_t initialize(OrthancPluginContext* context) {
  if (OrthancPluginCheckVersionAdvanced(context, kMinMajor, kMinMinor, kMinRevision) == 0) {
    const std::string message =
        std::string("The object storage plugin needs Orthanc 1.12.4 or newer, this is ") +
        context->orthancVersion;
    OrthancPluginLogError(context, message.c_str());
    return -1;
  }
  setState(std::make_shared<PluginState>(context));
  const OrthancContext& orthanc = currentState()->orthanc;
  try {
    NodeProcess::instance();  // here, on the thread that all later ones descend from
  } catch (const std::exception& error) {
    return refuse(orthanc, error.what());
  }
  if (isLibraryFileReplaced()) {
    orthanc.log(OrthancPluginLogLevel_Warning,
                std::string("The plugin's file has been replaced since Orthanc was started, but "
                            "version ") +
                    kPluginVersion + " goes on: restart Orthanc to change, a reset is not enough");
  }
  const Supervisor::Started started = currentState()->lanes.start(kStartTimeout);
  if (!started.settings) {
    return refuse(orthanc, started.refusal);
  }
  if (!started.settings->storage) {
    endState();
    return 0;
  }
  const OrthancPluginErrorCode code = registerStorageArea(context, started.settings->rangeReads);
  if (code != OrthancPluginErrorCode_Success) {
    return refuse(orthanc, "Orthanc refuses this plugin as its storage area (error " +
                               std::to_string(code) +
                               "): another plugin has registered one before. Keep one of the two: "
                               "look at \"Plugins\", and at \"EnableStorage\" in the sections of "
                               "database plugins. In Orthanc's Docker image, set "
                               "AWS_S3_STORAGE_PLUGIN_ENABLED, AZURE_BLOB_STORAGE_PLUGIN_ENABLED "
                               "and GOOGLE_CLOUD_STORAGE_PLUGIN_ENABLED to \"false\"");
  }
  registerRestAndMetrics(context);
  registerJobs(context);
  OrthancPluginRegisterOnChangeCallback(context, onChange);
  OrthancPluginSetDescription2(
      context, kPluginName,
      "Stores attachments in AWS S3, Azure Blob Storage or Google Cloud Storage");
  addToOrthancExplorer(context);
  return 0;
}

}  // namespace

std::shared_ptr<PluginState> currentState() {
  const std::lock_guard<std::mutex> lock(stateMutex);
  return state;
}

}  // namespace cloudstore

extern "C" {

ORTHANC_PLUGINS_API void OrthancPluginFinalize();

ORTHANC_PLUGINS_API int32_t OrthancPluginInitialize(OrthancPluginContext* context) {
  try {
    return cloudstore::initialize(context);
  } catch (const std::exception& error) {
    OrthancPluginLogError(context, error.what());
  } catch (...) {
    OrthancPluginLogError(context,
                          "The object storage plugin does not start, for a reason unknown");
  }
  OrthancPluginFinalize();
  return -1;
}

ORTHANC_PLUGINS_API void OrthancPluginFinalize() {
  try {
    cloudstore::endState();
  } catch (...) {  // NOLINT(bugprone-empty-catch): nothing may cross the C ABI
  }
}

ORTHANC_PLUGINS_API const char* OrthancPluginGetName() { return cloudstore::kPluginName; }

ORTHANC_PLUGINS_API const char* OrthancPluginGetVersion() { return cloudstore::kPluginVersion; }

}  // extern "C"
