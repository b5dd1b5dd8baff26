// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import type { ByteRange } from '../store/object-store.ts';

export type EncryptionFormat = 'A1' | 'A2';

export const TAG_BYTES = 16;
/** A uint32, little-endian, in both headers. */
export const KEY_ID_OFFSET = 2;
/** "A1" 2 · key id 4 · EIV 32 · EDEK 32. */
export const A1_HEADER_BYTES = 70;
export const A1_OVERHEAD_BYTES = A1_HEADER_BYTES + TAG_BYTES;
/** "A2" 2 · key id 4 · nonce prefix 7 · EDEK 40. */
export const A2_HEADER_BYTES = 53;
/** Plaintext bytes of each segment of A2 but the last. */
export const SEGMENT_BYTES = 65_536;
export const SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES;

/** GCM's limit for one key and IV, 2^39 - 256 bits. @see NIST SP 800-38D, 5.2.1.1 */
export const A1_MAX_PLAINTEXT_BYTES = 2 ** 36 - 32;
/** The segment number is a uint32. */
const A2_MAX_SEGMENTS = 2 ** 32;
export const A2_MAX_PLAINTEXT_BYTES = A2_MAX_SEGMENTS * SEGMENT_BYTES;

const MAX_PLAINTEXT_BYTES = {
  A1: A1_MAX_PLAINTEXT_BYTES,
  A2: A2_MAX_PLAINTEXT_BYTES,
} as const satisfies Record<EncryptionFormat, number>;

/** The size of the object that holds a content of this size.
 *  @throws StorageError INTERNAL for a content beyond the format's limit: 64 GiB in A1, 256 TiB in A2 */
export function ciphertextSize(format: EncryptionFormat, plaintextBytes: number): number {
  if (plaintextBytes > MAX_PLAINTEXT_BYTES[format]) {
    throw new StorageError(
      'INTERNAL',
      `a content of ${plaintextBytes} bytes is too large for encryption format ${format}, which ends at ${MAX_PLAINTEXT_BYTES[format]}`,
    );
  }
  if (format === 'A1') return plaintextBytes + A1_OVERHEAD_BYTES;
  return A2_HEADER_BYTES + plaintextBytes + segmentCount(plaintextBytes) * TAG_BYTES;
}

/** The size of the content in an object of this size.
 *  @throws StorageError INTEGRITY for a size that no object of the format has */
export function plaintextSize(format: EncryptionFormat, ciphertextBytes: number): number {
  const plaintextBytes =
    format === 'A1' ? ciphertextBytes - A1_OVERHEAD_BYTES : plaintextSizeA2(ciphertextBytes);
  if (plaintextBytes < 0 || plaintextBytes > MAX_PLAINTEXT_BYTES[format]) {
    throw new StorageError(
      'INTEGRITY',
      `${ciphertextBytes} bytes is no size of an object in encryption format ${format}: it was cut or altered`,
    );
  }
  return plaintextBytes;
}

/** @returns -1 for an impossible size */
function plaintextSizeA2(ciphertextBytes: number): number {
  const sealedBytes = ciphertextBytes - A2_HEADER_BYTES;
  const lastBytes = sealedBytes % SEALED_SEGMENT_BYTES;
  const full = Math.floor(sealedBytes / SEALED_SEGMENT_BYTES);
  if (sealedBytes < TAG_BYTES) return -1;
  if (lastBytes === 0) return full * SEGMENT_BYTES;
  // Only the sole segment may be empty.
  const isPossible = lastBytes > TAG_BYTES || (lastBytes === TAG_BYTES && full === 0);
  return isPossible ? full * SEGMENT_BYTES + lastBytes - TAG_BYTES : -1;
}

/** An empty content has one empty segment. */
export function segmentCount(plaintextBytes: number): number {
  return Math.max(1, Math.ceil(plaintextBytes / SEGMENT_BYTES));
}

/** The range of segment `index` in the content. */
export function segmentOf(index: number, plaintextBytes: number): ByteRange {
  const start = index * SEGMENT_BYTES;
  return { start, end: Math.min(start + SEGMENT_BYTES, plaintextBytes) };
}

/** Bytes of segment `index` with its tag; negative behind the last segment. */
export function sealedSegmentBytes(index: number, plaintextBytes: number): number {
  const { start, end } = segmentOf(index, plaintextBytes);
  return end - start + TAG_BYTES;
}

/** The segment that holds a byte of an A2 object, and the byte's offset in the encrypted segment.
 *  @param position counts from the first segment's first byte */
export function placeInSegments(position: number): {
  readonly index: number;
  readonly offset: number;
} {
  const offset = position % SEALED_SEGMENT_BYTES;
  return { index: (position - offset) / SEALED_SEGMENT_BYTES, offset };
}

/** The segments that hold a range of the plaintext: a half-open range of indices. */
export function coveringSegments(plaintext: ByteRange): ByteRange {
  return {
    start: Math.floor(plaintext.start / SEGMENT_BYTES),
    end: Math.ceil(plaintext.end / SEGMENT_BYTES),
  };
}

/** The bytes of a half-open range of segments in an A2 object.
 *  @param ciphertextBytes the object's size; undefined: unknown, and the last segment counts as full */
export function sealedRange(segments: ByteRange, ciphertextBytes?: number): ByteRange {
  const end = A2_HEADER_BYTES + segments.end * SEALED_SEGMENT_BYTES;
  return {
    start: A2_HEADER_BYTES + segments.start * SEALED_SEGMENT_BYTES,
    end: Math.min(end, ciphertextBytes ?? end),
  };
}

/** @param head the first six bytes or more of an encrypted object */
export function keyIdOf(head: Uint8Array): number {
  return Buffer.from(head.buffer, head.byteOffset, head.byteLength).readUInt32LE(KEY_ID_OFFSET);
}
