// SPDX-License-Identifier: GPL-3.0-or-later
// What can be told of an object without any key.

import { StorageError } from '../errors.ts';
import type { Body, ObjectStore, OperationOptions, Sink } from '../store/object-store.ts';
import { detectFormat } from './header.ts';
import {
  A2_HEADER_BYTES,
  type EncryptionFormat,
  keyIdOf,
  plaintextSize,
  segmentCount,
} from './sizes.ts';

export interface Head {
  /** As many as the header of A2 has; none of an object that has fewer. */
  readonly bytes: Uint8Array;
  readonly totalBytes: number;
}

export interface EncryptionDescription {
  readonly format: EncryptionFormat;
  readonly keyId: number;
  readonly contentBytes: number;
  /** Of A2. */
  readonly segments?: number;
}

/** By what it says of itself: nothing of it is verified.
 *  @param head the first bytes, as many as there are up to 53
 *  @returns undefined where it is not encrypted
 *  @throws StorageError INTEGRITY for an object that begins as an encrypted one and has no size of one */
export function describeEncryption(
  head: Uint8Array,
  totalBytes: number,
): EncryptionDescription | undefined {
  const format = detectFormat(head);
  if (format === undefined) return undefined;
  const contentBytes = plaintextSize(format, totalBytes);
  const keyId = keyIdOf(head);
  return format === 'A1'
    ? { format, keyId, contentBytes }
    : { format, keyId, contentBytes, segments: segmentCount(contentBytes) };
}

/** Of what is at hand. */
export function headOf(object: Body): Head {
  const { sizeBytes } = object;
  return { bytes: object.read(0, Math.min(sizeBytes, A2_HEADER_BYTES)), totalBytes: sizeBytes };
}

/** One request, or two for an object that is shorter than a header. */
export async function readHead(
  store: Pick<ObjectStore, 'get' | 'head'>,
  key: string,
  { signal }: OperationOptions,
): Promise<Head> {
  let bytes = Buffer.alloc(0);
  let totalBytes = 0;
  const sink: Sink = {
    begin(sizeBytes, total) {
      bytes = Buffer.alloc(sizeBytes);
      totalBytes = total;
    },
    write: (offset, piece) => bytes.set(piece, offset),
  };
  try {
    await store.get(key, { start: 0, end: A2_HEADER_BYTES }, sink, { signal });
  } catch (error) {
    if (!(error instanceof StorageError && error.code === 'BAD_RANGE')) throw error;
    const head = await store.head(key, { signal });
    return { bytes: Buffer.alloc(0), totalBytes: head?.sizeBytes ?? 0 };
  }
  return { bytes, totalBytes };
}
