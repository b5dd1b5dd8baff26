// SPDX-License-Identifier: GPL-3.0-or-later
#include "aes.h"

#include <openssl/err.h>
#include <openssl/evp.h>

#include <algorithm>
#include <stdexcept>
#include <string>

namespace cloudstore {
namespace {

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

void require(int status, const char* what) {
  if (status <= 0) {
    throw std::runtime_error(std::string("OpenSSL cannot ") + what);
  }
}

/** Found once: looking an algorithm up by its name takes longer than to encrypt 10 kB. */
const EVP_CIPHER* cipherOf(Aes::Mode mode) {
  // Until the process ends, since libnode's OpenSSL does.
  static const EVP_CIPHER* const gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  static const EVP_CIPHER* const counter = EVP_CIPHER_fetch(nullptr, "AES-256-CTR", nullptr);
  return mode == Aes::Mode::kCounter ? counter : gcm;
}

}  // namespace

void Aes::FreeContext::operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }

Aes::Aes(Mode mode, std::span<const uint8_t> key) : mode_(mode), context_(EVP_CIPHER_CTX_new()) {
  expect(key.size() == kKeyBytes, "a key has 32 bytes");
  const ErrorQueueMark mark;
  const EVP_CIPHER* cipher = cipherOf(mode);
  require(static_cast<int>(context_ != nullptr && cipher != nullptr), "make a cipher");
  require(EVP_CipherInit_ex2(context_.get(), cipher, key.data(), nullptr,
                             static_cast<int>(mode != Mode::kOpen), nullptr),
          "take the key");
  nonceBytes_ = static_cast<size_t>(EVP_CIPHER_CTX_get_iv_length(context_.get()));
}

Aes::~Aes() = default;

void Aes::begin(std::span<const uint8_t> nonce, std::span<const uint8_t> additional) {
  begun_ = false;
  const ErrorQueueMark mark;
  if (nonce.size() != nonceBytes_) {
    expect(mode_ != Mode::kCounter, "a counter block has 16 bytes");
    require(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_IVLEN,
                                static_cast<int>(std::min(nonce.size(), kMaxPieceBytes)), nullptr),
            "take a nonce of this length");
    nonceBytes_ = nonce.size();
  }
  require(EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, nonce.data(), -1, nullptr),
          "take the nonce");
  if (!additional.empty()) {
    expect(mode_ != Mode::kCounter && additional.size() <= kMaxPieceBytes,
           "additional data is GCM's");
    int length = 0;
    require(EVP_CipherUpdate(context_.get(), nullptr, &length, additional.data(),
                             static_cast<int>(additional.size())),
            "take the additional data");
  }
  begun_ = true;
}

void Aes::update(const uint8_t* source, std::span<uint8_t> target) {
  expect(begun_, "no message has begun");
  const ErrorQueueMark mark;
  for (size_t at = 0; at < target.size();) {
    const size_t piece = std::min(target.size() - at, kMaxPieceBytes);
    int length = 0;
    require(EVP_CipherUpdate(context_.get(), target.data() + at, &length, source + at,
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
  require(EVP_CipherFinal_ex(context_.get(), tag.data(), &length), "end the message");
  require(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag.data()),
          "make the tag");
}

bool Aes::open(std::span<const uint8_t> tag) {
  expect(begun_ && mode_ == Mode::kOpen, "no message to be opened has begun");
  expect(tag.size() == kTagBytes, "a tag has 16 bytes");
  begun_ = false;
  const ErrorQueueMark mark;
  auto* expected = const_cast<uint8_t*>(tag.data());  // OpenSSL only reads it
  require(EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kTagBytes, expected),
          "take the tag");
  uint8_t none = 0;
  int length = 0;
  return EVP_CipherFinal_ex(context_.get(), &none, &length) > 0;
}

}  // namespace cloudstore
