// SPDX-License-Identifier: GPL-3.0-or-later
// The content of an encrypted object that is at hand, decrypted where it is read: any part of it, any number of times, in little memory.

import type { KeyObject } from 'node:crypto';
import type { Body } from '../store/object-store.ts';
import { type A1Header, encryptA1Part, firstCounterBlock, openA1 } from './a1.ts';
import { type A2Header, type ObjectIdentity, openA2, openSegment } from './a2.ts';
import { LONGEST_HEADER_BYTES, parseHeader } from './header.ts';
import {
  A1_HEADER_BYTES,
  coveringSegments,
  plaintextSize,
  SEGMENT_BYTES,
  sealedRange,
  segmentCount,
} from './sizes.ts';

export interface OpenedObject {
  readonly content: Body;
  /** Ends the secrets. */
  wipe(): void;
}

/** Of AES, in counter mode. */
const BLOCK_BYTES = 16;

/** @param object verified as a whole before: nothing less can be verified of A1, and nothing is here. Of A2 each read verifies what it
 *  reads.
 *  @throws StorageError INTEGRITY, UNKNOWN_KEY */
export function openObject(
  object: Body,
  find: (keyId: number) => KeyObject,
  identity: ObjectIdentity & { readonly contentType: number },
): OpenedObject {
  const header = parseHeader(object.read(0, Math.min(LONGEST_HEADER_BYTES, object.sizeBytes)));
  const key = find(header.keyId);
  return header.format === 'A1'
    ? openA1Object(object, header, key)
    : openA2Object(object, header, key, identity);
}

function openA1Object(object: Body, header: A1Header, key: KeyObject): OpenedObject {
  const secrets = openA1(header, key);
  const counterBlock = firstCounterBlock(secrets);
  return {
    content: bodyOf(plaintextSize('A1', object.sizeBytes), (start, target) => {
      const first = start - (start % BLOCK_BYTES);
      const end = start + target.length;
      const part = object.read(A1_HEADER_BYTES + first, A1_HEADER_BYTES + end);
      // Counter mode is its own inverse.
      const plaintext = encryptA1Part(secrets, counterBlock, first, part);
      target.set(plaintext.subarray(start - first));
    }),
    wipe: () => {
      secrets.dek.fill(0);
      secrets.iv.fill(0);
    },
  };
}

function openA2Object(
  object: Body,
  header: A2Header,
  key: KeyObject,
  { uuid, contentType }: ObjectIdentity & { readonly contentType: number },
): OpenedObject {
  const secrets = openA2(header, key, uuid, contentType);
  const sizeBytes = plaintextSize('A2', object.sizeBytes);
  const lastIndex = segmentCount(sizeBytes) - 1;
  return {
    content: bodyOf(sizeBytes, (start, target) => {
      const end = start + target.length;
      const segments = coveringSegments({ start, end });
      for (let index = segments.start; index < segments.end; index++) {
        const sealed = sealedRange({ start: index, end: index + 1 }, object.sizeBytes);
        const plaintext = openSegment(
          secrets,
          index,
          index === lastIndex,
          object.read(sealed.start, sealed.end),
        );
        const at = index * SEGMENT_BYTES;
        const from = Math.max(start - at, 0);
        target.set(plaintext.subarray(from, end - at), at + from - start);
      }
    }),
    wipe: () => {
      secrets.dek.fill(0);
    },
  };
}

function bodyOf(sizeBytes: number, readInto: (start: number, target: Uint8Array) => void): Body {
  return {
    sizeBytes,
    readInto,
    read: (start, end) => {
      const target = Buffer.allocUnsafeSlow(end - start);
      readInto(start, target);
      return target;
    },
  };
}
