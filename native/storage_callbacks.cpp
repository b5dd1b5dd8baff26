// SPDX-License-Identifier: GPL-3.0-or-later
// thread: each callback runs on whatever thread Orthanc calls it from, many at a time, and blocks
// it until the request has ended.
#include "storage_callbacks.h"

#include <exception>
#include <memory>
#include <string>
#include <utility>

#include "plugin_state.h"
#include "request.h"

namespace cloudstore {
namespace {

const char* nameOf(Operation operation) {
  switch (operation) {
    case Operation::kCreate:
      return "create";
    case Operation::kReadWhole:
      return "read";
    case Operation::kReadRange:
      return "read-range";
    default:
      return "remove";
  }
}

/** An end that TypeScript does not know of: it is logged and counted here. */
OrthancPluginErrorCode finishUnanswered(PluginState& state, const Request::Subject& subject,
                                        const std::string& message, const char* name,
                                        OrthancPluginErrorCode code) {
  ++state.unanswered;
  state.orthanc.log(LogLevel::kError, std::string("op=") + nameOf(subject.operation) + " uuid=" +
                                          subject.uuid + " code=" + name + " failed: " + message);
  return code;
}

/** The one way out. */
OrthancPluginErrorCode finish(PluginState& state, const Request& request, const Result& result) {
  using Verdict = Result::Verdict;
  const auto unanswered = [&](const char* name, OrthancPluginErrorCode code) {
    return finishUnanswered(state, request.subject(), result.message, name, code);
  };
  switch (result.verdict) {
    case Verdict::kSuccess:
      return OrthancPluginErrorCode_Success;
    case Verdict::kFailed:
      return static_cast<OrthancPluginErrorCode>(result.code);
    case Verdict::kTimeout:
      return unanswered("TIMEOUT", OrthancPluginErrorCode_Timeout);
    case Verdict::kClosed:
      return unanswered("CLOSED", OrthancPluginErrorCode_Plugin);
    default:
      return unanswered("RUNTIME_LOST", OrthancPluginErrorCode_StorageAreaPlugin);
  }
}

template <typename Body>
OrthancPluginErrorCode guarded(const char* uuid, Body body) noexcept {
  try {
    const std::shared_ptr<PluginState> state = currentState();
    if (state == nullptr) {
      return OrthancPluginErrorCode_Plugin;
    }
    try {
      return body(*state);
    } catch (const std::exception& error) {
      state->orthanc.log(LogLevel::kError,
                         std::string("uuid=") + uuid + " failed in the shim: " + error.what());
    }
  } catch (...) {  // NOLINT(bugprone-empty-catch): nothing may cross the C ABI, and there is no
                   // memory left to say more
  }
  return OrthancPluginErrorCode_Plugin;
}

OrthancPluginErrorCode create(const char* uuid, const void* content, int64_t size,
                              OrthancPluginContentType type) {
  return guarded(uuid, [&](PluginState& state) {
    if (size < 0) {
      return OrthancPluginErrorCode_ParameterOutOfRange;
    }
    const auto request =
        std::make_shared<Request>(Request::Subject{Operation::kCreate, uuid, type, 0, {}}, content,
                                  static_cast<uint64_t>(size), nullptr);
    return finish(state, *request, state.lanes.leastBusy().call(request));
  });
}

OrthancPluginErrorCode readWhole(OrthancPluginMemoryBuffer64* target, const char* uuid,
                                 OrthancPluginContentType type) {
  return guarded(uuid, [&](PluginState& state) {
    auto owned = std::make_unique<OwnedDestination>(state.orthanc);
    OwnedDestination& destination = *owned;
    const auto request = std::make_shared<Request>(
        Request::Subject{Operation::kReadWhole, uuid, type, 0, {}}, nullptr, 0, std::move(owned));
    const OrthancPluginErrorCode code =
        finish(state, *request, state.lanes.leastBusy().call(request));
    if (code == OrthancPluginErrorCode_Success) {
      destination.release(target);
    }
    return code;
  });
}

OrthancPluginErrorCode readRange(OrthancPluginMemoryBuffer64* target, const char* uuid,
                                 OrthancPluginContentType type, uint64_t rangeStart) {
  return guarded(uuid, [&](PluginState& state) {
    const auto request = std::make_shared<Request>(
        Request::Subject{Operation::kReadRange, uuid, type, rangeStart, {}}, nullptr, target->size,
        std::make_unique<GivenDestination>(*target));
    return finish(state, *request, state.lanes.leastBusy().call(request));
  });
}

OrthancPluginErrorCode remove(const char* uuid, OrthancPluginContentType type) {
  return guarded(uuid, [&](PluginState& state) {
    const auto request = std::make_shared<Request>(
        Request::Subject{Operation::kRemove, uuid, type, 0, {}}, nullptr, 0, nullptr);
    return finish(state, *request, state.lanes.leastBusy().call(request));
  });
}

}  // namespace

OrthancPluginErrorCode registerStorageArea(OrthancPluginContext* context, bool rangeReads) {
  // OrthancPluginRegisterStorageArea2 swallows the answer of this very call.
  const _OrthancPluginRegisterStorageArea2 params{create, readWhole,
                                                  rangeReads ? readRange : nullptr, remove};
  return context->InvokeService(context, _OrthancPluginService_RegisterStorageArea2, &params);
}

}  // namespace cloudstore
