// SPDX-License-Identifier: GPL-3.0-or-later
// What the plugin does natively for TypeScript alone, as a module that any Node loads, without
// Orthanc and its requests.
#include <napi.h>

#include "aes.h"
#include "file_steps.h"

namespace {

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  exports.Set("Aes", cloudstore::Aes::define(env));
  exports.Set("runFileSteps", cloudstore::defineFileSteps(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(helpers, initialize)
