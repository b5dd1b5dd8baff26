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
    case Operation::kReadRange:
      return "read";
    case Operation::kRemove:
      return "remove";
    case Operation::kRest:
    case Operation::kEvent:
      break;
  }
  return "rest";
}

/** The one way in and out: TypeScript logs what it fails itself, all other ends are logged here. */
OrthancPluginErrorCode finish(const PluginState& state, const Request& request,
                              const Result& result) {
  using Verdict = Result::Verdict;
  if (result.verdict == Verdict::kSuccess) {
    return OrthancPluginErrorCode_Success;
  }
  if (result.verdict == Verdict::kFailed) {
    return static_cast<OrthancPluginErrorCode>(result.code);
  }
  state.orthanc.log(LogLevel::kError, std::string("op=") + nameOf(request.subject().operation) +
                                          " uuid=" + request.subject().uuid +
                                          " failed: " + result.message);
  switch (result.verdict) {
    case Verdict::kTimeout:
      return OrthancPluginErrorCode_Timeout;
    case Verdict::kClosed:
      return OrthancPluginErrorCode_Plugin;
    default:
      return OrthancPluginErrorCode_StorageAreaPlugin;
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
    auto owned = std::make_unique<OwnedDestination>(state.orthanc.raw());
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
