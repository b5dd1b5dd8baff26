// SPDX-License-Identifier: GPL-3.0-or-later

import { createHash } from 'node:crypto';
import { StorageError, toStorageError } from '../errors.ts';
import type { Body, OperationOptions, Sink } from '../store/object-store.ts';

export interface Digest {
  readonly sizeBytes: number;
  readonly md5Hex: string;
}

/** What is known of a content beforehand. */
export interface Expected {
  readonly sizeBytes: number | undefined;
  readonly md5Hex: string | undefined;
}

/** How one content is read, and where it is written; a store of objects or of attachments with the name filled in. */
export interface CopySource {
  get(sink: Sink, options: OperationOptions): Promise<unknown>;
}

export interface CopyTarget extends CopySource {
  put(body: Body, options: OperationOptions): Promise<unknown>;
  remove(options: OperationOptions): Promise<unknown>;
}

/** Copies one content and reads the copy back, before anybody may rely on it. A copy that isn't what was written is removed, lest
 *  somebody reads it.
 *  @throws StorageError INTEGRITY where the source isn't what was expected, or the copy isn't what was written; what the stores throw */
export async function copyVerified(
  source: CopySource,
  target: CopyTarget,
  expected: Expected,
  options: OperationOptions,
): Promise<Digest> {
  const content = createCollector();
  await source.get(content.sink, options);
  const bytes = content.bytes();
  const digest = { sizeBytes: bytes.length, md5Hex: createHash('md5').update(bytes).digest('hex') };
  insist(digest, expected, 'the source');
  await target.put(bodyOf(bytes), options);
  try {
    insist(await digestOf(target, options), digest, 'the copy, read back,');
  } catch (error) {
    const { code } = toStorageError(error);
    if (code === 'INTEGRITY' || code === 'SHORT_BODY') await target.remove(options);
    throw error;
  }
  return digest;
}

/** Copies one content. The store's own check of what it is sent is all that vouches for the copy.
 *  @returns the size of the content
 *  @throws StorageError INTEGRITY where the source isn't what was expected; what the stores throw */
export async function copyOnce(
  source: CopySource,
  target: Pick<CopyTarget, 'put'>,
  sizeBytes: number | undefined,
  options: OperationOptions,
): Promise<number> {
  const content = createCollector();
  await source.get(content.sink, options);
  const bytes = content.bytes();
  if (sizeBytes !== undefined && bytes.length !== sizeBytes) {
    throw new StorageError(
      'INTEGRITY',
      `the source has ${bytes.length} bytes instead of ${sizeBytes}`,
    );
  }
  await target.put(bodyOf(bytes), options);
  return bytes.length;
}

/** Reads a content for its digest alone. */
export async function digestOf(source: CopySource, options: OperationOptions): Promise<Digest> {
  const digester = createDigester();
  await source.get(digester.sink, options);
  return digester.digest();
}

/** @throws StorageError INTEGRITY */
export function insist(actual: Digest, expected: Expected, what: string): void {
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

export function bodyOf(bytes: Uint8Array): Body {
  return {
    sizeBytes: bytes.length,
    read: (start, end) => bytes.slice(start, end),
    readInto: (start, into) => {
      into.set(bytes.subarray(start, start + into.length));
    },
  };
}

export function createCollector(): { readonly sink: Sink; bytes(): Uint8Array } {
  let bytes = Buffer.alloc(0);
  return {
    sink: {
      begin: (sizeBytes) => {
        bytes = Buffer.allocUnsafeSlow(sizeBytes);
      },
      write: (offset, piece) => {
        bytes.set(piece, offset);
      },
    },
    bytes: () => bytes,
  };
}

function createDigester(): { readonly sink: Sink; digest(): Digest } {
  let hash = createHash('md5');
  let sizeBytes = 0;
  let position = 0;
  // Pieces that came before their turn.
  let early = new Map<number, Uint8Array>();
  const take = (piece: Uint8Array) => {
    hash.update(piece);
    position += piece.length;
  };
  return {
    sink: {
      begin: (size) => {
        hash = createHash('md5');
        sizeBytes = size;
        position = 0;
        early = new Map();
      },
      write: (offset, piece) => {
        if (offset !== position) {
          early.set(offset, piece.slice());
          return;
        }
        take(piece);
        for (let next = early.get(position); next !== undefined; next = early.get(position)) {
          early.delete(position);
          take(next);
        }
      },
    },
    digest: () => {
      if (position !== sizeBytes) {
        throw new StorageError('SHORT_BODY', `${position} bytes came instead of ${sizeBytes}`);
      }
      return { sizeBytes, md5Hex: hash.digest('hex') };
    },
  };
}
