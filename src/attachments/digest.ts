// SPDX-License-Identifier: GPL-3.0-or-later
// Compares contents by size and MD5, as in Orthanc's index.

import { createHash } from 'node:crypto';
import { isLookalike, MAGIC_BYTES } from '../encryption/header.ts';
import { StorageError } from '../errors.ts';
import type { GetOptions, Sink } from '../store/object-store.ts';
import type { Attachment, AttachmentStore } from './attachments.ts';

export interface Digest {
  readonly sizeBytes: number;
  readonly md5Hex: string;
  /** See `isLookalike` of encryption/header.ts. */
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
  const digester = new Digester();
  await store.get(attachment, undefined, digester, options);
  return digester.digest();
}

/** @param what the subject of the message
 *  @throws StorageError INTEGRITY if they differ */
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

export class Digester implements Sink {
  readonly #head = Buffer.alloc(MAGIC_BYTES);
  #hash = createHash('md5');
  #sizeBytes = 0;
  #position = 0;

  begin(sizeBytes: number): void {
    this.#hash = createHash('md5');
    this.#sizeBytes = sizeBytes;
    this.#position = 0;
  }

  write(offset: number, piece: Uint8Array): void {
    this.#hash.update(piece);
    if (offset < MAGIC_BYTES) this.#head.set(piece.subarray(0, MAGIC_BYTES - offset), offset);
    this.#position += piece.length;
  }

  /** @throws StorageError SHORT_BODY */
  digest(): Digest {
    const sizeBytes = this.#sizeBytes;
    if (this.#position !== sizeBytes) {
      throw new StorageError('SHORT_BODY', `${this.#position} bytes came instead of ${sizeBytes}`);
    }
    // A hash can be finished once only; the copy is finished here.
    const md5Hex = this.#hash.copy().digest('hex');
    return { sizeBytes, md5Hex, isLookalike: isLookalike(this.#head, sizeBytes) };
  }
}
