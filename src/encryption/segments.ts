// SPDX-License-Identifier: GPL-3.0-or-later
// The segments of one object in format A2, sealed and opened wherever the pieces end in which they come and go. The plugin has this from
// the shim (native/segments.cpp), which takes a call for what takes four per segment here; the command line has what is here.
//
// Positions count from the first segment's first byte. A piece begins where the one before ended, or at the start of a segment.

import type { Body } from '../store/object-store.ts';
import type { A2Secrets } from './a2.ts';
import { type Aes, createNodeAes } from './aes.ts';
import { placeInSegments, SEGMENT_BYTES, segmentCount, segmentOf, TAG_BYTES } from './sizes.ts';

/** Belongs to whoever made it, to be wiped. */
export interface SegmentSealer {
  /** Fills the target with sealed bytes. @throws what reading the content throws */
  seal(content: Body, position: number, target: Uint8Array): void;
  wipe(): void;
}

/** Belongs to whoever made it, to be wiped. */
export interface SegmentOpener {
  /** Takes a piece in which at most one segment ends.
   *  @param plaintext room for two segments, as one begins in the piece that ends another: segment i comes into place i mod 2
   *  (`plaintextOf`), over all its pieces
   *  @returns false where a segment ends that is not authentic: what the plaintext has is worth nothing then */
  open(position: number, sealed: Uint8Array, plaintext: Uint8Array): boolean;
  wipe(): void;
}

const NONCE_BYTES = 12;

export const PLAINTEXT_BYTES = 2 * SEGMENT_BYTES;

/** The content of a segment in an opener's plaintext. */
export function plaintextOf(index: number, sizeBytes: number, plaintext: Uint8Array): Uint8Array {
  const start = startOfPlaintext(index);
  return plaintext.subarray(start, start + sizeBytes);
}

function startOfPlaintext(index: number): number {
  return (index % 2) * SEGMENT_BYTES;
}

export function createNodeSealer(secrets: A2Secrets, plaintextBytes: number): SegmentSealer {
  const aes = createNodeAes('seal', secrets.dek);
  const goTo = createGuide(aes, secrets, plaintextBytes);
  const tag = Buffer.alloc(TAG_BYTES);

  /** @returns how many bytes of the target it filled: those of a segment's content, or of its tag */
  function sealSome(content: Body, position: number, target: Uint8Array): number {
    const { start, offset, contentBytes } = goTo(position);
    if (offset < contentBytes) {
      const length = Math.min(contentBytes - offset, target.length);
      aes.updateFrom(content, start + offset, target.subarray(0, length));
      return length;
    }
    if (offset === contentBytes) aes.seal(tag);
    const rest = tag.subarray(offset - contentBytes).subarray(0, target.length);
    target.set(rest);
    return rest.length;
  }

  return {
    seal(content, position, target) {
      for (let done = 0; done < target.length; ) {
        done += sealSome(content, position + done, target.subarray(done));
      }
    },
    wipe: () => {
      aes.wipe();
    },
  };
}

export function createNodeOpener(secrets: A2Secrets, plaintextBytes: number): SegmentOpener {
  const aes = createNodeAes('open', secrets.dek);
  const goTo = createGuide(aes, secrets, plaintextBytes);
  const tag = Buffer.alloc(TAG_BYTES);

  /** @returns how many of the bytes it took: of a segment's content, or of its tag; undefined where that ends one that is not
   *  authentic */
  function openSome(
    position: number,
    sealed: Uint8Array,
    plaintext: Uint8Array,
  ): number | undefined {
    const { index, offset, contentBytes } = goTo(position);
    if (offset < contentBytes) {
      const part = sealed.subarray(0, contentBytes - offset);
      const at = startOfPlaintext(index) + offset;
      aes.update(part, plaintext.subarray(at, at + part.length));
      return part.length;
    }
    const tagOffset = offset - contentBytes;
    const part = sealed.subarray(0, TAG_BYTES - tagOffset);
    tag.set(part, tagOffset);
    const hasEnded = tagOffset + part.length === TAG_BYTES;
    return hasEnded && !aes.open(tag) ? undefined : part.length;
  }

  return {
    open(position, sealed, plaintext) {
      for (let done = 0; done < sealed.length; ) {
        const length = openSome(position + done, sealed.subarray(done), plaintext);
        if (length === undefined) return false;
        done += length;
      }
      return true;
    },
    wipe: () => {
      aes.wipe();
    },
  };
}

interface Place {
  /** Of the segment. */
  readonly index: number;
  /** Of its content, in the whole one. */
  readonly start: number;
  readonly contentBytes: number;
  /** In the segment: its content comes first, then its tag. */
  readonly offset: number;
}

/** @returns what tells where a position is, and begins a segment at its start */
function createGuide(
  aes: Aes,
  { prefix, aad }: A2Secrets,
  plaintextBytes: number,
): (position: number) => Place {
  const lastIndex = segmentCount(plaintextBytes) - 1;
  const nonce = Buffer.concat([prefix], NONCE_BYTES);
  return (position) => {
    const { index, offset } = placeInSegments(position);
    const { start, end } = segmentOf(index, plaintextBytes);
    if (offset === 0) {
      nonce.writeUInt32BE(index, prefix.length);
      nonce[NONCE_BYTES - 1] = index === lastIndex ? 1 : 0;
      aes.begin(nonce, aad);
    }
    return { index, start, contentBytes: end - start, offset };
  };
}
