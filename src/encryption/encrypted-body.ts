// SPDX-License-Identifier: GPL-3.0-or-later
// A content as it goes to the store. Small ones are encrypted once, into one buffer; of large ones any part is encrypted when it is
// read, so that parts may be sent in any order, sent again, and never lie in memory together.

import { StorageError } from '../errors.ts';
import { abortReason } from '../store/abort.ts';
import { bodyFrom, viewOf } from '../store/bodies.ts';
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

/** Reads the same bytes each time. */
export interface EncryptedBody extends Body {
  /** Ends the secrets; from then on a read throws. */
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

/** Up to here an object is held whole, as stores hold it to send it in one piece (ONE_PIECE_BYTES in http/content.ts). */
export const HELD_MAX_BYTES = 1024 * 1024;
/** Of A1's content, for its tag: some 0.03 to 0.1 ms of AES-256-GCM, and little to keep. */
const PIECE_BYTES = 256 * 1024;
/** How many bytes the tag comes on for each that is read out of turn: it is done when half of a content has been read. */
const TAG_AHEAD = 2;
/** One for each of the parts that go out at once. */
const MAX_CUT = 8;

/** Encrypts nothing before it is read. @throws StorageError INTERNAL for a content beyond the format's limit */
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

/** @throws what reading the content throws; the signal's reason; StorageError INTERNAL beyond the format's limit */
export async function encryptBody(
  content: Body,
  target: EncryptionTarget,
  pacer: Pacer,
  signal: AbortSignal,
): Promise<EncryptedBody> {
  const turn = pacer.turn();
  if (turn !== undefined) await turn;
  if (signal.aborted) throw abortReason(signal);
  const body = encryptWhereRead(content, target);
  return body.sizeBytes <= HELD_MAX_BYTES ? hold(body) : body;
}

interface Encryption {
  /** Fills the target with bytes of the object. */
  readInto(start: number, target: Uint8Array): void;
  wipe(): void;
}

function bodyOf(sizeBytes: number, encryption: Encryption): EncryptedBody {
  let isOver = false;
  function wipe(): void {
    isOver = true;
    encryption.wipe();
  }
  function readInto(start: number, target: Uint8Array): void {
    if (isOver) throw new StorageError('ABORTED', 'the encryption of this content is over');
    try {
      encryption.readInto(start, target);
    } catch (error) {
      // The content could not be read. A message that has had some of the bytes cannot go on.
      wipe();
      throw error;
    }
  }
  return { ...bodyFrom(sizeBytes, readInto), wipe };
}

function hold(body: EncryptedBody): EncryptedBody {
  try {
    return { ...viewOf(body.read(0, body.sizeBytes)), wipe: () => undefined };
  } finally {
    body.wipe();
  }
}

/** The tag needs the content in order, and a part of the ciphertext nothing but that part: what is read in order is encrypted and
 *  covered by the tag at once; what is read again, or before its turn, is encrypted in counter mode. So that the last part, which has the
 *  tag, need not make up for all that others have read out of turn, each such read also brings the tag on. */
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
  /** Of the content, what the tag covers so far. */
  let sealedBytes = 0;

  function seal(target: Uint8Array): void {
    sealer.updateFrom(content, sealedBytes, target);
    sealedBytes += target.length;
  }

  function passOver(lengthBytes: number): void {
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
    if (!isInOrder) passOver(TAG_AHEAD * target.length);
  }

  function takeTag(): Uint8Array {
    passOver(content.sizeBytes);
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

/** Seals whole segments: where one lies in the target, right there; one that a piece cuts is kept until the next piece takes the rest. */
function encryptA2(
  content: Body,
  { header, secrets }: { readonly header: A2Header; readonly secrets: A2Secrets },
  createAes: CreateAes,
): Encryption {
  const aes = createAes('seal', secrets.dek);
  /** By their numbers; the one that was used last comes last. */
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

  /** Fills the target, or its start, with bytes of one segment. @returns how many */
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

/** Copies what bytes at `sourceStart` and a target at `targetStart` of the object have in common. */
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
