// SPDX-License-Identifier: GPL-3.0-or-later
#include "binding.h"

#include <libdeflate.h>
#include <orthanc/OrthancCPlugin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <iterator>
#include <limits>
#include <system_error>
#include <utility>

#include "aes.h"
#include "arguments.h"
#include "file_steps.h"
#include "lanes.h"
#include "node_instance.h"
#include "version.h"

namespace cloudstore {
namespace {

constexpr double kMaxHttpStatus = 999;

// Tickets are unique over all environments, so that a reply that comes late can't be taken for
// another one's.
std::atomic<uint64_t> nextTicket{1};

// By the numbers of src/plugin/bridge.ts.
constexpr std::array kLogLevels{OrthancPluginLogLevel_Error, OrthancPluginLogLevel_Warning,
                                OrthancPluginLogLevel_Info, OrthancPluginLogLevel_Trace};

// Those that the table in src/error-codes.ts uses; their numbers are Orthanc's business.
constexpr std::array<std::pair<const char*, OrthancPluginErrorCode>, 7> kOrthancErrorCodes{{
    {"InexistentFile", OrthancPluginErrorCode_InexistentFile},
    {"BadRange", OrthancPluginErrorCode_BadRange},
    {"Timeout", OrthancPluginErrorCode_Timeout},
    {"CorruptedFile", OrthancPluginErrorCode_CorruptedFile},
    {"Plugin", OrthancPluginErrorCode_Plugin},
    {"NetworkProtocol", OrthancPluginErrorCode_NetworkProtocol},
    {"StorageAreaPlugin", OrthancPluginErrorCode_StorageAreaPlugin},
}};

Napi::Error deadError(Napi::Env env) {
  Napi::Error error = Napi::Error::New(env, "the request is over");
  error.Set("code", Napi::String::New(env, "REQUEST_OVER"));
  return error;
}

void expectAlive(Napi::Env env, bool isAlive) {
  if (!isAlive) {
    throw deadError(env);
  }
}

}  // namespace

napi_value initializeBinding(napi_env env, napi_value exports) {
  return Napi::RegisterModule(env, exports, [](Napi::Env napiEnv, Napi::Object napiExports) {
    NodeInstance* instance = NodeInstance::current();
    if (instance == nullptr) {
      throw Napi::Error::New(napiEnv, "this module works on the loop's thread only");
    }
    // The environment owns it from here on.
    napiEnv.SetInstanceData(std::make_unique<Binding>(napiEnv, napiExports, *instance).release());
    return napiExports;
  });
}

Binding::Binding(Napi::Env env, Napi::Object exports, NodeInstance& instance)
    : env_(env),
      instance_(instance),
      asyncContext_(env, "orthanc-object-storage"),
      resource_(Napi::Persistent(Napi::Object::New(env))) {
  const OrthancContext& orthanc = instance.lanes().orthanc();
  exports.Set("pluginVersion", kPluginVersion);
  exports.Set("orthancVersion", orthanc.orthancVersion());
  exports.Set("restarted", instance.restarted());
  exports.Set("lane", static_cast<double>(instance.lane().index));
  exports.Set("bundlePath", instance.bundlePath());
  const Napi::Object codes = Napi::Object::New(env);
  for (const auto& [name, code] : kOrthancErrorCodes) {
    codes.Set(name, static_cast<double>(code));
  }
  exports.Set("orthancErrorCodes", codes);
  exports.Set("Aes", Aes::define(env));
  exports.Set("runFileSteps", defineFileSteps(env));

  const auto define = [&](const char* name, auto function) {
    exports.Set(name, Napi::Function::New(env, std::move(function), name));
  };
  const auto defineMethod = [&](const char* name, auto method) {
    define(name, [this, method](const Info& info) { return (this->*method)(info); });
  };
  define("crc32", [](const Info& info) {
    const std::span<const uint8_t> bytes = bytesAt(info, 0);
    const auto previous = static_cast<uint32_t>(
        unsignedAt(info, 1, "checksum", std::numeric_limits<uint32_t>::max()));
    // An empty array may lie at nullptr, for which libdeflate starts anew.
    const uint32_t checksum =
        bytes.empty() ? previous : libdeflate_crc32(previous, bytes.data(), bytes.size());
    return Napi::Number::New(info.Env(), checksum);
  });
  define("configuration", [&orthanc](const Info& info) {
    return Napi::String::New(info.Env(), orthanc.configuration());
  });
  define("log", [&orthanc](const Info& info) {
    const size_t level = unsignedAt(info, 0, "level");
    orthanc.log(kLogLevels.at(std::min(level, kLogLevels.size() - 1)), stringAt(info, 1),
                "typescript");
  });
  define("starting",
         [&instance](const Info& /*info*/) { instance.lane().supervisor.onStarting(); });
  define("refuse", [&instance](const Info& info) {
    instance.lane().supervisor.onRefused(stringAt(info, 0));
  });
  define("ending", [&instance](const Info& info) { instance.setEndReason(stringAt(info, 0)); });
  define("release", [&instance](const Info& /*info*/) { instance.release(); });
  defineMethod("start", &Binding::start);
  defineMethod("ready", &Binding::ready);
  defineMethod("readInto", &Binding::readInto);
  defineMethod("encryptInto", &Binding::encryptInto);
  defineMethod("sealInto", &Binding::sealInto);
  defineMethod("allocate", &Binding::allocate);
  defineMethod("write", &Binding::write);
  defineMethod("complete", &Binding::complete);
  defineMethod("respond", &Binding::respond);
  defineMethod("getFromOrthanc", &Binding::getFromOrthanc);
  defineMethod("askLane", &Binding::askLane);
  defineMethod("submitJob", &Binding::submitJob);
  defineMethod("updateJob", &Binding::updateJob);
  defineMethod("lockFile", &Binding::lockFile);
}

Binding::~Binding() = default;

void Binding::start(const Info& info) {
  const auto handlers = info[0].As<Napi::Object>();
  const auto handlerOf = [&handlers](const char* name) {
    return Napi::Persistent(handlers.Get(name).As<Napi::Function>());
  };
  onRequest_ = handlerOf("onRequest");
  onCall_ = handlerOf("onCall");
  onAbandoned_ = handlerOf("onAbandoned");
  onStop_ = handlerOf("onStop");
  instance_.bind(this);
}

void Binding::ready(const Info& info) {
  const auto told = info[0].As<Napi::Object>();
  const auto millisecondsOf = [&told](const char* name) {
    return std::chrono::milliseconds(told.Get(name).ToNumber().Int64Value());
  };
  RuntimeSettings settings;
  settings.storage = told.Get("storage").ToBoolean();
  settings.rangeReads = told.Get("rangeReads").ToBoolean();
  settings.lanes = told.Get("lanes").ToNumber().Uint32Value();
  settings.timeouts.call = millisecondsOf("callTimeoutMs");
  settings.timeouts.remove = millisecondsOf("removeTimeoutMs");
  settings.timeouts.metrics = millisecondsOf("metricsTimeoutMs");
  settings.stopTimeout = millisecondsOf("stopTimeoutMs");
  settings.watchdogTimeout = millisecondsOf("watchdogMs");
  instance_.serve();
  instance_.lane().supervisor.onReady(settings);
}

Napi::Value Binding::lockFile(const Info& info) {
  try {
    locks_.push_back(std::make_unique<FileLock>(stringAt(info, 0)));
    return Napi::Boolean::New(info.Env(), true);
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::operation_would_block) {
      return Napi::Boolean::New(info.Env(), false);
    }
    throw Napi::Error::New(info.Env(), error.what());
  }
}

AnyRequest Binding::requestOf(const Info& info) {
  const auto found = requests_.find(unsignedAt(info, 0, "id"));
  expectAlive(info.Env(), found != requests_.end());
  // Shared, since converting an argument may run JavaScript that ends this very request.
  return found->second;
}

std::shared_ptr<StorageRequest> Binding::storageRequestOf(const Info& info) {
  const AnyRequest request = requestOf(info);
  const auto* const storage = std::get_if<std::shared_ptr<StorageRequest>>(&request);
  if (storage == nullptr) {
    throw Napi::TypeError::New(info.Env(), "this is no request of storage");
  }
  return *storage;
}

void Binding::readInto(const Info& info) {
  const AnyRequest request = requestOf(info);
  const std::span<uint8_t> target = bytesAt(info, 2);
  const uint64_t offset = unsignedAt(info, 1, "offset");
  expectAlive(info.Env(), baseOf(request).use(offset, target.size(), [&](const uint8_t* content) {
    std::copy_n(content, target.size(), target.data());
  }));
}

void Binding::encryptInto(const Info& info) {
  const AnyRequest request = requestOf(info);
  const uint64_t offset = unsignedAt(info, 1, "offset");
  const std::span<uint8_t> target = bytesAt(info, 2);
  Aes& aes = Aes::of(info[3]);
  expectAlive(info.Env(), baseOf(request).use(offset, target.size(), [&](const uint8_t* content) {
    aes.update(content, target);
  }));
}

void Binding::sealInto(const Info& info) {
  const AnyRequest request = requestOf(info);
  const uint64_t offset = unsignedAt(info, 1, "offset");
  const std::span<uint8_t> target = bytesAt(info, 2);
  Aes& aes = Aes::of(info[3]);
  const std::span<const uint8_t> nonce = bytesAt(info, 4);
  const std::span<const uint8_t> additional = bytesAt(info, 5);
  expectAlive(info.Env(),
              baseOf(request).use(offset, Aes::messageBytes(target), [&](const uint8_t* content) {
                aes.sealMessage(nonce, additional, content, target);
              }));
}

void Binding::allocate(const Info& info) {
  expectAlive(info.Env(), storageRequestOf(info)->allocate(unsignedAt(info, 1, "size")));
}

void Binding::write(const Info& info) {
  const std::shared_ptr<StorageRequest> request = storageRequestOf(info);
  const uint64_t offset = unsignedAt(info, 1, "offset");
  const std::span<const uint8_t> bytes = bytesAt(info, 2);
  expectAlive(info.Env(), request->write(offset, bytes.data(), bytes.size()));
}

void Binding::complete(const Info& info) {
  const AnyRequest request = requestOf(info);
  const auto code =
      static_cast<int32_t>(unsignedAt(info, 1, "code", std::numeric_limits<int32_t>::max()));
  const auto verdict = code == 0 ? Result::Verdict::kSuccess : Result::Verdict::kFailed;
  const bool isAlive = baseOf(request).end({verdict, code, {}});
  requests_.erase(unsignedAt(info, 0, "id"));
  expectAlive(info.Env(), isAlive);
}

void Binding::respond(const Info& info) {
  const AnyRequest request = requestOf(info);
  const auto* const call = std::get_if<std::shared_ptr<Call>>(&request);
  if (call == nullptr) {
    throw Napi::TypeError::New(info.Env(), "a request of storage has no such answer");
  }
  const auto status = static_cast<uint16_t>(unsignedAt(info, 1, "status", kMaxHttpStatus));
  std::string contentType = stringAt(info, 2);
  std::string headers = stringAt(info, 4);
  // Looked at last: converting the others may run JavaScript that detaches it.
  const std::span<const uint8_t> body = bytesAt(info, 3);
  const bool isAlive = (*call)->respond(
      {status, std::move(contentType), {body.begin(), body.end()}, std::move(headers)});
  requests_.erase(unsignedAt(info, 0, "id"));
  expectAlive(info.Env(), isAlive);
}

Napi::Value Binding::promiseOf(Napi::Env env, const std::function<void(uint64_t)>& submit) {
  const uint64_t ticket = nextTicket++;
  // Not Napi::Promise::Deferred, which throws where `settle` must not.
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) {
    throw Napi::Error::New(env);
  }
  const auto waiting = questions_.emplace(ticket, deferred).first;
  try {
    submit(ticket);
  } catch (...) {
    questions_.erase(waiting);
    throw;
  }
  return {env, promise};
}

Napi::Value Binding::promiseOfAnswer(Napi::Env env, std::function<Answer()> ask) {
  return promiseOf(env, [this, &ask](uint64_t ticket) {
    Lane& lane = instance_.lane();
    lane.caller.submit({&lane.bridge, ticket, std::move(ask)});
  });
}

Napi::Value Binding::getFromOrthanc(const Info& info) {
  return promiseOfAnswer(info.Env(), [&orthanc = instance_.lanes().orthanc(),
                                      path = stringAt(info, 0)] { return orthanc.get(path); });
}

Napi::Value Binding::askLane(const Info& info) {
  const uint64_t index = unsignedAt(info, 0, "lane");
  const std::string name = stringAt(info, 1);
  return promiseOf(info.Env(), [&](uint64_t ticket) {
    instance_.lanes().ask(index, name, instance_.lane().bridge, ticket);
  });
}

Napi::Value Binding::submitJob(const Info& info) {
  JobState job{0, stringAt(info, 2), stringAt(info, 3)};
  const int priority = info[1].ToNumber().Int32Value();
  return promiseOfAnswer(info.Env(), [type = stringAt(info, 0), job = std::move(job), priority] {
    return cloudstore::submitJob(type, job, priority);
  });
}

void Binding::updateJob(const Info& info) {
  const auto status = static_cast<OrthancPluginJobStepStatus>(
      unsignedAt(info, 4, "status", OrthancPluginJobStepStatus_Continue));
  instance_.lanes().jobs().update(
      stringAt(info, 0),
      {info[1].ToNumber().FloatValue(), stringAt(info, 2), stringAt(info, 3), status});
}

void Binding::deliver(bool stopRequested) {
  // Plain N-API here: when JavaScript is being terminated each call fails, and C++ exceptions made
  // from that would be fatal.
  const Napi::HandleScope handles(env_);
  const Inbox inbox = instance_.lane().bridge.take();
  if (inbox.arrivals.empty() && inbox.abandoned.empty() && inbox.replies.empty() &&
      !stopRequested) {
    return;
  }
  // One scope for all: promises' reactions run once when it closes, not once for each request.
  napi_callback_scope scope = nullptr;
  if (napi_open_callback_scope(env_, resource_.Value(), asyncContext_, &scope) != napi_ok) {
    return;
  }
  for (const Inbox::Arrival& arrival : inbox.arrivals) {
    requests_.emplace(arrival.id, arrival.request);
    std::visit([&](const auto& request) { deliverRequest(arrival.id, *request); }, arrival.request);
  }
  for (const uint64_t id : inbox.abandoned) {
    requests_.erase(id);
    call(onAbandoned_, {numberOf(id)});
  }
  for (const Inbox::Reply& reply : inbox.replies) {
    settle(reply);
  }
  if (stopRequested) {
    call(onStop_, {});
  }
  napi_close_callback_scope(env_, scope);
}

void Binding::deliverRequest(uint64_t id, const StorageRequest& request) {
  const auto& [operation, uuid, contentType] = request.subject();
  const auto& [rangeStart, rangeEnd] = request.range();
  call(onRequest_, {numberOf(id), numberOf(static_cast<uint8_t>(operation)), textOf(uuid),
                    numberOf(contentType), numberOf(request.contentSize()), numberOf(rangeStart),
                    numberOf(rangeEnd)});
}

void Binding::deliverRequest(uint64_t id, const Call& request) {
  call(onCall_, {numberOf(id), textOf(request.name()), textOf(request.argument()),
                 numberOf(request.contentSize()), textOf(request.headers())});
}

template <typename Number>
napi_value Binding::numberOf(Number number) const {
  napi_value value = nullptr;
  napi_create_double(env_, static_cast<double>(number), &value);
  return value;
}

napi_value Binding::textOf(const std::string& text) const {
  napi_value value = nullptr;
  napi_create_string_utf8(env_, text.data(), text.size(), &value);
  return value;
}

void Binding::settle(const Inbox::Reply& reply) {
  const auto found = questions_.find(reply.ticket);
  if (found == questions_.end()) {
    return;
  }
  napi_deferred deferred = found->second;
  questions_.erase(found);
  napi_value result = nullptr;
  napi_value body = nullptr;
  if (napi_create_object(env_, &result) == napi_ok &&
      napi_create_buffer_copy(env_, reply.answer.body.size(), reply.answer.body.data(), nullptr,
                              &body) == napi_ok &&
      napi_set_named_property(env_, result, "status", numberOf(reply.answer.status)) == napi_ok &&
      napi_set_named_property(env_, result, "body", body) == napi_ok) {
    napi_resolve_deferred(env_, deferred, result);
  }
}

void Binding::call(const Napi::FunctionReference& function,
                   std::initializer_list<napi_value> arguments) {
  if (napi_call_function(env_, resource_.Value(), function.Value(), arguments.size(),
                         std::data(arguments), nullptr) == napi_pending_exception) {
    napi_value exception = nullptr;
    if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok) {
      // As if it had been thrown from a timer: the handler of uncaught exceptions hears of it.
      napi_fatal_exception(env_, exception);
    }
  }
}

}  // namespace cloudstore
