// SPDX-License-Identifier: GPL-3.0-or-later
#include "orthanc_context.h"

#include <limits>
#include <memory>
#include <stdexcept>

#include "version.h"

namespace cloudstore {
namespace {

OrthancPluginHttpMethod methodOf(const std::string& name) {
  for (const auto method : {OrthancPluginHttpMethod_Get, OrthancPluginHttpMethod_Post,
                            OrthancPluginHttpMethod_Put, OrthancPluginHttpMethod_Delete}) {
    if (name == nameOf(method)) {
      return method;
    }
  }
  throw std::invalid_argument("no such method of Orthanc's REST API: " + name);
}

std::string readConfiguration(OrthancPluginContext* context) {
  const auto free = [context](char* text) { OrthancPluginFreeString(context, text); };
  const std::unique_ptr<char, decltype(free)> text(OrthancPluginGetConfiguration(context), free);
  return text == nullptr ? "" : text.get();
}

}  // namespace

const char* nameOf(OrthancPluginHttpMethod method) {
  switch (method) {
    case OrthancPluginHttpMethod_Get:
      return "GET";
    case OrthancPluginHttpMethod_Post:
      return "POST";
    case OrthancPluginHttpMethod_Put:
      return "PUT";
    case OrthancPluginHttpMethod_Delete:
      return "DELETE";
    default:
      return "";
  }
}

OrthancContext::OrthancContext(OrthancPluginContext* context)
    : context_(context),
      free_(context->Free),
      version_(context->orthancVersion),
      configuration_(readConfiguration(context)) {}

void OrthancContext::log(OrthancPluginLogLevel level, const std::string& message,
                         const char* source) const {
  const CallGate::Visit visit(gate_, CallGate::Kind::kLog);
  if (visit.admitted()) {
    guardOrthanc([&] {
      OrthancPluginLogMessage(context_, message.c_str(), kPluginName, source, 0,
                              OrthancPluginLogCategory_Generic, level);
    });
  }
}

void OrthancContext::nameThread(const char* name) const {
  const CallGate::Visit visit(gate_, CallGate::Kind::kService);
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

Answer OrthancContext::callRest(const std::string& method, const std::string& path,
                                const std::string& body) const {
  if (body.size() > std::numeric_limits<uint32_t>::max()) {
    throw std::length_error("the body of a call to Orthanc's REST API is limited to 4 GiB");
  }
  const OrthancPluginHttpMethod verb = methodOf(method);
  OrthancPluginMemoryBuffer raw{nullptr, 0};
  const auto freeBody = [this](OrthancPluginMemoryBuffer* buffer) { free(buffer->data); };
  const std::unique_ptr<OrthancPluginMemoryBuffer, decltype(freeBody)> guard(&raw, freeBody);

  Answer answer;
  uint16_t status = 0;
  OrthancPluginErrorCode code = OrthancPluginErrorCode_Success;
  {
    const CallGate::Visit visit(gate_, CallGate::Kind::kService);
    if (!visit.admitted()) {
      return notCalled();
    }
    code = guardOrthanc([&] {
      return OrthancPluginCallRestApi(context_, &raw, nullptr, &status, verb, path.c_str(), 0,
                                      nullptr, nullptr, body.data(),
                                      static_cast<uint32_t>(body.size()), 1);
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
