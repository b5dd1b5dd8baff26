// SPDX-License-Identifier: GPL-3.0-or-later
// thread: one of Orthanc's that answers /tools/metrics-prometheus. The figures are set from there,
// so that the loop takes none of Orthanc's locks.
#include "metrics.h"

#include <memory>
#include <sstream>
#include <string>

#include "plugin_state.h"
#include "request.h"

namespace cloudstore {
namespace {

/** @param lines such as "orthanc_object_storage_in_flight 3"; a point makes a number a float, which
 * is too small for bytes */
void setAll(OrthancPluginContext* context, const std::string& lines) {
  std::istringstream stream(lines);
  std::string name;
  std::string value;
  while (stream >> name >> value) {
    if (value.find('.') == std::string::npos) {
      OrthancPluginSetMetricsIntegerValue(context, name.c_str(), std::stoll(value),
                                          OrthancPluginMetricsType_Default);
    } else {
      OrthancPluginSetMetricsValue(context, name.c_str(), std::stof(value),
                                   OrthancPluginMetricsType_Default);
    }
  }
}

void refresh() noexcept {
  try {
    const std::shared_ptr<PluginState> state = currentState();
    if (state == nullptr) {
      return;
    }
    const auto request = std::make_shared<Request>(
        Request::Subject{Operation::kMetrics, {}, 0, 0, {}}, nullptr, 0, nullptr);
    const bool up = state->lanes.first().call(request).verdict == Result::Verdict::kSuccess;
    // Here another plugin's call may have led, on a thread that Orthanc does not wait for.
    const CallGate::Visit visit(state->orthanc.gate(), CallGate::Kind::kService);
    if (!visit.admitted()) {
      return;
    }
    OrthancPluginContext* context = state->orthanc.raw();
    if (up) {
      setAll(context, request->restAnswer().body);
    }
    // What must be known when TypeScript tells nothing: its own figures then stay as they were.
    setAll(context, "orthanc_object_storage_up " + std::to_string(static_cast<int>(up)) +
                        "\northanc_object_storage_unanswered_count " +
                        std::to_string(state->unanswered) + "\n");
  } catch (...) {  // NOLINT(bugprone-empty-catch): nothing may cross the C ABI
  }
}

}  // namespace

void registerMetrics(OrthancPluginContext* context) {
  OrthancPluginRegisterRefreshMetricsCallback(context, refresh);
}

}  // namespace cloudstore
