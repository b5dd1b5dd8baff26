// SPDX-License-Identifier: GPL-3.0-or-later
// Decrypts an object while it arrives.

import type { KeyObject } from 'node:crypto';
import { StorageError, toStorageError } from '../errors.ts';
import { Memory } from '../store/memory.ts';
import type { ByteRange, Sink } from '../store/object-store.ts';
import { type A1Header, beginA1, openA1 } from './a1.ts';
import {
  type A2Header,
  notAuthentic,
  type ObjectIdentity,
  openA2,
  openSegment,
  secretsOf,
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
  /** Whether an object that is not encrypted is an error, or written as it is (the legacy structure, whose keys do not tell). */
  readonly plain: 'refuse' | 'accept';
  /** The part of the content to write; undefined: all of it. */
  readonly wanted: ByteRange | undefined;
}

export interface Fetched {
  /** The offset of the first byte in the object. */
  readonly start: number;
  readonly header: A2Header | undefined;
}

/** Decrypts an object and writes its content to another sink, piece by piece. Pieces of A2 are authentic; of A1, only `finish` tells.
 *
 *  Never throws into the store, which would repeat the transfer. The first failure is kept for `finish`, and further bytes are dropped.
 *  @param onFailure called for each such failure */
export class DecryptingSink implements Sink {
  readonly #inner: Sink;
  readonly #source: DecryptionSource;
  readonly #fetched: Fetched;
  readonly #onFailure: (failure: StorageError) => void;
  #decoder: Decoder | undefined;
  #failure: StorageError | undefined;
  #sizeBytes = 0;
  #position = 0;
  #hasBegun = false;

  constructor(
    inner: Sink,
    source: DecryptionSource,
    fetched: Fetched,
    onFailure: (failure: StorageError) => void = () => undefined,
  ) {
    this.#inner = inner;
    this.#source = source;
    this.#fetched = fetched;
    this.#onFailure = onFailure;
  }

  /** False: the store has refused the request, rather than failed within it. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  begin(sizeBytes: number, totalBytes: number): void {
    this.wipe();
    this.#failure = undefined;
    this.#hasBegun = true;
    this.#sizeBytes = sizeBytes;
    this.#position = 0;
    this.#guard(() => {
      this.#decoder = createDecoder(
        this.#inner,
        this.#source,
        this.#fetched,
        sizeBytes,
        totalBytes,
      );
    });
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#guard(() => {
      if (offset !== this.#position) {
        throw new StorageError(
          'INTERNAL',
          'the store handed bytes on in another order than theirs',
        );
      }
      this.#decoder?.write(bytes);
    });
    this.#position = offset + bytes.length;
  }

  /** To be called when the store's `get` has resolved.
   *  @returns false if only the whole object can be decrypted and this was a part; then nothing was written
   *  @throws StorageError INTEGRITY, UNKNOWN_KEY, BAD_RANGE, SHORT_BODY: what was written must not be used */
  finish(): boolean {
    let isDone = true;
    this.#guard(() => {
      if (this.#decoder === undefined || this.#position !== this.#sizeBytes) {
        throw new StorageError(
          'SHORT_BODY',
          `the store handed on ${this.#position} of ${this.#sizeBytes} bytes`,
        );
      }
      isDone = this.#decoder.finish() !== 'needs whole';
    });
    this.wipe();
    if (this.#failure !== undefined) throw this.#failure;
    return isDone;
  }

  /** What a store still writes then is dropped. */
  wipe(): void {
    this.#decoder?.wipe();
    this.#decoder = undefined;
  }

  #guard(work: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      work();
    } catch (error) {
      this.#failure = toStorageError(error);
      this.#onFailure(this.#failure);
    }
  }
}

/** For a segment, encrypted or not. */
const segments = new Memory(SEALED_SEGMENT_BYTES);

interface Decoder {
  /** In order. */
  write(bytes: Uint8Array): void;
  finish(): 'done' | 'needs whole';
  /** Called once. */
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
    // The head has the length of the longest header, so it may hold bytes behind this one.
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
      return (rest ?? start()).finish();
    },
    wipe: () => rest?.wipe(),
  };
}

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
  // Nothing below throws, so the secrets are always wiped.
  const secrets = openA1(header, key);
  const aes = beginA1('open', source.createAes, header, secrets);
  const plaintext = segments.take();
  const tag = Buffer.alloc(TAG_BYTES);
  let position = 0;

  /** @returns the number of bytes consumed from `from` on */
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
      segments.giveBack(plaintext);
    },
  };
}

/** @param objectOffset of the first byte to come, the start of a segment */
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
  /** One per content type that is possible, until the first segment tells. */
  let candidates =
    contentType === undefined
      ? CONTENT_TYPES.map((type) => secretsOf(header, secrets.dek, uuid, type))
      : [secrets];
  const needed =
    source.wanted === undefined
      ? { start: 0, end: segmentCount(plaintextBytes) }
      : coveringSegments(window.range);
  const plaintext = segments.take();
  let gathered: Buffer | undefined;
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

  /** @returns the segment, which is complete after its last part */
  function gather(part: Uint8Array, sealedBytes: number): Uint8Array {
    if (part.length === sealedBytes) return part;
    gathered ??= segments.take();
    gathered.set(part, gatheredBytes);
    return gathered.subarray(0, sealedBytes);
  }

  /** @returns the number of bytes consumed from `from` on */
  function take(bytes: Uint8Array, from: number): number {
    const sealedBytes = sealedSegmentBytes(index, plaintextBytes);
    const part = bytes.subarray(from, from + sealedBytes - gatheredBytes);
    // Earlier segments come along with the header. They are not decrypted.
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
      segments.giveBack(plaintext);
      if (gathered !== undefined) segments.giveBack(gathered);
    },
  };
}

export function badRangeError(wanted: ByteRange, plaintextBytes: number): StorageError {
  return new StorageError(
    'BAD_RANGE',
    `bytes ${wanted.start} to ${wanted.end} were asked of a content that has ${plaintextBytes}`,
  );
}
