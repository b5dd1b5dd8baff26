// SPDX-License-Identifier: GPL-3.0-or-later
// Encrypts a content on its way to a store. Small contents are encrypted at once. Of large ones, each part is encrypted when it is read, so
// that parts can be sent in any order and again without holding the whole.

import { StorageError } from '../errors.ts';
import { abortReason, type Signal } from '../store/abort.ts';
import { bodyFrom } from '../store/bodies.ts';
import { Memory } from '../store/memory.ts';
import type { Body } from '../store/object-store.ts';
import {
  type A1Counter,
  type A1Header,
  type A1Secrets,
  beginA1,
  createA1,
  createA1Counter,
  type RandomBytes,
} from './a1.ts';
import { type A2Header, type A2Secrets, createA2, sealSegment } from './a2.ts';
import type { CreateAes } from './aes.ts';
import type { MasterKey } from './keyring.ts';
import type { Pacer } from './pacer.ts';
import {
  A1_HEADER_BYTES,
  A2_HEADER_BYTES,
  ciphertextSize,
  type EncryptionFormat,
  placeInSegments,
  SEALED_SEGMENT_BYTES,
  sealedSegmentBytes,
  TAG_BYTES,
} from './sizes.ts';

/** Reads of the same range return the same bytes. */
export interface EncryptedBody extends Body {
  /** Wipes the secrets. Later reads throw. */
  wipe(): void;
}

export interface EncryptionTarget {
  readonly format: EncryptionFormat;
  readonly master: MasterKey;
  readonly uuid: string;
  readonly contentType: number;
  readonly createAes: CreateAes;
  readonly random?: RandomBytes;
}

/** Objects up to this size are held whole. Others are encrypted for the checksum, and once more for each attempt to send them. */
export const HELD_MAX_BYTES = 1024 * 1024;
/** For A1's tag: 0.03 to 0.1 ms of AES-256-GCM. */
const PIECE_BYTES = 256 * 1024;
/** Each byte that is read out of order advances the tag by this many, so that it is ready when half of the content has been read. */
const TAG_AHEAD = 2;
/** One for each part that is uploaded at the same time. */
const MAX_CUT = 8;

/** Encrypts only what is read. @throws StorageError INTERNAL for a content beyond the format's limit */
export function encryptWhereRead(content: Body, target: EncryptionTarget): EncryptedBody {
  const sizeBytes = ciphertextSize(target.format, content.sizeBytes);
  const { uuid, contentType, createAes, random } = target;
  const { id, key } = target.master;
  const encryption =
    target.format === 'A1'
      ? encryptA1(content, createA1(id, key, random), createAes)
      : encryptA2(content, createA2(id, key, uuid, contentType, random), createAes);
  return bodyOf(sizeBytes, encryption);
}

/** @throws what reading the content throws; `abortReason`; StorageError INTERNAL for a content beyond the format's limit */
export async function encryptBody(
  content: Body,
  target: EncryptionTarget,
  pacer: Pacer,
  signal: Signal,
): Promise<EncryptedBody> {
  const turn = pacer.turn();
  if (turn !== undefined) await turn;
  if (signal.aborted) throw abortReason(signal);
  const body = encryptWhereRead(content, target);
  return body.sizeBytes <= HELD_MAX_BYTES ? hold(body) : body;
}

interface Encryption {
  readInto(start: number, target: Uint8Array): void;
  wipe(): void;
}

function bodyOf(sizeBytes: number, encryption: Encryption): EncryptedBody {
  let isOver = false;
  function wipe(): void {
    if (isOver) return;
    isOver = true;
    encryption.wipe();
  }
  function readInto(start: number, target: Uint8Array): void {
    if (isOver) throw new StorageError('ABORTED', 'the encryption of this content is over');
    try {
      encryption.readInto(start, target);
    } catch (error) {
      // The content could not be read, and the message has already had some of its bytes.
      wipe();
      throw error;
    }
  }
  return Object.assign(bodyFrom(sizeBytes, readInto), { wipe });
}

const held = new Memory(HELD_MAX_BYTES);

function hold(body: EncryptedBody): EncryptedBody {
  const memory = held.take();
  const bytes = memory.subarray(0, body.sizeBytes);
  try {
    body.readInto(0, bytes);
  } finally {
    body.wipe();
  }
  return bodyOf(body.sizeBytes, {
    readInto(start, target) {
      target.set(bytes.subarray(start, start + target.length));
    },
    wipe() {
      held.giveBack(memory);
    },
  });
}

/** The tag needs the whole content in order; a part of the ciphertext needs only that part. Reads in order encrypt and advance the tag at
 *  once. Reads out of order encrypt in counter mode. They advance the tag too, else the last part, which holds it, would have to read the
 *  whole content. */
function encryptA1(
  content: Body,
  { header, secrets }: { readonly header: A1Header; readonly secrets: A1Secrets },
  createAes: CreateAes,
): Encryption {
  const sealer = beginA1('seal', createAes, header, secrets);
  const tagStart = A1_HEADER_BYTES + content.sizeBytes;
  let counter: A1Counter | undefined;
  let scratch: Uint8Array | undefined;
  let tag: Uint8Array | undefined;
  /** The tag covers this much of the content so far. */
  let sealedBytes = 0;

  function seal(target: Uint8Array): void {
    sealer.updateFrom(content, sealedBytes, target);
    sealedBytes += target.length;
  }

  function advanceTag(lengthBytes: number): void {
    const end = Math.min(sealedBytes + lengthBytes, content.sizeBytes);
    while (sealedBytes < end) {
      scratch ??= Buffer.allocUnsafeSlow(PIECE_BYTES);
      seal(scratch.subarray(0, Math.min(PIECE_BYTES, end - sealedBytes)));
    }
  }

  function readContent(start: number, target: Uint8Array): void {
    const end = start + target.length;
    const isInOrder = start === sealedBytes;
    const sealedFrom = start > sealedBytes ? end : Math.min(sealedBytes, end);
    if (start < sealedFrom) {
      counter ??= createA1Counter(createAes, secrets);
      counter.run(start, sealedFrom, (aes, from, to) => {
        aes.updateFrom(content, from, target.subarray(from - start, to - start));
      });
    }
    if (sealedFrom < end) seal(target.subarray(sealedFrom - start));
    if (!isInOrder) advanceTag(TAG_AHEAD * target.length);
  }

  function takeTag(): Uint8Array {
    advanceTag(content.sizeBytes);
    const taken = Buffer.alloc(TAG_BYTES);
    sealer.seal(taken);
    return taken;
  }

  return {
    readInto(start, target) {
      const end = start + target.length;
      const from = Math.max(start, A1_HEADER_BYTES);
      const to = Math.min(end, tagStart);
      copyOverlap(header.bytes, 0, target, start);
      if (from < to) readContent(from - A1_HEADER_BYTES, target.subarray(from - start, to - start));
      if (end <= tagStart) return;
      tag ??= takeTag();
      copyOverlap(tag, tagStart, target, start);
    },
    wipe: () => {
      sealer.wipe();
      counter?.wipe();
      wipeAll(secrets.dek, secrets.iv);
    },
  };
}

/** Encrypts whole segments, directly into the target if they fit. Others are kept until the next read takes the rest. */
function encryptA2(
  content: Body,
  { header, secrets }: { readonly header: A2Header; readonly secrets: A2Secrets },
  createAes: CreateAes,
): Encryption {
  const aes = createAes('seal', secrets.dek);
  /** By index; the most recently used is last. */
  const cut = new Map<number, Uint8Array>();
  const spare: Uint8Array[] = [];

  function takeCut(index: number): Uint8Array | undefined {
    const segment = cut.get(index);
    cut.delete(index);
    return segment;
  }

  function takeMemory(): Uint8Array {
    const [oldest] = cut.keys();
    const memory = oldest === undefined || cut.size < MAX_CUT ? spare.pop() : takeCut(oldest);
    return memory ?? Buffer.allocUnsafeSlow(SEALED_SEGMENT_BYTES);
  }

  function sealCut(index: number, sealedBytes: number): Uint8Array {
    const segment = takeMemory();
    sealSegment(aes, secrets, content, index, segment.subarray(0, sealedBytes));
    return segment;
  }

  /** Fills the start of the target with bytes of one segment. @returns their number */
  function readSegment(position: number, target: Uint8Array): number {
    const { index, offset } = placeInSegments(position);
    const sealedBytes = sealedSegmentBytes(index, content.sizeBytes);
    const part = target.subarray(0, sealedBytes - offset);
    if (part.length === sealedBytes) {
      sealSegment(aes, secrets, content, index, part);
      return sealedBytes;
    }
    const segment = takeCut(index) ?? sealCut(index, sealedBytes);
    part.set(segment.subarray(offset, offset + part.length));
    if (offset + part.length < sealedBytes) cut.set(index, segment);
    else spare.push(segment);
    return part.length;
  }

  return {
    readInto(start, target) {
      copyOverlap(header.bytes, 0, target, start);
      for (let at = Math.max(0, A2_HEADER_BYTES - start); at < target.length; ) {
        at += readSegment(start + at - A2_HEADER_BYTES, target.subarray(at));
      }
    },
    wipe: () => {
      aes.wipe();
      wipeAll(secrets.dek);
    },
  };
}

/** Copies the overlap of two parts of the object, which begin at `sourceStart` and `targetStart`. */
function copyOverlap(
  source: Uint8Array,
  sourceStart: number,
  target: Uint8Array,
  targetStart: number,
): void {
  const from = Math.max(sourceStart, targetStart);
  const to = Math.min(sourceStart + source.length, targetStart + target.length);
  if (from >= to) return;
  target.set(source.subarray(from - sourceStart, to - sourceStart), from - targetStart);
}

function wipeAll(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}
