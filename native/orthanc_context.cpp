// SPDX-License-Identifier: GPL-3.0-or-later
#include "orthanc_context.h"

#include <limits>
#include <stdexcept>

#include "version.h"

namespace cloudstore {
namespace {

OrthancPluginLogLevel toOrthanc(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return OrthancPluginLogLevel_Error;
    case LogLevel::kWarning:
      return OrthancPluginLogLevel_Warning;
    case LogLevel::kInfo:
      return OrthancPluginLogLevel_Info;
    case LogLevel::kTrace:
      break;
  }
  return OrthancPluginLogLevel_Trace;
}

OrthancPluginHttpMethod methodOf(const std::string& method) {
  if (method == "GET") {
    return OrthancPluginHttpMethod_Get;
  }
  if (method == "POST") {
    return OrthancPluginHttpMethod_Post;
  }
  if (method == "PUT") {
    return OrthancPluginHttpMethod_Put;
  }
  if (method == "DELETE") {
    return OrthancPluginHttpMethod_Delete;
  }
  throw std::invalid_argument("no such method of Orthanc's REST API: " + method);
}

}  // namespace

void OrthancContext::log(LogLevel level, const std::string& message, const char* source) const {
  if (gone_) {
    return;
  }
  OrthancPluginLogMessage(context_, message.c_str(), kPluginName, source, 0,
                          OrthancPluginLogCategory_Generic, toOrthanc(level));
}

void OrthancContext::nameThread(const char* name) const {
  if (!gone_) {
    OrthancPluginSetCurrentThreadName(context_, name);
  }
}

std::string OrthancContext::configuration() const {
  const auto free = [this](char* text) { OrthancPluginFreeString(context_, text); };
  const std::unique_ptr<char, decltype(free)> text(OrthancPluginGetConfiguration(context_), free);
  if (text == nullptr) {
    throw std::runtime_error("Orthanc does not give its configuration");
  }
  return text.get();
}

RestAnswer OrthancContext::callRest(const std::string& method, const std::string& path,
                                    const std::string& body) const {
  if (body.size() > std::numeric_limits<uint32_t>::max()) {
    throw std::length_error("the body of a call to Orthanc's REST API is limited to 4 GiB");
  }
  OrthancPluginMemoryBuffer raw{nullptr, 0};
  const auto free = [this](OrthancPluginMemoryBuffer* buffer) {
    if (!gone_) {
      OrthancPluginFreeMemoryBuffer(context_, buffer);
    }
  };
  const std::unique_ptr<OrthancPluginMemoryBuffer, decltype(free)> guard(&raw, free);

  RestAnswer answer;
  uint16_t status = 0;
  const OrthancPluginErrorCode code = OrthancPluginCallRestApi(
      context_, &raw, nullptr, &status, methodOf(method), path.c_str(), 0, nullptr, nullptr,
      body.data(), static_cast<uint32_t>(body.size()), 1);
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

OwnedDestination::~OwnedDestination() { free(); }

uint8_t* OwnedDestination::allocate(uint64_t size) {
  if (buffer_.size != size) {
    free();
    if (OrthancPluginCreateMemoryBuffer64(orthanc_.raw(), &buffer_, size) !=
        OrthancPluginErrorCode_Success) {
      buffer_ = {nullptr, 0};
    }
  }
  return static_cast<uint8_t*>(buffer_.data);
}

void OwnedDestination::release(OrthancPluginMemoryBuffer64* target) {
  *target = buffer_;
  buffer_ = {nullptr, 0};
}

void OwnedDestination::free() {
  if (buffer_.data != nullptr && !orthanc_.gone()) {
    OrthancPluginFreeMemoryBuffer64(orthanc_.raw(), &buffer_);
  }
  buffer_ = {nullptr, 0};
}

}  // namespace cloudstore
