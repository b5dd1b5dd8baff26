// SPDX-License-Identifier: GPL-3.0-or-later
// Decrypts any part of a local encrypted object, when it is read.

import type { KeyObject } from 'node:crypto';
import { bodyFrom } from '../store/bodies.ts';
import type { Body } from '../store/object-store.ts';
import { type A1Secrets, createA1Counter, openA1 } from './a1.ts';
import { type A2Secrets, notAuthentic, type ObjectIdentity, openA2, openSegment } from './a2.ts';
import type { CreateAes } from './aes.ts';
import { LONGEST_HEADER_BYTES, parseHeader } from './header.ts';
import {
  A1_HEADER_BYTES,
  coveringSegments,
  plaintextSize,
  SEGMENT_BYTES,
  sealedRange,
  TAG_BYTES,
} from './sizes.ts';

export interface OpenedObject {
  readonly content: Body;
  /** Wipes the secrets. */
  wipe(): void;
}

export interface ObjectKeys {
  readonly find: (keyId: number) => KeyObject;
  readonly createAes: CreateAes;
}

/** @param object must have been verified whole: reads of A1 verify nothing, reads of A2 their segments
 *  @throws StorageError INTEGRITY, UNKNOWN_KEY */
export function openObject(
  object: Body,
  { find, createAes }: ObjectKeys,
  identity: ObjectIdentity & { readonly contentType: number },
): OpenedObject {
  const header = parseHeader(object.read(0, Math.min(LONGEST_HEADER_BYTES, object.sizeBytes)));
  const key = find(header.keyId);
  return header.format === 'A1'
    ? openA1Object(object, openA1(header, key), createAes)
    : openA2Object(object, openA2(header, key, identity.uuid, identity.contentType), createAes);
}

function openA1Object(object: Body, secrets: A1Secrets, createAes: CreateAes): OpenedObject {
  const counter = createA1Counter(createAes, secrets);
  return {
    content: bodyFrom(plaintextSize('A1', object.sizeBytes), (start, target) => {
      counter.run(start, start + target.length, (aes, from, to) => {
        const part = object.read(A1_HEADER_BYTES + from, A1_HEADER_BYTES + to);
        aes.update(part, target.subarray(from - start, to - start));
      });
    }),
    wipe: () => {
      counter.wipe();
      secrets.dek.fill(0);
      secrets.iv.fill(0);
    },
  };
}

function openA2Object(object: Body, secrets: A2Secrets, createAes: CreateAes): OpenedObject {
  const sizeBytes = plaintextSize('A2', object.sizeBytes);
  const aes = createAes('open', secrets.dek);
  const plaintext = Buffer.allocUnsafeSlow(Math.min(SEGMENT_BYTES, sizeBytes));

  function open(index: number): Uint8Array {
    const range = sealedRange({ start: index, end: index + 1 }, object.sizeBytes);
    const sealed = object.read(range.start, range.end);
    const segment = plaintext.subarray(0, sealed.length - TAG_BYTES);
    if (openSegment(aes, secrets, sizeBytes, index, sealed, segment)) return segment;
    throw notAuthentic(index);
  }

  return {
    content: bodyFrom(sizeBytes, (start, target) => {
      const end = start + target.length;
      const segments = coveringSegments({ start, end });
      for (let index = segments.start; index < segments.end; index++) {
        const at = index * SEGMENT_BYTES;
        const from = Math.max(start - at, 0);
        target.set(open(index).subarray(from, end - at), at + from - start);
      }
    }),
    wipe: () => {
      aes.wipe();
      secrets.dek.fill(0);
    },
  };
}
