// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bridge.h"
#include "file_lock.h"

namespace cloudstore {

class NodeInstance;

/** The module that TypeScript sees (its twin is src/plugin/bridge.ts): requests go in, bytes and
 * ends come out.
 *
 *  thread: js-loop only. Owned by the environment; it keeps the requests that TypeScript works on
 * alive, not their memory. */
class Binding {
 public:
  Binding(Napi::Env env, Napi::Object exports, NodeInstance& instance);
  ~Binding();
  Binding(const Binding&) = delete;
  Binding& operator=(const Binding&) = delete;

  /** Gives TypeScript what has arrived. @param stopRequested tell it also to stop */
  void deliver(bool stopRequested);

 private:
  using Info = Napi::CallbackInfo;

  void start(const Info& info);
  void ready(const Info& info);
  void readInto(const Info& info);
  void encryptInto(const Info& info);
  void sealInto(const Info& info);
  void allocate(const Info& info);
  void write(const Info& info);
  void complete(const Info& info);
  void respond(const Info& info);
  Napi::Value getFromOrthanc(const Info& info);
  Napi::Value askLane(const Info& info);
  Napi::Value submitJob(const Info& info);
  void updateJob(const Info& info);
  Napi::Value lockFile(const Info& info);

  AnyRequest requestOf(const Info& info);
  std::shared_ptr<StorageRequest> storageRequestOf(const Info& info);
  /** @param submit is given the ticket of the reply */
  Napi::Value promiseOf(Napi::Env env, const std::function<void(uint64_t)>& submit);
  Napi::Value promiseOfAnswer(Napi::Env env, std::function<Answer()> ask);
  void deliverRequest(uint64_t id, const StorageRequest& request);
  void deliverRequest(uint64_t id, const Call& call);
  void settle(const Inbox::Reply& reply);
  void call(const Napi::FunctionReference& function, std::initializer_list<napi_value> arguments);
  template <typename Number>
  [[nodiscard]] napi_value numberOf(Number number) const;
  [[nodiscard]] napi_value textOf(const std::string& text) const;

  const Napi::Env env_;
  NodeInstance& instance_;
  Napi::AsyncContext asyncContext_;
  Napi::ObjectReference resource_;
  Napi::FunctionReference onRequest_;
  Napi::FunctionReference onCall_;
  Napi::FunctionReference onAbandoned_;
  Napi::FunctionReference onStop_;
  std::vector<std::unique_ptr<FileLock>> locks_;
  std::unordered_map<uint64_t, AnyRequest> requests_;
  std::unordered_map<uint64_t, napi_deferred> questions_;
};

/** For node::AddLinkedBinding. thread: js-loop */
napi_value initializeBinding(napi_env env, napi_value exports);

}  // namespace cloudstore
