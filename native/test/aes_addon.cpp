// SPDX-License-Identifier: GPL-3.0-or-later
// Aes as a module that any Node loads, without Orthanc and its requests.
#include <napi.h>

#include "aes_object.h"

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("Aes", cloudstore::AesObject::define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(aes, initialize)
