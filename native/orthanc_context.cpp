// SPDX-License-Identifier: GPL-3.0-or-later
#include "orthanc_context.h"

#include <memory>
#include <stdexcept>

#include "version.h"

namespace cloudstore {
namespace {

std::string readConfiguration(OrthancPluginContext* context) {
  const auto free = [context](char* text) { OrthancPluginFreeString(context, text); };
  const std::unique_ptr<char, decltype(free)> text(OrthancPluginGetConfiguration(context), free);
  return text == nullptr ? "" : text.get();
}

}  // namespace

OrthancContext::OrthancContext(OrthancPluginContext* context)
    : context_(context),
      free_(context->Free),
      version_(context->orthancVersion),
      configuration_(readConfiguration(context)) {}

void OrthancContext::log(OrthancPluginLogLevel level, const std::string& message,
                         const char* source) const {
  const CallGate::Visit visit(logGate_);
  if (visit.admitted()) {
    guardOrthanc([&] {
      OrthancPluginLogMessage(context_, message.c_str(), kPluginName, source, 0,
                              OrthancPluginLogCategory_Generic, level);
    });
  }
}

void OrthancContext::nameThread(const char* name) const {
  const CallGate::Visit visit(callGate_);
  if (visit.admitted()) {
    guardOrthanc([&] { return OrthancPluginSetCurrentThreadName(context_, name); });
  }
}

const std::string& OrthancContext::configuration() const {
  if (configuration_.empty()) {
    throw std::runtime_error("Orthanc does not give its configuration");
  }
  return configuration_;
}

Answer OrthancContext::get(const std::string& path) const {
  OrthancPluginMemoryBuffer raw{nullptr, 0};
  const auto freeBody = [this](OrthancPluginMemoryBuffer* buffer) { free(buffer->data); };
  const std::unique_ptr<OrthancPluginMemoryBuffer, decltype(freeBody)> guard(&raw, freeBody);

  Answer answer;
  uint16_t status = 0;
  OrthancPluginErrorCode code = OrthancPluginErrorCode_Success;
  {
    const CallGate::Visit visit(callGate_);
    if (!visit.admitted()) {
      return notCalled();
    }
    code = guardOrthanc([&] {
      return OrthancPluginCallRestApi(context_, &raw, nullptr, &status, OrthancPluginHttpMethod_Get,
                                      path.c_str(), 0, nullptr, nullptr, nullptr, 0, 1);
    });
  }
  if (raw.data != nullptr) {
    answer.body.assign(static_cast<const char*>(raw.data), raw.size);
  }
  if (status != 0) {
    answer.status = status;
  } else if (code == OrthancPluginErrorCode_Success) {
    answer.status = 200;
  } else {
    answer.body = "Orthanc error " + std::to_string(static_cast<int>(code));
  }
  return answer;
}

}  // namespace cloudstore
