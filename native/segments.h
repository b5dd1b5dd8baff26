// SPDX-License-Identifier: GPL-3.0-or-later
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "aes.h"

namespace cloudstore {

/** What follows the header of one object in format A2: its segments, each followed by its tag
 * (docs/format-a2.md), wherever the pieces end in which they come and go. The same as
 * src/encryption/segments.ts in a call per piece, where that makes four per segment
 * (test/bench/encryption.mjs).
 *
 * Positions count from the first segment's first byte. A piece begins where the one before ended,
 * or at the start of a segment.
 *
 *  thread: one at a time. Throws as Aes does, std::logic_error also for a position from which it
 * cannot go on. */
class Segments {
 public:
  static constexpr size_t kSegmentBytes = 65'536;
  static constexpr size_t kPrefixBytes = 7;

  struct Range {
    uint64_t start;
    size_t length;
  };

  /** @param mode kSeal or kOpen
   *  @param prefix with which the nonces of all segments begin
   *  @param additional data that the tag of each segment covers
   *  @param plaintextBytes of the whole content: the last segment is sealed as such */
  Segments(Aes::Mode mode, std::span<const uint8_t> key, std::span<const uint8_t> prefix,
           std::span<const uint8_t> additional, uint64_t plaintextBytes);

  /** The part of the content that is in these bytes of the segments. */
  [[nodiscard]] Range contentOf(uint64_t position, size_t length) const;
  /** @param content what contentOf(position, target.size()) says */
  void seal(uint64_t position, const uint8_t* content, std::span<uint8_t> target);
  /** Takes a piece in which at most one segment ends.
   *  @param plaintext room for two segments, as one begins in the piece that ends another: segment
   * i comes into place i mod 2, over all its pieces
   *  @returns false where a segment ends that is not authentic: what the plaintext has is worth
   * nothing then */
  bool open(uint64_t position, std::span<const uint8_t> sealed, std::span<uint8_t> plaintext);

 private:
  static constexpr size_t kNonceBytes = 12;

  struct Place {
    uint64_t index;
    size_t offset;
    size_t contentBytes;  // of that segment
  };

  [[nodiscard]] Place placeOf(uint64_t position) const;
  [[nodiscard]] uint64_t contentBefore(uint64_t position) const;
  void checkBounds(uint64_t position, size_t length) const;
  void moveTo(uint64_t position, size_t length);
  void begin(uint64_t index);

  Aes aes_;
  const std::vector<uint8_t> additional_;
  const uint64_t plaintextBytes_;
  const uint64_t lastIndex_;
  std::array<uint8_t, kNonceBytes> nonce_{};
  /** Of the segment that is under way, as far as it is known. */
  std::array<uint8_t, Aes::kTagBytes> tag_{};
  uint64_t position_ = 0;
};

}  // namespace cloudstore
