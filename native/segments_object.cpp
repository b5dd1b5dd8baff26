// SPDX-License-Identifier: GPL-3.0-or-later
#include "segments_object.h"

#include <cstdint>
#include <span>
#include <stdexcept>

#include "aes_object.h"
#include "arguments.h"

namespace cloudstore {
namespace {

/** Of this class alone; any two random numbers. */
constexpr napi_type_tag kTypeTag{0x1d84'a3e7'60f2'4bc9, 0xb57a'02c8'e91d'6f36};

}  // namespace

Napi::Function SegmentsObject::define(Napi::Env env) {
  return DefineClass(
      env, "Segments",
      {InstanceMethod<&SegmentsObject::seal>("seal"), InstanceMethod<&SegmentsObject::open>("open"),
       InstanceMethod<&SegmentsObject::wipe>("wipe")});
}

Segments& SegmentsObject::of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTypeTag)) {
    throw Napi::TypeError::New(value.Env(), "these are no Segments");
  }
  return Unwrap(value.As<Napi::Object>())->alive();
}

SegmentsObject::SegmentsObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SegmentsObject>(info) {
  segments_.emplace(aesModeAt(info, 0), bytesAt(info, 1), bytesAt(info, 2), bytesAt(info, 3),
                    unsignedAt(info, 4, "size"));
  info.This().As<Napi::Object>().TypeTag(&kTypeTag);
}

void SegmentsObject::seal(const Napi::CallbackInfo& info) {
  const uint64_t position = unsignedAt(info, 0, "position");
  const std::span<const uint8_t> content = bytesAt(info, 1);
  const std::span<uint8_t> target = bytesAt(info, 2);
  if (content.size() != alive().contentOf(position, target.size()).length) {
    throw std::length_error("the content is not what goes into these bytes");
  }
  alive().seal(position, content.data(), target);
}

Napi::Value SegmentsObject::open(const Napi::CallbackInfo& info) {
  const uint64_t position = unsignedAt(info, 0, "position");
  return Napi::Boolean::New(info.Env(), alive().open(position, bytesAt(info, 1), bytesAt(info, 2)));
}

void SegmentsObject::wipe(const Napi::CallbackInfo& /*info*/) { segments_.reset(); }

Segments& SegmentsObject::alive() {
  if (!segments_.has_value()) {
    throw std::logic_error("segments: the key has been wiped");
  }
  return *segments_;
}

}  // namespace cloudstore
