// SPDX-License-Identifier: GPL-3.0-or-later

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
  /** The first 53 bytes. `readHead` gives none of a smaller object. */
  readonly bytes: Uint8Array;
  readonly totalBytes: number;
}

export interface EncryptionDescription {
  readonly format: EncryptionFormat;
  readonly keyId: number;
  readonly contentBytes: number;
  readonly segments?: number;
}

/** Verifies nothing.
 *  @param head the first 53 bytes, fewer of a smaller object
 *  @returns undefined if it is not encrypted
 *  @throws StorageError INTEGRITY if its size is impossible for its format */
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

export function headOf(object: Body): Head {
  const { sizeBytes } = object;
  return { bytes: object.read(0, Math.min(sizeBytes, A2_HEADER_BYTES)), totalBytes: sizeBytes };
}

/** One request, or two for an object of fewer than 53 bytes. */
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
