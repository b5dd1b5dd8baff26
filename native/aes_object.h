// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

#include <optional>

#include "aes.h"

namespace cloudstore {

/** @throws Napi::RangeError */
Aes::Mode aesModeAt(const Napi::CallbackInfo& info, size_t index);

/** Aes as TypeScript has it (its twin is src/encryption/native-ciphers.ts). Every method throws an
 * Error where Aes throws, and from `wipe` on.
 *
 *  thread: js-loop only. Owned by JavaScript; keeps no memory of the callers'. */
class AesObject : public Napi::ObjectWrap<AesObject> {
 public:
  /** The class, for a module's exports. */
  static Napi::Function define(Napi::Env env);
  /** @throws Napi::TypeError for a value that is no object of this class */
  static Aes& of(const Napi::Value& value);

  explicit AesObject(const Napi::CallbackInfo& info);

 private:
  void begin(const Napi::CallbackInfo& info);
  void update(const Napi::CallbackInfo& info);
  void seal(const Napi::CallbackInfo& info);
  Napi::Value open(const Napi::CallbackInfo& info);
  void wipe(const Napi::CallbackInfo& info);

  Aes& alive();

  std::optional<Aes> aes_;
};

}  // namespace cloudstore
