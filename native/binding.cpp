// SPDX-License-Identifier: GPL-3.0-or-later
#include "binding.h"

#include <node.h>
#include <orthanc/OrthancCPlugin.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <stdexcept>
#include <utility>

#include "aes.h"
#include "arguments.h"
#include "jobs.h"
#include "lanes.h"
#include "node_instance.h"
#include "version.h"

namespace cloudstore {
namespace {

constexpr double kMaxHttpStatus = 999;

// Tickets are unique over all environments, so that an answer that comes late can't be taken for
// another one's.
std::atomic<uint64_t> nextTicket{1};

// Those that the table in src/errors.ts uses; their numbers are Orthanc's business.
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

napi_value initialize(napi_env env, napi_value exports) {
  return Napi::RegisterModule(env, exports, [](Napi::Env napiEnv, Napi::Object napiExports) {
    NodeInstance* instance = NodeInstance::current();
    if (instance == nullptr) {
      throw Napi::Error::New(napiEnv, "this module works on the loop's thread only");
    }
    auto binding = std::make_unique<Binding>(napiEnv, napiExports, *instance);
    // The environment owns it from here on.
    napiEnv.SetInstanceData(binding.release());
    return napiExports;
  });
}

}  // namespace

const napi_module& bindingModule() {
  static const napi_module module{NAPI_MODULE_VERSION,
                                  node::ModuleFlags::kLinked,
                                  nullptr,
                                  initialize,
                                  "orthanc_object_storage",
                                  nullptr,
                                  {nullptr}};
  return module;
}

Binding::Binding(Napi::Env env, Napi::Object exports, NodeInstance& instance)
    : env_(env),
      instance_(instance),
      asyncContext_(env, "orthanc-object-storage"),
      resource_(Napi::Persistent(Napi::Object::New(env))) {
  exports.Set("pluginVersion", kPluginVersion);
  exports.Set("orthancVersion", instance.surroundings().orthanc.orthancVersion());
  exports.Set("restarted", instance.surroundings().restarted);
  exports.Set("lane", static_cast<double>(instance.surroundings().lane));
  exports.Set("bundlePath", instance.bundlePath());
  const Napi::Object codes = Napi::Object::New(env);
  for (const auto& [name, code] : kOrthancErrorCodes) {
    codes.Set(name, static_cast<double>(code));
  }
  exports.Set("orthancErrorCodes", codes);
  exports.Set("Aes", Aes::define(env));
  define(exports, "configuration", &Binding::configuration);
  define(exports, "log", &Binding::log);
  define(exports, "start", &Binding::start);
  define(exports, "starting", &Binding::starting);
  define(exports, "ready", &Binding::ready);
  define(exports, "refuse", &Binding::refuse);
  define(exports, "ending", &Binding::ending);
  define(exports, "release", &Binding::release);
  define(exports, "read", &Binding::read);
  define(exports, "readInto", &Binding::readInto);
  define(exports, "encryptInto", &Binding::encryptInto);
  define(exports, "sealInto", &Binding::sealInto);
  define(exports, "allocate", &Binding::allocate);
  define(exports, "write", &Binding::write);
  define(exports, "complete", &Binding::complete);
  define(exports, "respond", &Binding::respond);
  define(exports, "callOrthanc", &Binding::callOrthanc);
  define(exports, "sendToLane", &Binding::sendToLane);
  define(exports, "submitJob", &Binding::submitJob);
  define(exports, "updateJob", &Binding::updateJob);
}

Binding::~Binding() = default;

template <typename Result>
void Binding::define(Napi::Object exports, const char* name,
                     Result (Binding::*method)(const Info&)) {
  exports.Set(name, Napi::Function::New(
                        exports.Env(),
                        [this, method](const Info& info) { return (this->*method)(info); }, name));
}

Napi::Value Binding::configuration(const Info& info) {
  return Napi::String::New(info.Env(), instance_.surroundings().orthanc.configuration());
}

void Binding::log(const Info& info) {
  const auto level = static_cast<LogLevel>(std::min<uint64_t>(unsignedAt(info, 0, "level"), 3));
  instance_.surroundings().orthanc.log(level, stringAt(info, 1), "typescript");
}

void Binding::start(const Info& info) {
  const auto handlers = info[0].As<Napi::Object>();
  onRequest_ = Napi::Persistent(handlers.Get("onRequest").As<Napi::Function>());
  onMessage_ = Napi::Persistent(handlers.Get("onMessage").As<Napi::Function>());
  onAbandoned_ = Napi::Persistent(handlers.Get("onAbandoned").As<Napi::Function>());
  onStop_ = Napi::Persistent(handlers.Get("onStop").As<Napi::Function>());
  instance_.bind(this);
}

void Binding::starting(const Info& /*info*/) { instance_.surroundings().events.onStarting(); }

void Binding::ready(const Info& info) {
  const auto told = info[0].As<Napi::Object>();
  RuntimeSettings settings;
  settings.storage = told.Get("storage").ToBoolean();
  settings.rangeReads = told.Get("rangeReads").ToBoolean();
  settings.lanes = told.Get("lanes").ToNumber().Uint32Value();
  const auto millisecondsOf = [&told](const char* name) {
    return std::chrono::milliseconds(told.Get(name).ToNumber().Int64Value());
  };
  settings.timeouts = {millisecondsOf("callTimeoutMs"), millisecondsOf("removeTimeoutMs"),
                       millisecondsOf("metricsTimeoutMs")};
  settings.watchdogTimeout = millisecondsOf("watchdogMs");
  instance_.serve();
  instance_.surroundings().events.onReady(settings);
}

void Binding::refuse(const Info& info) {
  instance_.surroundings().events.onRefused(stringAt(info, 0));
}

void Binding::ending(const Info& info) { instance_.setEndReason(stringAt(info, 0)); }

void Binding::release(const Info& /*info*/) { instance_.release(); }

std::shared_ptr<Request> Binding::requestOf(const Info& info) {
  const auto found = requests_.find(unsignedAt(info, 0, "id"));
  if (found == requests_.end()) {
    throw deadError(info.Env());
  }
  // Shared, since converting an argument may run JavaScript that ends this very request.
  return found->second;
}

Napi::Value Binding::read(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const uint64_t offset = unsignedAt(info, 1, "offset");
  const uint64_t length = unsignedAt(info, 2, "length");
  if (length > request->size()) {
    throw Napi::RangeError::New(info.Env(), "length is larger than the content");
  }
  auto bytes = Napi::Buffer<uint8_t>::New(info.Env(), length);
  if (!request->read(offset, bytes.Data(), length)) {
    throw deadError(info.Env());
  }
  return bytes;
}

void Binding::readInto(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const std::span<uint8_t> target = bytesAt(info, 2);
  if (!request->read(unsignedAt(info, 1, "offset"), target.data(), target.size())) {
    throw deadError(info.Env());
  }
}

void Binding::encryptInto(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const std::span<uint8_t> target = bytesAt(info, 2);
  Aes& aes = Aes::of(info[3]);
  const auto encrypt = [&](const uint8_t* content) { aes.update(content, target); };
  if (!request->use(unsignedAt(info, 1, "offset"), target.size(), encrypt)) {
    throw deadError(info.Env());
  }
}

void Binding::sealInto(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const std::span<uint8_t> target = bytesAt(info, 2);
  const std::span<const uint8_t> nonce = bytesAt(info, 4);
  const std::span<const uint8_t> additional = bytesAt(info, 5);
  Aes& aes = Aes::of(info[3]);
  const auto seal = [&](const uint8_t* content) {
    aes.sealMessage(nonce, additional, content, target);
  };
  if (!request->use(unsignedAt(info, 1, "offset"), Aes::messageBytes(target), seal)) {
    throw deadError(info.Env());
  }
}

void Binding::allocate(const Info& info) {
  if (!requestOf(info)->allocate(unsignedAt(info, 1, "size"))) {
    throw deadError(info.Env());
  }
}

void Binding::write(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const std::span<const uint8_t> bytes = bytesAt(info, 2);
  if (!request->write(unsignedAt(info, 1, "offset"), bytes.data(), bytes.size())) {
    throw deadError(info.Env());
  }
}

void Binding::complete(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const auto code =
      static_cast<int32_t>(unsignedAt(info, 1, "code", std::numeric_limits<int32_t>::max()));
  const auto verdict = code == 0 ? Result::Verdict::kSuccess : Result::Verdict::kFailed;
  const bool alive = request->end({verdict, code, {}});
  requests_.erase(unsignedAt(info, 0, "id"));
  if (!alive) {
    throw deadError(info.Env());
  }
}

void Binding::respond(const Info& info) {
  const std::shared_ptr<Request> request = requestOf(info);
  const auto status = static_cast<uint16_t>(unsignedAt(info, 1, "status", kMaxHttpStatus));
  std::string contentType = stringAt(info, 2);
  // Looked at last: converting the others may run JavaScript that detaches it.
  const std::span<const uint8_t> body = bytesAt(info, 3);
  const bool alive = request->answer({status, std::move(contentType), {body.begin(), body.end()}});
  requests_.erase(unsignedAt(info, 0, "id"));
  if (!alive) {
    throw deadError(info.Env());
  }
}

Napi::Value Binding::promiseOf(Napi::Env env, OrthancCaller::Work work) {
  const uint64_t ticket = nextTicket++;
  // Not Napi::Promise::Deferred, which throws where `settle` must not.
  napi_deferred deferred = nullptr;
  napi_value promise = nullptr;
  if (napi_create_promise(env, &deferred, &promise) != napi_ok) {
    throw Napi::Error::New(env);
  }
  const auto waiting = calls_.emplace(ticket, deferred).first;
  try {
    instance_.surroundings().caller.submit(ticket, std::move(work));
  } catch (...) {
    calls_.erase(waiting);
    throw;
  }
  return {env, promise};
}

Napi::Value Binding::callOrthanc(const Info& info) {
  return promiseOf(info.Env(),
                   [&orthanc = instance_.surroundings().orthanc, method = stringAt(info, 0),
                    path = stringAt(info, 1),
                    body = stringAt(info, 2)] { return orthanc.callRest(method, path, body); });
}

void Binding::sendToLane(const Info& info) {
  const NodeInstance::Surroundings& surroundings = instance_.surroundings();
  surroundings.lanes.send(unsignedAt(info, 0, "lane"), {surroundings.lane, stringAt(info, 1)});
}

Napi::Value Binding::submitJob(const Info& info) {
  const int priority = info[1].ToNumber().Int32Value();
  JobState::Snapshot snapshot{0, stringAt(info, 2), stringAt(info, 3)};
  return promiseOf(info.Env(),
                   [type = stringAt(info, 0), snapshot = std::move(snapshot), priority] {
                     return cloudstore::submitJob(type, snapshot, priority);
                   });
}

void Binding::updateJob(const Info& info) {
  instance_.surroundings().jobs.update(
      stringAt(info, 0), {info[1].ToNumber().FloatValue(), stringAt(info, 2), stringAt(info, 3)});
}

void Binding::deliver(bool stopRequested) {
  // Plain N-API here: when JavaScript is being terminated each call fails, and C++ exceptions made
  // from that would be fatal.
  const Napi::HandleScope handles(env_);
  const Inbox inbox = instance_.surroundings().bridge.take();
  if (inbox.arrivals.empty() && inbox.abandoned.empty() && inbox.answers.empty() &&
      inbox.messages.empty() && !stopRequested) {
    return;
  }
  // One scope for all: promises' reactions run once when it closes, not once for each request.
  napi_callback_scope scope = nullptr;
  if (napi_open_callback_scope(env_, resource_.Value(), asyncContext_, &scope) != napi_ok) {
    return;
  }
  for (const Inbox::Arrival& arrival : inbox.arrivals) {
    deliverRequest(arrival);
  }
  for (const uint64_t id : inbox.abandoned) {
    requests_.erase(id);
    napi_value argument = nullptr;
    napi_create_double(env_, static_cast<double>(id), &argument);
    call(onAbandoned_, 1, &argument);
  }
  for (const OrthancAnswer& answer : inbox.answers) {
    settle(answer);
  }
  for (const LaneMessage& message : inbox.messages) {
    std::array<napi_value, 2> arguments{};
    napi_create_double(env_, static_cast<double>(message.from), arguments.data());
    napi_create_string_utf8(env_, message.text.data(), message.text.size(), &arguments[1]);
    call(onMessage_, arguments.size(), arguments.data());
  }
  if (stopRequested) {
    call(onStop_, 0, nullptr);
  }
  napi_close_callback_scope(env_, scope);
}

void Binding::deliverRequest(const Inbox::Arrival& arrival) {
  requests_.emplace(arrival.id, arrival.request);
  const Request::Subject& subject = arrival.request->subject();
  std::array<napi_value, 7> arguments{};
  napi_create_double(env_, static_cast<double>(arrival.id), arguments.data());
  napi_create_uint32(env_, static_cast<uint32_t>(subject.operation), &arguments[1]);
  napi_create_string_utf8(env_, subject.uuid.data(), subject.uuid.size(), &arguments[2]);
  napi_create_int32(env_, subject.contentType, &arguments[3]);
  napi_create_double(env_, static_cast<double>(arrival.request->size()), &arguments[4]);
  napi_create_double(env_, static_cast<double>(subject.rangeStart), &arguments[5]);
  napi_create_string_utf8(env_, subject.method.data(), subject.method.size(), &arguments[6]);
  call(onRequest_, arguments.size(), arguments.data());
}

void Binding::settle(const OrthancAnswer& answer) {
  const auto found = calls_.find(answer.ticket);
  if (found == calls_.end()) {
    return;
  }
  napi_deferred deferred = found->second;
  calls_.erase(found);
  napi_value result = nullptr;
  napi_value status = nullptr;
  napi_value body = nullptr;
  if (napi_create_object(env_, &result) == napi_ok &&
      napi_create_uint32(env_, answer.answer.status, &status) == napi_ok &&
      napi_create_buffer_copy(env_, answer.answer.body.size(), answer.answer.body.data(), nullptr,
                              &body) == napi_ok &&
      napi_set_named_property(env_, result, "status", status) == napi_ok &&
      napi_set_named_property(env_, result, "body", body) == napi_ok) {
    napi_resolve_deferred(env_, deferred, result);
  }
}

bool Binding::call(const Napi::FunctionReference& function, size_t count,
                   const napi_value* arguments) {
  const napi_status status =
      napi_call_function(env_, resource_.Value(), function.Value(), count, arguments, nullptr);
  if (status == napi_pending_exception) {
    napi_value exception = nullptr;
    if (napi_get_and_clear_last_exception(env_, &exception) == napi_ok) {
      // As if it had been thrown from a timer: the handler of uncaught exceptions hears of it.
      napi_fatal_exception(env_, exception);
    }
  }
  return status == napi_ok;
}

}  // namespace cloudstore
