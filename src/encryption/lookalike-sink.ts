// SPDX-License-Identifier: GPL-3.0-or-later
// Receives a content for a place where only first bytes tell whether an object is encrypted. A lookalike of an encrypted object is encrypted,
// piece by piece; other contents pass through.

import { StorageError } from '../errors.ts';
import { bodyFrom } from '../store/bodies.ts';
import type { Body, Sink } from '../store/object-store.ts';
import type { EncryptedBody } from './encrypted-body.ts';
import { isLookalike, MAGIC_BYTES } from './header.ts';
import { A1_HEADER_BYTES, type EncryptionFormat, SEGMENT_BYTES, sealedRange } from './sizes.ts';

export interface LookalikeSink extends Sink {
  /** To be called after the last write. @throws StorageError SHORT_BODY if bytes are missing */
  finish(): void;
  /** Wipes the secrets. */
  wipe(): void;
}

export interface Encryption {
  readonly format: EncryptionFormat;
  /** @param content can be read once, in order */
  encrypt(content: Body): EncryptedBody;
}

export function createLookalikeSink(inner: Sink, encryption: Encryption): LookalikeSink {
  let sizeBytes = 0;
  let position = 0;
  let head = Buffer.alloc(0);
  let headBytes = 0;
  let chosen: Sink | undefined;
  let encrypted: EncryptedBody | undefined;

  function choose(): Sink {
    const sink = isLookalike(head, sizeBytes) ? createSealingSink() : inner;
    sink.begin(sizeBytes, sizeBytes);
    if (head.length > 0) sink.write(0, head);
    return sink;
  }

  function createSealingSink(): Sink {
    /** The part of the content that is not encrypted yet, because of A2 only whole segments are. */
    let piece: Uint8Array = Buffer.alloc(0);
    let pieceStart = 0;
    let sealedBytes = 0;
    const content = bodyFrom(sizeBytes, (start, target) => {
      const from = start - pieceStart;
      if (from < 0 || from + target.length > piece.length) {
        throw new StorageError('INTERNAL', 'a content is encrypted in another order than it comes');
      }
      target.set(piece.subarray(from, from + target.length));
    });
    const object = encryption.encrypt(content);
    encrypted = object;
    return {
      begin: () => {
        inner.begin(object.sizeBytes, object.sizeBytes);
      },
      write: (offset, bytes) => {
        piece = piece.length === 0 ? bytes : Buffer.concat([piece, bytes]);
        const ready = readyBytes(encryption.format, offset + bytes.length, content, object);
        if (ready.object > sealedBytes)
          inner.write(sealedBytes, object.read(sealedBytes, ready.object));
        sealedBytes = ready.object;
        piece = Buffer.from(piece.subarray(ready.content - pieceStart));
        pieceStart = ready.content;
      },
    };
  }

  return {
    begin(announcedBytes) {
      encrypted?.wipe();
      encrypted = undefined;
      sizeBytes = announcedBytes;
      position = 0;
      head = Buffer.alloc(Math.min(MAGIC_BYTES, sizeBytes));
      headBytes = 0;
      chosen = undefined;
    },
    write(offset, bytes) {
      if (offset !== position) {
        throw new StorageError('INTERNAL', 'a content came in another order than its own');
      }
      position += bytes.length;
      let from = 0;
      if (chosen === undefined) {
        from = Math.min(bytes.length, head.length - headBytes);
        head.set(bytes.subarray(0, from), headBytes);
        headBytes += from;
        if (headBytes < head.length) return;
        chosen = choose();
      }
      if (from < bytes.length) chosen.write(offset + from, bytes.subarray(from));
    },
    finish() {
      if (position !== sizeBytes) {
        throw new StorageError('SHORT_BODY', `${position} of ${sizeBytes} bytes came`);
      }
      // An empty content has no writes.
      chosen ??= choose();
    },
    wipe: () => encrypted?.wipe(),
  };
}

/** How much of the content can be encrypted, and how much of the object that makes. */
function readyBytes(
  format: EncryptionFormat,
  contentBytes: number,
  content: Body,
  object: Body,
): { readonly content: number; readonly object: number } {
  if (contentBytes === content.sizeBytes)
    return { content: contentBytes, object: object.sizeBytes };
  if (format === 'A1') return { content: contentBytes, object: A1_HEADER_BYTES + contentBytes };
  const segments = Math.floor(contentBytes / SEGMENT_BYTES);
  return {
    content: segments * SEGMENT_BYTES,
    object: sealedRange({ start: 0, end: segments }).end,
  };
}
