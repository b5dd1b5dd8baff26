// SPDX-License-Identifier: GPL-3.0-or-later
// What arrives of an object, decrypted on its way to where the content goes.

import type { KeyObject } from 'node:crypto';
import { StorageError, toStorageError } from '../errors.ts';
import type { ByteRange, Sink } from '../store/object-store.ts';
import { type A1Header, beginA1, openA1 } from './a1.ts';
import {
  type A2Header,
  notAuthentic,
  type ObjectIdentity,
  openA2,
  openSegment,
  withContentType,
} from './a2.ts';
import type { CreateAes } from './aes.ts';
import {
  formatOf,
  type HasKey,
  HEADER_BYTES,
  LONGEST_HEADER_BYTES,
  parseHeader,
} from './header.ts';
import {
  A2_HEADER_BYTES,
  coveringSegments,
  type EncryptionFormat,
  placeInSegments,
  plaintextSize,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
  sealedSegmentBytes,
  segmentCount,
  segmentOf,
  TAG_BYTES,
} from './sizes.ts';

/** Orthanc's own types (docs/formats.md), Dicom first: nearly all objects are. */
const CONTENT_TYPES = [1, 3, 2, 0] as const;

export interface DecryptionSource {
  readonly find: (keyId: number) => KeyObject;
  readonly hasKey: HasKey;
  readonly createAes: CreateAes;
  readonly identity: ObjectIdentity;
  /** What becomes of an object that is not encrypted: an error, or handed on as it is (the legacy structure, whose keys do not
   *  tell). */
  readonly plain: 'refuse' | 'accept';
  /** Of the content, what is wanted; undefined is all of it. */
  readonly wanted: ByteRange | undefined;
}

/** What is told of an object before any of it arrives. */
export interface Fetched {
  /** Where in the object the bytes begin. */
  readonly start: number;
  /** Read before, where they do not begin with it. */
  readonly header: A2Header | undefined;
}

export interface DecryptingSink extends Sink {
  /** To be called when the store is done.
   *  @returns false where the object can only be decrypted as a whole and this was a part of it; nothing was handed on then
   *  @throws StorageError INTEGRITY, UNKNOWN_KEY, BAD_RANGE, SHORT_BODY: what was handed on is worth nothing then */
  finish(): boolean;
  /** Whether a store that failed did so for what it had been asked, before anything arrived. */
  hasBegun(): boolean;
  wipe(): void;
}

/** Hands the content on piece by piece: of A2 what is authentic; of A1 what `finish` may still find not to be, since its one tag
 *  comes last.
 *
 *  Never throws into the store, which would take an object that was altered for a transfer to be repeated: the first failure is
 *  kept for `finish`, and what arrives behind it is dropped. A store that finds itself that the transfer was at fault begins again.
 *  @param onFailure hears of each */
export function createDecryptingSink(
  inner: Sink,
  source: DecryptionSource,
  fetched: Fetched,
  onFailure: (failure: StorageError) => void = () => undefined,
): DecryptingSink {
  let decoder: Decoder | undefined;
  let failure: StorageError | undefined;
  let sizeBytes = 0;
  let position = 0;
  let begun = false;

  function guarded(work: () => void): void {
    if (failure !== undefined) return;
    try {
      work();
    } catch (error) {
      failure = toStorageError(error);
      onFailure(failure);
    }
  }

  return {
    begin(announcedBytes, totalBytes) {
      decoder?.wipe();
      failure = undefined;
      begun = true;
      sizeBytes = announcedBytes;
      position = 0;
      decoder = undefined;
      guarded(() => {
        decoder = createDecoder(inner, source, fetched, announcedBytes, totalBytes);
      });
    },
    write(offset, bytes) {
      guarded(() => {
        if (offset !== position) {
          throw new StorageError(
            'INTERNAL',
            'the store handed bytes on in another order than theirs',
          );
        }
        decoder?.write(bytes);
      });
      position = offset + bytes.length;
    },
    finish() {
      guarded(() => {
        if (decoder === undefined || position !== sizeBytes) {
          throw new StorageError(
            'SHORT_BODY',
            `the store handed on ${position} of ${sizeBytes} bytes`,
          );
        }
      });
      let isDone = true;
      guarded(() => {
        isDone = decoder?.finish() !== 'needs whole';
      });
      decoder?.wipe();
      if (failure !== undefined) throw failure;
      return isDone;
    },
    hasBegun: () => begun,
    wipe: () => decoder?.wipe(),
  };
}

/** Takes the bytes in order. */
interface Decoder {
  write(bytes: Uint8Array): void;
  /** All bytes are there. */
  finish(): 'done' | 'needs whole';
  wipe(): void;
}

function createDecoder(
  inner: Sink,
  source: DecryptionSource,
  fetched: Fetched,
  sizeBytes: number,
  totalBytes: number,
): Decoder {
  if (fetched.header !== undefined) {
    return createA2Decoder(inner, source, fetched.header, fetched.start, totalBytes);
  }
  const isWhole = sizeBytes === totalBytes;
  const head = Buffer.alloc(Math.min(LONGEST_HEADER_BYTES, sizeBytes));
  let headBytes = 0;
  let rest: Decoder | undefined;

  function choose(format: EncryptionFormat | undefined): Decoder {
    if (format === undefined) return createPlainDecoder(inner, source.wanted, totalBytes);
    const header = parseHeader(head);
    if (header.format === 'A2') {
      return createA2Decoder(inner, source, header, A2_HEADER_BYTES, totalBytes);
    }
    return isWhole
      ? createA1Decoder(inner, source, header, totalBytes)
      : { write: () => undefined, finish: () => 'needs whole', wipe: () => undefined };
  }

  function start(): Decoder {
    const format = formatOf(head, totalBytes, source);
    const chosen = choose(format);
    rest = chosen;
    // The head is as long as the longest header, so that it may hold some of what follows.
    chosen.write(head.subarray(format === undefined ? 0 : HEADER_BYTES[format]));
    return chosen;
  }

  return {
    write(bytes) {
      let from = 0;
      if (rest === undefined) {
        from = Math.min(bytes.length, head.length - headBytes);
        head.set(bytes.subarray(0, from), headBytes);
        headBytes += from;
        if (headBytes < head.length) return;
        start();
      }
      if (from < bytes.length) rest?.write(bytes.subarray(from));
    },
    finish() {
      // An object of no bytes has no write.
      return (rest ?? start()).finish();
    },
    wipe: () => rest?.wipe(),
  };
}

/** Hands on those bytes of the content that are wanted. */
function createWindow(
  inner: Sink,
  wanted: ByteRange | undefined,
  plaintextBytes: number,
): { readonly range: ByteRange; write(position: number, bytes: Uint8Array): void } {
  const range = wanted ?? { start: 0, end: plaintextBytes };
  if (range.end > plaintextBytes) throw badRangeError(range, plaintextBytes);
  inner.begin(range.end - range.start, plaintextBytes);
  return {
    range,
    write(position, bytes) {
      const from = Math.max(position, range.start);
      const to = Math.min(position + bytes.length, range.end);
      if (from >= to) return;
      const isAll = to - from === bytes.length;
      const wantedBytes = isAll ? bytes : bytes.subarray(from - position, to - position);
      inner.write(from - range.start, wantedBytes);
    },
  };
}

function createPlainDecoder(
  inner: Sink,
  wanted: ByteRange | undefined,
  totalBytes: number,
): Decoder {
  const window = createWindow(inner, wanted, totalBytes);
  let position = 0;
  return {
    write(bytes) {
      window.write(position, bytes);
      position += bytes.length;
    },
    finish: () => 'done',
    wipe: () => undefined,
  };
}

function createA1Decoder(
  inner: Sink,
  source: DecryptionSource,
  header: A1Header,
  totalBytes: number,
): Decoder {
  const plaintextBytes = plaintextSize('A1', totalBytes);
  const key = source.find(header.keyId);
  const window = createWindow(inner, source.wanted, plaintextBytes);
  // Nothing throws from here on: whoever has the decoder wipes them.
  const secrets = openA1(header, key);
  const aes = beginA1('open', source.createAes, header, secrets);
  const plaintext = Buffer.allocUnsafeSlow(Math.min(SEGMENT_BYTES, plaintextBytes));
  const tag = Buffer.alloc(TAG_BYTES);
  let position = 0;

  /** @returns how many of the bytes it took, from `from` on */
  function take(bytes: Uint8Array, from: number): number {
    if (position >= plaintextBytes) {
      tag.set(bytes.subarray(from), position - plaintextBytes);
      return bytes.length - from;
    }
    const length = Math.min(bytes.length - from, plaintextBytes - position, plaintext.length);
    const piece = plaintext.subarray(0, length);
    aes.update(bytes.subarray(from, from + length), piece);
    window.write(position, piece);
    return length;
  }

  return {
    write(bytes) {
      for (let from = 0; from < bytes.length; ) {
        const length = take(bytes, from);
        from += length;
        position += length;
      }
    },
    finish() {
      if (aes.open(tag)) return 'done';
      throw new StorageError(
        'INTEGRITY',
        'the object is not authentic: it was altered or cut, or the configured master key is another one of the same id',
      );
    },
    wipe: () => {
      aes.wipe();
      secrets.dek.fill(0);
      secrets.iv.fill(0);
    },
  };
}

/** Gathers each segment that is wanted, and hands its content on.
 *  @param objectOffset where in the object the first byte lies that will be written: the start of a segment */
function createA2Decoder(
  inner: Sink,
  source: DecryptionSource,
  header: A2Header,
  objectOffset: number,
  totalBytes: number,
): Decoder {
  const plaintextBytes = plaintextSize('A2', totalBytes);
  const key = source.find(header.keyId);
  const window = createWindow(inner, source.wanted, plaintextBytes);
  const { uuid, contentType } = source.identity;
  const secrets = openA2(header, key, uuid, contentType ?? CONTENT_TYPES[0]);
  const aes = source.createAes('open', secrets.dek);
  /** More than one until a segment tells which it is. */
  let candidates =
    contentType === undefined
      ? CONTENT_TYPES.map((type) => withContentType(header, secrets, uuid, type))
      : [secrets];
  const needed =
    source.wanted === undefined
      ? { start: 0, end: segmentCount(plaintextBytes) }
      : coveringSegments(window.range);
  const plaintext = Buffer.allocUnsafeSlow(Math.min(SEGMENT_BYTES, plaintextBytes));
  let gathered: Uint8Array | undefined;
  let gatheredBytes = 0;
  let { index } = placeInSegments(objectOffset - A2_HEADER_BYTES);

  function handOn(sealed: Uint8Array): void {
    const content = plaintext.subarray(0, sealed.length - TAG_BYTES);
    const found = candidates.find((candidate) =>
      openSegment(aes, candidate, plaintextBytes, index, sealed, content),
    );
    if (found === undefined) throw notAuthentic(index);
    candidates = [found];
    window.write(segmentOf(index, plaintextBytes).start, content);
  }

  /** @returns the segment, which is whole once its last part is there */
  function gather(part: Uint8Array, sealedBytes: number): Uint8Array {
    if (part.length === sealedBytes) return part;
    gathered ??= Buffer.allocUnsafeSlow(Math.min(SEALED_SEGMENT_BYTES, totalBytes));
    gathered.set(part, gatheredBytes);
    return gathered.subarray(0, sealedBytes);
  }

  /** @returns how many of the bytes it took, from `from` on */
  function take(bytes: Uint8Array, from: number): number {
    const sealedBytes = sealedSegmentBytes(index, plaintextBytes);
    const part = bytes.subarray(from, from + sealedBytes - gatheredBytes);
    // Segments before the wanted ones came along, since one request is quicker than two; nobody looks at them.
    const segment = index < needed.start ? undefined : gather(part, sealedBytes);
    gatheredBytes += part.length;
    if (gatheredBytes < sealedBytes) return part.length;
    if (segment !== undefined) handOn(segment);
    gatheredBytes = 0;
    index += 1;
    return part.length;
  }

  return {
    write(bytes) {
      for (let from = 0; from < bytes.length && index < needed.end; ) from += take(bytes, from);
    },
    finish() {
      if (index < needed.end) {
        throw new StorageError('INTEGRITY', `the object ends within segment ${index}`);
      }
      return 'done';
    },
    wipe: () => {
      aes.wipe();
      secrets.dek.fill(0);
    },
  };
}

export function badRangeError(wanted: ByteRange, plaintextBytes: number): StorageError {
  return new StorageError(
    'BAD_RANGE',
    `bytes ${wanted.start} to ${wanted.end} were asked of a content that has ${plaintextBytes}`,
  );
}
