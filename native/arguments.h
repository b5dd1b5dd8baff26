// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>

namespace cloudstore {

/** Number.MAX_SAFE_INTEGER. */
constexpr double kMaxSafeInteger = 9007199254740991.0;

// What TypeScript passes, looked at before it is used. All of them throw a Napi::Error that says
// what was expected.

uint64_t unsignedAt(const Napi::CallbackInfo& info, size_t index, const char* what,
                    double max = kMaxSafeInteger);

/** Empty where there is none. */
std::string stringAt(const Napi::CallbackInfo& info, size_t index);

/** The memory of a Uint8Array, valid until JavaScript runs again. */
std::span<uint8_t> bytesAt(const Napi::CallbackInfo& info, size_t index);

}  // namespace cloudstore
