// SPDX-License-Identifier: GPL-3.0-or-later
// The plugin's ciphers as a module that any Node loads, without Orthanc and its requests.
#include <napi.h>

#include "aes.h"

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("Aes", cloudstore::Aes::define(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(ciphers, initialize)
