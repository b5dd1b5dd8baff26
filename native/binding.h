// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "bridge.h"
#include "orthanc_caller.h"

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

  Napi::Value configuration(const Info& info);
  void log(const Info& info);
  void start(const Info& info);
  void ready(const Info& info);
  void refuse(const Info& info);
  void starting(const Info& info);
  void ending(const Info& info);
  void release(const Info& info);
  Napi::Value read(const Info& info);
  void readInto(const Info& info);
  void encryptInto(const Info& info);
  void sealInto(const Info& info);
  void allocate(const Info& info);
  void write(const Info& info);
  void complete(const Info& info);
  void respond(const Info& info);
  Napi::Value callOrthanc(const Info& info);
  void sendToLane(const Info& info);
  Napi::Value submitJob(const Info& info);
  void updateJob(const Info& info);

  template <typename Result>
  void define(Napi::Object exports, const char* name, Result (Binding::*method)(const Info&));

  Napi::Value promiseOf(Napi::Env env, OrthancCaller::Work work);
  std::shared_ptr<Request> requestOf(const Info& info);
  void deliverRequest(const Inbox::Arrival& arrival);
  void settle(const OrthancAnswer& answer);
  bool call(const Napi::FunctionReference& function, size_t count, const napi_value* arguments);

  const Napi::Env env_;
  NodeInstance& instance_;
  Napi::AsyncContext asyncContext_;
  Napi::ObjectReference resource_;
  Napi::FunctionReference onRequest_;
  Napi::FunctionReference onMessage_;
  Napi::FunctionReference onAbandoned_;
  Napi::FunctionReference onStop_;
  std::unordered_map<uint64_t, std::shared_ptr<Request>> requests_;
  std::unordered_map<uint64_t, napi_deferred> calls_;
};

/** For node::AddLinkedBinding. */
const napi_module& bindingModule();

}  // namespace cloudstore
