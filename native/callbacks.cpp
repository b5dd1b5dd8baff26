// SPDX-License-Identifier: GPL-3.0-or-later
// thread: each callback runs on whatever thread Orthanc calls it from, many at a time, and blocks
// it until the request has ended.
#include "callbacks.h"

#include <array>
#include <limits>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "plugin_state.h"
#include "request.h"

namespace cloudstore {
namespace {

// --- storage

using Operation = StorageRequest::Operation;

/** Memory for an answer of unknown size, from Orthanc's allocator; freed unless it was handed over.
 */
class OwnedMemory {
 public:
  explicit OwnedMemory(const OrthancContext& orthanc) : orthanc_(orthanc) {}
  ~OwnedMemory() { free(); }
  OwnedMemory(const OwnedMemory&) = delete;
  OwnedMemory& operator=(const OwnedMemory&) = delete;

  uint8_t* allocate(uint64_t size) {
    if (buffer_.size != size) {
      free();
      // Without a visit: the request lives, so that a thread of Orthanc's waits in its callback.
      if (guardOrthanc([&] {
            return OrthancPluginCreateMemoryBuffer64(orthanc_.raw(), &buffer_, size);
          }) != OrthancPluginErrorCode_Success) {
        buffer_ = {nullptr, 0};
      }
    }
    return static_cast<uint8_t*>(buffer_.data);
  }

  /** Gives the memory to Orthanc, which frees it. */
  OrthancPluginMemoryBuffer64 release() { return std::exchange(buffer_, {nullptr, 0}); }

 private:
  void free() {
    if (buffer_.data != nullptr) {
      orthanc_.free(release().data);
    }
  }

  const OrthancContext& orthanc_;
  OrthancPluginMemoryBuffer64 buffer_{nullptr, 0};
};

/** An end that TypeScript does not know of: it is logged and counted here. */
OrthancPluginErrorCode endUnanswered(PluginState& state, const StorageRequest::Subject& subject,
                                     const Result& result) {
  constexpr std::array<const char*, 4> kNames{"create", "read", "read-range", "remove"};
  const char* name = "RUNTIME_LOST";
  auto code = OrthancPluginErrorCode_StorageAreaPlugin;
  if (result.verdict == Result::Verdict::kTimeout) {
    name = "TIMEOUT";
    code = OrthancPluginErrorCode_Timeout;
  } else if (result.verdict == Result::Verdict::kClosed) {
    name = "CLOSED";
    code = OrthancPluginErrorCode_Plugin;
  }
  ++state.unanswered;
  state.orthanc.log(OrthancPluginLogLevel_Error,
                    std::string("op=") + kNames.at(static_cast<size_t>(subject.operation)) +
                        " uuid=" + subject.uuid + " code=" + name + " failed: " + result.message);
  return code;
}

/** @param rest what StorageRequest takes beside the subject */
template <typename... Rest>
OrthancPluginErrorCode call(PluginState& state, StorageRequest::Subject subject, Rest&&... rest) {
  const auto request =
      std::make_shared<StorageRequest>(std::move(subject), std::forward<Rest>(rest)...);
  const Result result = state.lanes.leastBusy().call(request);
  switch (result.verdict) {
    case Result::Verdict::kSuccess:
      return OrthancPluginErrorCode_Success;
    case Result::Verdict::kFailed:
      return static_cast<OrthancPluginErrorCode>(result.code);
    default:
      return endUnanswered(state, request->subject(), result);
  }
}

template <typename Body>
OrthancPluginErrorCode guardedStorage(const char* uuid, Body body) noexcept {
  return guarded(uuid, OrthancPluginErrorCode_Plugin, body);
}

OrthancPluginErrorCode create(const char* uuid, const void* content, int64_t size,
                              OrthancPluginContentType type) {
  return guardedStorage(uuid, [&](PluginState& state) {
    return size < 0 ? OrthancPluginErrorCode_ParameterOutOfRange
                    : call(state, {Operation::kCreate, uuid, type}, content,
                           static_cast<uint64_t>(size));
  });
}

OrthancPluginErrorCode readWhole(OrthancPluginMemoryBuffer64* target, const char* uuid,
                                 OrthancPluginContentType type) {
  return guardedStorage(uuid, [&](PluginState& state) {
    const auto memory = std::make_shared<OwnedMemory>(state.orthanc);
    const OrthancPluginErrorCode code =
        call(state, {Operation::kReadWhole, uuid, type},
             [memory](uint64_t size) { return memory->allocate(size); });
    if (code == OrthancPluginErrorCode_Success) {
      *target = memory->release();
    }
    return code;
  });
}

OrthancPluginErrorCode readRange(OrthancPluginMemoryBuffer64* target, const char* uuid,
                                 OrthancPluginContentType type, uint64_t rangeStart) {
  return guardedStorage(uuid, [&](PluginState& state) {
    const auto given = [memory = *target](uint64_t size) {
      return size == memory.size ? static_cast<uint8_t*>(memory.data) : nullptr;
    };
    return call(state, {Operation::kReadRange, uuid, type}, given,
                StorageRequest::Range{rangeStart, rangeStart + target->size});
  });
}

OrthancPluginErrorCode remove(const char* uuid, OrthancPluginContentType type) {
  return guardedStorage(
      uuid, [&](PluginState& state) { return call(state, {Operation::kRemove, uuid, type}); });
}

// --- REST

constexpr uint16_t kOk = 200;
constexpr uint16_t kMethodNotAllowed = 405;
constexpr uint16_t kServiceUnavailable = 503;

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

/** @returns a line "name: value" for each */
std::string headersOf(const OrthancPluginHttpRequest& http) {
  std::string lines;
  for (uint32_t i = 0; i < http.headersCount; ++i) {
    lines += std::string(http.headersKeys[i]) + ": " + http.headersValues[i] + "\n";
  }
  return lines;
}

void setHeaders(OrthancPluginContext* context, OrthancPluginRestOutput* output,
                const std::string& lines) {
  std::istringstream stream(lines);
  std::string line;
  while (std::getline(stream, line)) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) {
      OrthancPluginSetHttpHeader(context, output, line.substr(0, colon).c_str(),
                                 line.substr(colon + 2).c_str());
    }
  }
}

void send(OrthancPluginContext* context, OrthancPluginRestOutput* output, const Answer& answer) {
  setHeaders(context, output, answer.headers);
  if (answer.body.size() > std::numeric_limits<uint32_t>::max()) {
    OrthancPluginSendHttpStatusCode(context, output, kServiceUnavailable);
  } else if (answer.status == kOk) {
    OrthancPluginAnswerBuffer(context, output, answer.body.data(),
                              static_cast<uint32_t>(answer.body.size()),
                              answer.contentType.c_str());
  } else if (answer.status == kMethodNotAllowed) {
    // OrthancPluginSendHttpStatus refuses this status and breaks the connection: it needs the
    // header Allow, which such an answer has as its body.
    OrthancPluginSendMethodNotAllowed(context, output, answer.body.c_str());
  } else {
    // As text/plain, whatever the body is: Orthanc says so itself, and would send a type of ours
    // beside its own. Its own errors are JSON under that name, too.
    OrthancPluginSendHttpStatus(context, output, answer.status, answer.body.data(),
                                static_cast<uint32_t>(answer.body.size()));
  }
}

OrthancPluginErrorCode onRest(OrthancPluginRestOutput* output, const char* path,
                              const OrthancPluginHttpRequest* http) noexcept {
  return guarded(path, OrthancPluginErrorCode_Plugin, [&](PluginState& state) {
    const auto request = std::make_shared<Call>(&Timeouts::call, nameOf(http->method), path,
                                                http->body, http->bodySize, headersOf(*http));
    const Result result = state.lanes.first().call(request);
    send(state.orthanc.raw(), output,
         result.verdict == Result::Verdict::kSuccess
             ? request->answer()
             : Answer{kServiceUnavailable, "text/plain", result.message + "\n"});
    if (!state.orthanc.callGate().isOpen()) {
      // The answer may have been given up while a call for it goes on in Orthanc, which waits for
      // this thread before it takes away what that call needs.
      state.orthanc.callGate().awaitQuiet();
    }
    return OrthancPluginErrorCode_Success;
  });
}

// --- metrics. They are set from here, so that the loop takes none of Orthanc's locks.

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

void onMetrics() noexcept {
  guarded("metrics", false, [](PluginState& state) {
    const auto request = std::make_shared<Call>(&Timeouts::metrics, "metrics", "", nullptr, 0);
    const bool up = state.lanes.first().call(request).verdict == Result::Verdict::kSuccess;
    // Here another plugin's call may have led, on a thread that Orthanc does not wait for.
    const CallGate::Visit visit(state.orthanc.callGate());
    if (visit.admitted()) {
      // What must be known when TypeScript tells nothing: its own figures then stay as they were.
      setAll(state.orthanc.raw(), request->answer().body + "\northanc_object_storage_up " +
                                      std::to_string(static_cast<int>(up)) +
                                      "\northanc_object_storage_unanswered_count " +
                                      std::to_string(state.unanswered));
    }
    return true;
  });
}

}  // namespace

OrthancPluginErrorCode registerStorageArea(OrthancPluginContext* context, bool rangeReads) {
  // OrthancPluginRegisterStorageArea2 swallows the answer of this very call.
  const _OrthancPluginRegisterStorageArea2 params{create, readWhole,
                                                  rangeReads ? readRange : nullptr, remove};
  return context->InvokeService(context, _OrthancPluginService_RegisterStorageArea2, &params);
}

void registerRestAndMetrics(OrthancPluginContext* context) {
  // The variant without a lock: the other one runs all of a plugin's calls one after another.
  OrthancPluginRegisterRestCallbackNoLock(context, "/object-storage/.*", onRest);
  OrthancPluginRegisterRestCallbackNoLock(context, "/move-storage", onRest);
  OrthancPluginRegisterRefreshMetricsCallback(context, onMetrics);
}

}  // namespace cloudstore
