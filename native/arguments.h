// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>

namespace cloudstore {

/** Number.MAX_SAFE_INTEGER. */
constexpr double kMaxSafeInteger = 9007199254740991.0;

// What TypeScript passes, looked at before it is used. They throw a Napi::Error that says what was
// expected.

inline uint64_t unsignedOf(const Napi::Value& value, const char* what,
                           double max = kMaxSafeInteger) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0) || number > max ||
      number != static_cast<double>(static_cast<uint64_t>(number))) {
    throw Napi::RangeError::New(value.Env(), std::string(what) +
                                                 " must be a whole number from 0 to " +
                                                 std::to_string(static_cast<uint64_t>(max)));
  }
  return static_cast<uint64_t>(number);
}

inline uint64_t unsignedAt(const Napi::CallbackInfo& info, size_t index, const char* what,
                           double max = kMaxSafeInteger) {
  return unsignedOf(info[index], what, max);
}

/** Empty where there is none. */
inline std::string stringAt(const Napi::CallbackInfo& info, size_t index) {
  return info[index].IsUndefined() ? std::string() : info[index].ToString().Utf8Value();
}

inline Napi::Array arrayOf(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) {
    throw Napi::TypeError::New(value.Env(), std::string(what) + " must be an array");
  }
  return value.As<Napi::Array>();
}

/** The memory of a Uint8Array, valid until JavaScript runs again, or while there is a reference to
 * it and JavaScript does not transfer it. */
inline std::span<uint8_t> bytesOf(const Napi::Value& value) {
  // One call of Node's, where asking for the type first would make it three.
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  const napi_status status =
      napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr);
  if (status != napi_ok || type != napi_uint8_array) {
    throw Napi::TypeError::New(value.Env(), "bytes must be a Uint8Array");
  }
  return {static_cast<uint8_t*>(data), length};
}

inline std::span<uint8_t> bytesAt(const Napi::CallbackInfo& info, size_t index) {
  return bytesOf(info[index]);
}

}  // namespace cloudstore
