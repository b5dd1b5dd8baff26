// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <openssl/types.h>

#include <cstdint>
#include <memory>
#include <span>

namespace cloudstore {

/** AES-256 as the encrypted formats need it, with one key, by the OpenSSL that libnode has loaded.
 * It writes into memory of the caller's; node:crypto, which makes a cipher for each message and a
 * buffer for each piece, reaches a third of the speed (test/bench/encryption.mjs).
 *
 *  thread: one at a time. Owns the key's schedule, which OpenSSL wipes. Throws std::logic_error for
 * calls out of order or of wrong lengths, std::runtime_error where OpenSSL fails. */
class Aes {
 public:
  /** The numbers are those of src/encryption/native-ciphers.ts. */
  enum class Mode : uint8_t {
    kSeal = 0,    // GCM, encrypts
    kOpen = 1,    // GCM, decrypts
    kCounter = 2  // CTR, which is its own inverse
  };
  static constexpr size_t kKeyBytes = 32;
  static constexpr size_t kTagBytes = 16;

  Aes(Mode mode, std::span<const uint8_t> key);
  ~Aes();
  Aes(const Aes&) = delete;
  Aes& operator=(const Aes&) = delete;

  /** Begins a message. @param nonce of counter mode, the first counter block
   *  @param additional data that the tag covers; none in counter mode */
  void begin(std::span<const uint8_t> nonce, std::span<const uint8_t> additional);
  /** The message's next bytes. @param source has as many bytes as the target, and is the same
   * memory or other one */
  void update(const uint8_t* source, std::span<uint8_t> target);
  /** Ends a message that was encrypted. */
  void seal(std::span<uint8_t> tag);
  /** Ends a message that was decrypted. @returns whether it is authentic: else what came out of it
   * is worth nothing */
  bool open(std::span<const uint8_t> tag);

 private:
  struct FreeContext {
    void operator()(EVP_CIPHER_CTX* context) const;
  };

  const Mode mode_;
  const std::unique_ptr<EVP_CIPHER_CTX, FreeContext> context_;
  size_t nonceBytes_ = 0;
  bool begun_ = false;
};

}  // namespace cloudstore
