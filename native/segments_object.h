// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

#include <optional>

#include "segments.h"

namespace cloudstore {

/** Segments as TypeScript has them (the twin is src/encryption/native-ciphers.ts). Every method
 * throws an Error where Segments throws, and from `wipe` on.
 *
 *  thread: js-loop only. Owned by JavaScript; keeps no memory of the callers'. */
class SegmentsObject : public Napi::ObjectWrap<SegmentsObject> {
 public:
  /** The class, for a module's exports. */
  static Napi::Function define(Napi::Env env);
  /** @throws Napi::TypeError for a value that is no object of this class */
  static Segments& of(const Napi::Value& value);

  explicit SegmentsObject(const Napi::CallbackInfo& info);

 private:
  void seal(const Napi::CallbackInfo& info);
  Napi::Value open(const Napi::CallbackInfo& info);
  void wipe(const Napi::CallbackInfo& info);

  Segments& alive();

  std::optional<Segments> segments_;
};

}  // namespace cloudstore
