// SPDX-License-Identifier: GPL-3.0-or-later

import { toStorageError } from '../errors.ts';
import { bodyOf, MemorySink, NOWHERE } from '../store/bodies.ts';
import type { GetOptions, OperationOptions, Sink } from '../store/object-store.ts';
import type { Attachment, AttachmentStore } from './attachments.ts';
import { type Digest, Digester, digestOf, type Expected, requireDigest } from './digest.ts';

export interface Copy {
  readonly attachment: Attachment;
  readonly from: AttachmentStore;
  readonly to: AttachmentStore;
  readonly expected: Expected;
}

/** Smaller contents are copied through memory, which is faster. Larger ones go in pieces if one of the stores has files; between two
 *  buckets they go through memory too. */
const HELD_MAX_BYTES = 4 * 1024 * 1024;

/** Copies the content, reads the copy back and compares. Removes a wrong copy. Without an expected MD5, the source must have a checksum of
 *  its own.
 *  @throws StorageError INTEGRITY if the source differs from `expected`, or the copy from the source; errors of the stores */
export async function copyVerified(copy: Copy, options: OperationOptions): Promise<Digest> {
  const { attachment, to } = copy;
  const digest = await copyDigested(copy, options);
  try {
    requireDigest(await digestOf(to, attachment, options), digest, 'the copy, read back,');
  } catch (error) {
    const { code } = toStorageError(error);
    if (code === 'INTEGRITY' || code === 'SHORT_BODY') await to.remove(attachment, options);
    throw error;
  }
  return digest;
}

async function copyDigested(copy: Copy, outer: OperationOptions): Promise<Digest> {
  const { attachment, from, to, expected } = copy;
  const options = readOptionsFor(expected, outer);
  const digester = new Digester();
  const readInto = async (sink: Sink) => {
    await from.get(attachment, undefined, toBoth(sink, digester), options);
    requireDigest(digester.digest(), expected, 'the source');
  };
  const mayBeLarge = expected.sizeBytes === undefined || expected.sizeBytes > HELD_MAX_BYTES;
  if (mayBeLarge && to.files !== undefined) {
    await to.files.receive(attachment, readInto, options);
  } else if (mayBeLarge && from.files !== undefined) {
    const file = await from.files.open(attachment, options);
    try {
      // This read is asynchronous and fills the system's cache for the synchronous reads of `put`.
      await readInto(NOWHERE);
      await to.put(attachment, file.body, options);
    } finally {
      await file.close();
    }
  } else {
    const memory = new MemorySink();
    await readInto(memory);
    await to.put(attachment, bodyOf(memory.bytes), options);
  }
  return digester.digest();
}

export function readOptionsFor({ md5Hex }: Expected, options: OperationOptions): GetOptions {
  return { ...options, requireChecksum: md5Hex === undefined };
}

function toBoth(one: Sink, other: Sink): Sink {
  return {
    begin: (sizeBytes, totalBytes) => {
      one.begin(sizeBytes, totalBytes);
      other.begin(sizeBytes, totalBytes);
    },
    write: (offset, piece) => {
      one.write(offset, piece);
      other.write(offset, piece);
    },
  };
}
