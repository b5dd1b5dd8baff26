// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <napi.h>
#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <span>

namespace cloudstore {

/** AES-256 with one key, for TypeScript (src/encryption/native-aes.ts), by the OpenSSL that libnode
 * has loaded. node:crypto makes a cipher for each message and a buffer for each piece; this writes
 * into memory of the caller's.
 *
 *  thread: js-loop only. Owned by JavaScript; owns the key's schedule, which OpenSSL wipes, and
 * keeps no memory of the callers'. Methods throw std::logic_error for calls out of order, of wrong
 * lengths, or once wiped; std::runtime_error where OpenSSL fails. */
class Aes : public Napi::ObjectWrap<Aes> {
 public:
  /** The class, for a module's exports. */
  static Napi::Function define(Napi::Env env);
  /** @throws Napi::TypeError for a value that is no object of this class */
  static Aes& of(const Napi::Value& value);

  explicit Aes(const Napi::CallbackInfo& info);

  /** The next bytes of a message. @param source has as many bytes as the target, and is the same
   * memory or other one */
  void update(const uint8_t* source, std::span<uint8_t> target);
  /** @param target takes the message and, in its last bytes, the tag */
  void sealMessage(std::span<const uint8_t> nonce, std::span<const uint8_t> additional,
                   const uint8_t* source, std::span<uint8_t> target);
  /** @returns the length of the message that fills this target with its tag */
  static size_t messageBytes(std::span<const uint8_t> target);

 private:
  using Info = Napi::CallbackInfo;
  /** The numbers are those of src/encryption/native-aes.ts. */
  enum class Mode : uint8_t {
    kSeal = 0,    // GCM, encrypts
    kOpen = 1,    // GCM, decrypts
    kCounter = 2  // CTR, which is its own inverse
  };
  struct FreeContext {
    void operator()(EVP_CIPHER_CTX* context) const;
  };

  void begin(const Info& info);
  void update(const Info& info);
  void seal(const Info& info);
  Napi::Value open(const Info& info);
  void sealMessage(const Info& info);
  Napi::Value openMessage(const Info& info);
  void wipe(const Info& info);

  void begin(std::span<const uint8_t> nonce, std::span<const uint8_t> additional);
  void seal(std::span<uint8_t> tag);
  bool open(std::span<const uint8_t> tag);
  [[nodiscard]] EVP_CIPHER_CTX* context() const;

  const Mode mode_;
  std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context_;  // nullptr once wiped
  size_t nonceBytes_ = 0;
  bool begun_ = false;
};

}  // namespace cloudstore
