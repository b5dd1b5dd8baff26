// SPDX-License-Identifier: GPL-3.0-or-later
#include "aes.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "arguments.h"

namespace cloudstore {
namespace {

/** Of this class alone; any two random numbers. */
constexpr napi_type_tag kTypeTag{0x6f0c'5d21'9be4'4a37, 0x93d8'7e16'c2a5'0f4b};
constexpr size_t kKeyBytes = 32;
constexpr size_t kTagBytes = 16;
/** OpenSSL takes lengths as int. */
constexpr size_t kMaxPieceBytes = size_t{1} << 30U;

/** Errors of ours must not stay in the thread's queue, where node:crypto would take them for its
 * own. */
class ErrorQueueMark {
 public:
  ErrorQueueMark() { ERR_set_mark(); }
  ~ErrorQueueMark() { ERR_pop_to_mark(); }
  ErrorQueueMark(const ErrorQueueMark&) = delete;
  ErrorQueueMark& operator=(const ErrorQueueMark&) = delete;
};

void expect(bool condition, const char* rule) {
  if (!condition) {
    throw std::logic_error(std::string("AES: ") + rule);
  }
}

void expectSameLength(size_t source, size_t target) {
  if (source != target) {
    throw std::length_error("source and target have different lengths");
  }
}

void require(int status, const char* what) {
  if (status <= 0) {
    throw std::runtime_error(std::string("OpenSSL cannot ") + what);
  }
}

/** Found once, until the process ends: looking an algorithm up by its name takes longer than to
 * encrypt 10 kB. */
const EVP_CIPHER* cipherOf(bool isCounter) {
  static const EVP_CIPHER* const gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static const EVP_CIPHER* const counter = EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
  return isCounter ? counter : gcm;
}

}  // namespace

void Aes::FreeContext::operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }

Napi::Function Aes::define(Napi::Env env) {
  return DefineClass(
      env, "Aes",
      {InstanceMethod<&Aes::begin>("begin"), InstanceMethod<&Aes::update>("update"),
       InstanceMethod<&Aes::seal>("seal"), InstanceMethod<&Aes::open>("open"),
       InstanceMethod<&Aes::sealMessage>("sealMessage"),
       InstanceMethod<&Aes::openMessage>("openMessage"), InstanceMethod<&Aes::wipe>("wipe")});
}

Aes& Aes::of(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTypeTag)) {
    throw Napi::TypeError::New(value.Env(), "this is no Aes");
  }
  return *Unwrap(value.As<Napi::Object>());
}

Aes::Aes(const Info& info)
    : Napi::ObjectWrap<Aes>(info),
      mode_(static_cast<Mode>(unsignedAt(info, 0, "mode", static_cast<double>(Mode::kCounter)))) {
  const std::span<const uint8_t> key = bytesAt(info, 1);
  expect(key.size() == kKeyBytes, "a key has 32 bytes");
  const ErrorQueueMark mark;
  context_.reset(EVP_CIPHER_CTX_new());
  const EVP_CIPHER* cipher = cipherOf(mode_ == Mode::kCounter);
  require(static_cast<int>(context_ != nullptr && cipher != nullptr), "make a cipher");
  require(EVP_CipherInit_ex2(context(), cipher, key.data(), nullptr,
                             static_cast<int>(mode_ != Mode::kOpen), nullptr),
          "take the key");
  nonceBytes_ = static_cast<size_t>(EVP_CIPHER_CTX_get_iv_length(context()));
  info.This().As<Napi::Object>().TypeTag(&kTypeTag);
}

void Aes::begin(const Info& info) { begin(bytesAt(info, 0), bytesAt(info, 1)); }

void Aes::update(const Info& info) {
  const std::span<const uint8_t> source = bytesAt(info, 0);
  const std::span<uint8_t> target = bytesAt(info, 1);
  expectSameLength(source.size(), target.size());
  update(source.data(), target);
}

void Aes::seal(const Info& info) { seal(bytesAt(info, 0)); }

Napi::Value Aes::open(const Info& info) {
  return Napi::Boolean::New(info.Env(), open(bytesAt(info, 0)));
}

void Aes::sealMessage(const Info& info) {
  const std::span<const uint8_t> source = bytesAt(info, 2);
  const std::span<uint8_t> target = bytesAt(info, 3);
  expectSameLength(source.size(), messageBytes(target));
  sealMessage(bytesAt(info, 0), bytesAt(info, 1), source.data(), target);
}

Napi::Value Aes::openMessage(const Info& info) {
  const std::span<const uint8_t> sealed = bytesAt(info, 2);
  const std::span<uint8_t> target = bytesAt(info, 3);
  expectSameLength(messageBytes(sealed), target.size());
  begin(bytesAt(info, 0), bytesAt(info, 1));
  update(sealed.data(), target);
  return Napi::Boolean::New(info.Env(), open(sealed.last(kTagBytes)));
}

void Aes::wipe(const Info& /*info*/) { context_.reset(); }

size_t Aes::messageBytes(std::span<const uint8_t> target) {
  expect(target.size() >= kTagBytes, "there is no room for a tag");
  return target.size() - kTagBytes;
}

EVP_CIPHER_CTX* Aes::context() const {
  expect(context_ != nullptr, "the key has been wiped");
  return context_.get();
}

void Aes::begin(std::span<const uint8_t> nonce, std::span<const uint8_t> additional) {
  begun_ = false;
  const ErrorQueueMark mark;
  if (nonce.size() != nonceBytes_) {
    expect(mode_ != Mode::kCounter, "a counter block has 16 bytes");
    require(EVP_CIPHER_CTX_ctrl(context(), EVP_CTRL_AEAD_SET_IVLEN,
                                static_cast<int>(std::min(nonce.size(), kMaxPieceBytes)), nullptr),
            "take a nonce of this length");
    nonceBytes_ = nonce.size();
  }
  require(EVP_CipherInit_ex2(context(), nullptr, nullptr, nonce.data(), -1, nullptr),
          "take the nonce");
  if (!additional.empty()) {
    expect(mode_ != Mode::kCounter && additional.size() <= kMaxPieceBytes,
           "additional data is GCM's");
    int length = 0;
    require(EVP_CipherUpdate(context(), nullptr, &length, additional.data(),
                             static_cast<int>(additional.size())),
            "take the additional data");
  }
  begun_ = true;
}

void Aes::update(const uint8_t* source, std::span<uint8_t> target) {
  EVP_CIPHER_CTX* const context = this->context();
  expect(begun_, "no message has begun");
  const ErrorQueueMark mark;
  for (size_t at = 0; at < target.size();) {
    const size_t piece = std::min(target.size() - at, kMaxPieceBytes);
    int length = 0;
    require(EVP_CipherUpdate(context, target.data() + at, &length, source + at,
                             static_cast<int>(piece)),
            "go on with the message");
    at += piece;
  }
}

void Aes::seal(std::span<uint8_t> tag) {
  expect(begun_ && mode_ == Mode::kSeal, "no message to be sealed has begun");
  expect(tag.size() == kTagBytes, "a tag has 16 bytes");
  begun_ = false;
  const ErrorQueueMark mark;
  int length = 0;
  require(EVP_CipherFinal_ex(context(), tag.data(), &length), "end the message");
  require(EVP_CIPHER_CTX_ctrl(context(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()),
          "make the tag");
}

bool Aes::open(std::span<const uint8_t> tag) {
  expect(begun_ && mode_ == Mode::kOpen, "no message to be opened has begun");
  expect(tag.size() == kTagBytes, "a tag has 16 bytes");
  begun_ = false;
  const ErrorQueueMark mark;
  auto* expected = const_cast<uint8_t*>(tag.data());  // OpenSSL only reads it
  require(EVP_CIPHER_CTX_ctrl(context(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, expected),
          "take the tag");
  uint8_t none = 0;
  int length = 0;
  return EVP_CipherFinal_ex(context(), &none, &length) > 0;
}

void Aes::sealMessage(std::span<const uint8_t> nonce, std::span<const uint8_t> additional,
                      const uint8_t* source, std::span<uint8_t> target) {
  const size_t length = messageBytes(target);
  begin(nonce, additional);
  update(source, target.first(length));
  seal(target.last(kTagBytes));
}

}  // namespace cloudstore
