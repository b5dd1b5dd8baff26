// SPDX-License-Identifier: GPL-3.0-or-later
// Contents are compared by size and MD5, which Orthanc's index has.

import { createHash } from 'node:crypto';
import { isLookalike, MAGIC_BYTES } from '../encryption/header.ts';
import { StorageError } from '../errors.ts';
import type { GetOptions, Sink } from '../store/object-store.ts';
import type { Attachment, AttachmentStore } from './attachments.ts';

export interface Digest {
  readonly sizeBytes: number;
  readonly md5Hex: string;
  /** See `isLookalike`: its first bytes may decide how it is stored. */
  readonly isLookalike: boolean;
}

export interface Expected {
  readonly sizeBytes: number | undefined;
  readonly md5Hex: string | undefined;
}

export async function digestOf(
  store: AttachmentStore,
  attachment: Attachment,
  options: GetOptions,
): Promise<Digest> {
  const digester = createDigester();
  await store.get(attachment, undefined, digester.sink, options);
  return digester.digest();
}

/** @param what the subject of the message
 *  @throws StorageError INTEGRITY where they differ */
export function requireDigest(actual: Digest, expected: Expected, what: string): void {
  if (expected.sizeBytes !== undefined && actual.sizeBytes !== expected.sizeBytes) {
    throw new StorageError(
      'INTEGRITY',
      `${what} has ${actual.sizeBytes} bytes instead of ${expected.sizeBytes}`,
    );
  }
  if (expected.md5Hex !== undefined && actual.md5Hex !== expected.md5Hex) {
    throw new StorageError(
      'INTEGRITY',
      `${what} has the MD5 ${actual.md5Hex} instead of ${expected.md5Hex}`,
    );
  }
}

export function createDigester(): { readonly sink: Sink; digest(): Digest } {
  let hash = createHash('md5');
  let sizeBytes = 0;
  let position = 0;
  const head = Buffer.alloc(MAGIC_BYTES);
  return {
    sink: {
      begin: (size) => {
        hash = createHash('md5');
        sizeBytes = size;
        position = 0;
      },
      write: (offset, piece) => {
        hash.update(piece);
        if (offset < head.length) head.set(piece.subarray(0, head.length - offset), offset);
        position += piece.length;
      },
    },
    digest: () => {
      if (position !== sizeBytes) {
        throw new StorageError('SHORT_BODY', `${position} bytes came instead of ${sizeBytes}`);
      }
      // A hash gives its digest once: a copy keeps this one going.
      const md5Hex = hash.copy().digest('hex');
      return { sizeBytes, md5Hex, isLookalike: isLookalike(head, sizeBytes) };
    },
  };
}
