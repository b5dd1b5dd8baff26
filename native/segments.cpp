// SPDX-License-Identifier: GPL-3.0-or-later
#include "segments.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace cloudstore {
namespace {

constexpr size_t kSealedBytes = Segments::kSegmentBytes + Aes::kTagBytes;

uint64_t lastIndexOf(uint64_t plaintextBytes) {
  // An empty content has one segment, too.
  const uint64_t index = plaintextBytes == 0 ? 0 : (plaintextBytes - 1) / Segments::kSegmentBytes;
  if (index > std::numeric_limits<uint32_t>::max()) {
    throw std::length_error("segments: a nonce counts 2^32 of them");
  }
  return index;
}

}  // namespace

Segments::Segments(Aes::Mode mode, std::span<const uint8_t> key, std::span<const uint8_t> prefix,
                   std::span<const uint8_t> additional, uint64_t plaintextBytes)
    : aes_(mode, key),
      additional_(additional.begin(), additional.end()),
      plaintextBytes_(plaintextBytes),
      lastIndex_(lastIndexOf(plaintextBytes)) {
  if (prefix.size() != kPrefixBytes) {
    throw std::logic_error("segments: a prefix has 7 bytes");
  }
  std::ranges::copy(prefix, nonce_.begin());
}

Segments::Range Segments::contentOf(uint64_t position, size_t length) const {
  checkBounds(position, length);
  const uint64_t start = contentBefore(position);
  return {start, static_cast<size_t>(contentBefore(position + length) - start)};
}

void Segments::seal(uint64_t position, const uint8_t* content, std::span<uint8_t> target) {
  moveTo(position, target.size());
  while (!target.empty()) {
    const auto [index, offset, contentBytes] = placeOf(position_);
    if (offset == 0) {
      begin(index);
    }
    size_t length = 0;
    if (offset < contentBytes) {
      length = std::min(contentBytes - offset, target.size());
      aes_.update(content, target.first(length));
      content += length;
    } else {
      if (offset == contentBytes) {
        aes_.seal(tag_);
      }
      const auto rest = std::span(tag_).subspan(offset - contentBytes);
      length = std::min(rest.size(), target.size());
      std::copy_n(rest.begin(), length, target.begin());
    }
    target = target.subspan(length);
    position_ += length;
  }
}

bool Segments::open(uint64_t position, std::span<const uint8_t> sealed,
                    std::span<uint8_t> plaintext) {
  moveTo(position, sealed.size());
  bool hasEnded = false;
  while (!sealed.empty()) {
    const auto [index, offset, contentBytes] = placeOf(position_);
    const size_t slot = index % 2 * kSegmentBytes;
    if (hasEnded && offset + sealed.size() >= contentBytes + Aes::kTagBytes) {
      throw std::length_error("segments: two of them end here");
    }
    if (plaintext.size() < slot + contentBytes) {
      throw std::length_error("segments: no room for the plaintext");
    }
    if (offset == 0) {
      begin(index);
    }
    size_t length = 0;
    if (offset < contentBytes) {
      length = std::min(contentBytes - offset, sealed.size());
      aes_.update(sealed.data(), plaintext.subspan(slot + offset, length));
    } else {
      const auto rest = std::span(tag_).subspan(offset - contentBytes);
      length = std::min(rest.size(), sealed.size());
      std::copy_n(sealed.begin(), length, rest.begin());
      hasEnded = length == rest.size();
      if (hasEnded && !aes_.open(tag_)) {
        return false;
      }
    }
    sealed = sealed.subspan(length);
    position_ += length;
  }
  return true;
}

Segments::Place Segments::placeOf(uint64_t position) const {
  const uint64_t index = std::min(position / kSealedBytes, lastIndex_);
  const uint64_t contentBytes = plaintextBytes_ - index * kSegmentBytes;
  return {index, static_cast<size_t>(position - index * kSealedBytes),
          static_cast<size_t>(std::min<uint64_t>(contentBytes, kSegmentBytes))};
}

uint64_t Segments::contentBefore(uint64_t position) const {
  const auto [index, offset, contentBytes] = placeOf(position);
  return index * kSegmentBytes + std::min(offset, contentBytes);
}

void Segments::checkBounds(uint64_t position, size_t length) const {
  const uint64_t end = plaintextBytes_ + (lastIndex_ + 1) * Aes::kTagBytes;
  if (position > end || length > end - position) {
    throw std::length_error("segments: there are no more");
  }
}

/** @param length of what is to be sealed or opened from there on */
void Segments::moveTo(uint64_t position, size_t length) {
  checkBounds(position, length);
  if (position != position_ && position % kSealedBytes != 0) {
    throw std::logic_error("segments: only a segment's start can be gone to");
  }
  position_ = position;
}

void Segments::begin(uint64_t index) {
  constexpr unsigned kByteBits = 8;
  for (size_t byte = 0; byte < sizeof(uint32_t); byte++) {
    nonce_.at(kPrefixBytes + byte) =
        static_cast<uint8_t>(index >> (kByteBits * (sizeof(uint32_t) - 1 - byte)));
  }
  nonce_.back() = index == lastIndex_ ? 1 : 0;
  aes_.begin(nonce_, additional_);
}

}  // namespace cloudstore
