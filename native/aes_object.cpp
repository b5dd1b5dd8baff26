// SPDX-License-Identifier: GPL-3.0-or-later
#include "aes_object.h"

#include <cstdint>
#include <span>
#include <stdexcept>

#include "arguments.h"

namespace cloudstore {
namespace {

/** Of this class alone; any two random numbers. */
constexpr napi_type_tag kTypeTag{0x6f0c'5d21'9be4'4a37, 0x93d8'7e16'c2a5'0f4b};

}  // namespace

Aes::Mode aesModeAt(const Napi::CallbackInfo& info, size_t index) {
  return static_cast<Aes::Mode>(
      unsignedAt(info, index, "mode", static_cast<double>(Aes::Mode::kCounter)));
}

Napi::Function AesObject::define(Napi::Env env) {
  return DefineClass(
      env, "Aes",
      {InstanceMethod<&AesObject::begin>("begin"), InstanceMethod<&AesObject::update>("update"),
       InstanceMethod<&AesObject::seal>("seal"), InstanceMethod<&AesObject::open>("open"),
       InstanceMethod<&AesObject::wipe>("wipe")});
}

Aes& AesObject::of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTypeTag)) {
    throw Napi::TypeError::New(value.Env(), "this is no Aes");
  }
  return Unwrap(value.As<Napi::Object>())->alive();
}

AesObject::AesObject(const Napi::CallbackInfo& info) : Napi::ObjectWrap<AesObject>(info) {
  aes_.emplace(aesModeAt(info, 0), bytesAt(info, 1));
  info.This().As<Napi::Object>().TypeTag(&kTypeTag);
}

void AesObject::begin(const Napi::CallbackInfo& info) {
  alive().begin(bytesAt(info, 0), bytesAt(info, 1));
}

void AesObject::update(const Napi::CallbackInfo& info) {
  const std::span<const uint8_t> source = bytesAt(info, 0);
  const std::span<uint8_t> target = bytesAt(info, 1);
  if (source.size() != target.size()) {
    throw std::length_error("source and target have different lengths");
  }
  alive().update(source.data(), target);
}

void AesObject::seal(const Napi::CallbackInfo& info) { alive().seal(bytesAt(info, 0)); }

Napi::Value AesObject::open(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), alive().open(bytesAt(info, 0)));
}

void AesObject::wipe(const Napi::CallbackInfo& /*info*/) { aes_.reset(); }

Aes& AesObject::alive() {
  if (!aes_.has_value()) {
    throw std::logic_error("AES: the key has been wiped");
  }
  return *aes_;
}

}  // namespace cloudstore
