// SPDX-License-Identifier: GPL-3.0-or-later
// A content that goes in pieces into a place where first bytes tell what is encrypted: as it is, unless it would pass for an encrypted
// object itself. However large that is, no more of it is held than a piece.

import { StorageError } from '../errors.ts';
import { bodyFrom } from '../store/bodies.ts';
import type { Body, Sink } from '../store/object-store.ts';
import type { EncryptedBody } from './encrypted-body.ts';
import { HEADER_BYTES, isLookalike, MAGIC_BYTES } from './header.ts';
import { type EncryptionFormat, SEGMENT_BYTES, TAG_BYTES } from './sizes.ts';

export interface LookalikeSink extends Sink {
  /** To be called when all is written. @throws StorageError SHORT_BODY where it is not */
  finish(): void;
  /** Ends the secrets. */
  wipe(): void;
}

/** How a lookalike is encrypted. @param content can be read once, in order */
export interface Encryption {
  readonly format: EncryptionFormat;
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
    let piece: Uint8Array = head;
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
        piece = bytes;
        pieceStart = offset;
        const end = readyBytes(encryption.format, offset + bytes.length, content, object);
        inner.write(sealedBytes, object.read(sealedBytes, end));
        sealedBytes = end;
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
      // An empty content has no write.
      chosen ??= choose();
    },
    wipe: () => encrypted?.wipe(),
  };
}

/** How much of the object can be read once so much of its content is there. */
function readyBytes(
  format: EncryptionFormat,
  contentBytes: number,
  content: Body,
  object: Body,
): number {
  if (contentBytes === content.sizeBytes) return object.sizeBytes;
  const tags = format === 'A1' ? 0 : Math.floor(contentBytes / SEGMENT_BYTES);
  return HEADER_BYTES[format] + contentBytes + tags * TAG_BYTES;
}
