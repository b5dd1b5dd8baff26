// SPDX-License-Identifier: GPL-3.0-or-later
// One attachment from one store into another.

import { toStorageError } from '../errors.ts';
import { bodyOf, createMemorySink } from '../store/bodies.ts';
import type { Body, GetOptions, OperationOptions, Sink } from '../store/object-store.ts';
import type { Attachment, AttachmentStore } from './attachments.ts';
import { createDigester, type Digest, digestOf, type Expected, requireDigest } from './digest.ts';

export interface Copy {
  readonly attachment: Attachment;
  readonly from: AttachmentStore;
  readonly to: AttachmentStore;
  readonly expected: Expected;
}

/** Smaller contents are held as a whole, which is faster. Larger ones go in pieces, through the file that one of the stores has; from
 *  bucket to bucket there is none, and they are held, too. */
const HELD_MAX_BYTES = 4 * 1024 * 1024;

/** Copies one content and reads the copy back: a store's word proves nothing. A wrong copy is removed. Without an MD5 in the index, the
 *  source must have a checksum of its own.
 *  @throws StorageError INTEGRITY where the source is not what was expected, or the copy is not what was read; what the stores throw */
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
  const check = (digest: Digest) => {
    requireDigest(digest, expected, 'the source');
    return digest;
  };
  if (mayBeLarge(expected) && to.files !== undefined) {
    const digester = createDigester();
    const fill = async (sink: Sink) => {
      await from.get(attachment, undefined, toBoth(sink, digester.sink), options);
      check(digester.digest());
    };
    await to.files.receive(attachment, fill, options);
    return digester.digest();
  }
  const content = await openContent(copy, options);
  try {
    const digest = check(await content.digest());
    await to.put(attachment, content.body, options);
    return digest;
  } finally {
    await content.close();
  }
}

interface Content {
  readonly body: Body;
  digest(): Digest | Promise<Digest>;
  close(): Promise<void>;
}

async function openContent(copy: Copy, options: GetOptions): Promise<Content> {
  const { attachment, from, expected } = copy;
  if (mayBeLarge(expected) && from.files !== undefined) {
    const file = await from.files.open(attachment, options);
    return {
      body: file.body,
      // Read by other threads. The synchronous reads for sending then hit the system's cache.
      digest: () => digestOf(from, attachment, options),
      close: () => file.close(),
    };
  }
  const bytes = await readWhole(from, attachment, options);
  return {
    body: bodyOf(bytes),
    digest: () => {
      const digester = createDigester();
      digester.sink.begin(bytes.length, bytes.length);
      digester.sink.write(0, bytes);
      return digester.digest();
    },
    close: () => Promise.resolve(),
  };
}

/** For reads of a source. */
export function readOptionsFor({ md5Hex }: Expected, options: OperationOptions): GetOptions {
  return { ...options, requireChecksum: md5Hex === undefined };
}

function mayBeLarge({ sizeBytes }: Expected): boolean {
  return sizeBytes === undefined || sizeBytes > HELD_MAX_BYTES;
}

async function readWhole(
  store: AttachmentStore,
  attachment: Attachment,
  options: GetOptions,
): Promise<Uint8Array> {
  const memory = createMemorySink();
  await store.get(attachment, undefined, memory.sink, options);
  return memory.bytes();
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
