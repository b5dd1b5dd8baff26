// SPDX-License-Identifier: GPL-3.0-or-later
// A content as it goes to the store. Small ones are encrypted once, into one buffer; of large ones any part is encrypted when it is
// read, so that parts may be sent in any order, sent again, and never lie in memory together.

import { StorageError } from '../errors.ts';
import { abortReason } from '../store/abort.ts';
import type { Body } from '../store/object-store.ts';
import {
  type A1Header,
  type A1Secrets,
  createA1,
  createA1Cipher,
  encryptA1Part,
  firstCounterBlock,
  type RandomBytes,
} from './a1.ts';
import { type A2Header, type A2Secrets, createA2, sealSegment } from './a2.ts';
import type { MasterKey } from './keyring.ts';
import type { Pacer } from './pacer.ts';
import { release } from './release.ts';
import {
  A1_HEADER_BYTES,
  A2_HEADER_BYTES,
  ciphertextSize,
  type EncryptionFormat,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
  segmentCount,
  segmentOf,
  TAG_BYTES,
} from './sizes.ts';

/** Reads the same bytes each time. Those of a small content are views of one buffer rather than copies: what the store does with
 *  them (sums, sends) leaves them as they are. */
export interface EncryptedBody extends Body {
  readInto(start: number, target: Uint8Array): void;
  /** Ends the secrets; from then on a read throws. */
  wipe(): void;
}

export interface EncryptionTarget {
  readonly format: EncryptionFormat;
  readonly master: MasterKey;
  readonly uuid: string;
  readonly contentType: number;
  readonly random?: RandomBytes;
}

/** Up to here an object is held whole, as stores hold it to send it in one piece (ONE_PIECE_BYTES in providers/transport.ts). */
export const HELD_MAX_BYTES = 1024 * 1024;
/** About 0.1 ms of AES-256-GCM, and little to keep. */
const PIECE_BYTES = 256 * 1024;
/** Of AES. */
const BLOCK_BYTES = 16;
/** For as many parts as go out at once, half a megabyte in all. */
const KEPT_SEGMENTS = 8;

/** @throws what reading the content throws; the signal's reason; StorageError INTERNAL beyond the format's limit */
export async function encryptBody(
  content: Body,
  target: EncryptionTarget,
  pacer: Pacer,
  signal: AbortSignal,
): Promise<EncryptedBody> {
  const sizeBytes = ciphertextSize(target.format, content.sizeBytes);
  const turn = pacer.turn();
  if (turn !== undefined) await turn;
  if (signal.aborted) throw abortReason(signal);
  const { uuid, contentType, random } = target;
  const { id, key } = target.master;
  if (target.format === 'A2') {
    const body = encryptA2(content, sizeBytes, createA2(id, key, uuid, contentType, random));
    return sizeBytes <= HELD_MAX_BYTES ? hold(body) : body;
  }
  const created = createA1(id, key, random);
  try {
    return sizeBytes <= HELD_MAX_BYTES
      ? await encryptSmallA1(content, sizeBytes, created)
      : await encryptLargeA1(content, sizeBytes, created, pacer, signal);
  } catch (error) {
    wipeAll(created.secrets.dek, created.secrets.iv);
    throw error;
  }
}

function hold(body: EncryptedBody): EncryptedBody {
  try {
    return held(body.read(0, body.sizeBytes));
  } finally {
    body.wipe();
  }
}

function held(bytes: Uint8Array): EncryptedBody {
  return {
    sizeBytes: bytes.length,
    read: (start, end) =>
      start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end),
    readInto: (start, target) => {
      target.set(bytes.subarray(start, start + target.length));
    },
    wipe: () => undefined,
  };
}

interface CreatedA1 {
  readonly header: A1Header;
  readonly secrets: A1Secrets;
}

async function encryptSmallA1(
  content: Body,
  sizeBytes: number,
  { header, secrets }: CreatedA1,
): Promise<EncryptedBody> {
  const bytes = Buffer.allocUnsafeSlow(sizeBytes);
  bytes.set(header.bytes);
  const tag = await encryptForTag(content, header, secrets, (offset, piece) => {
    bytes.set(piece, A1_HEADER_BYTES + offset);
  });
  bytes.set(tag, sizeBytes - TAG_BYTES);
  wipeAll(secrets.dek, secrets.iv);
  return held(bytes);
}

async function encryptLargeA1(
  content: Body,
  sizeBytes: number,
  { header, secrets }: CreatedA1,
  pacer: Pacer,
  signal: AbortSignal,
): Promise<EncryptedBody> {
  const tagStart = sizeBytes - TAG_BYTES;
  // The tag needs the whole content in order, which would dictate the order of the parts: it gets a pass of its own.
  const tag = await encryptForTag(content, header, secrets, () => undefined, { pacer, signal });
  const counterBlock = firstCounterBlock(secrets);
  const guard = createGuard(secrets.dek, secrets.iv);
  const readPlaintext = createReader(content, PIECE_BYTES + BLOCK_BYTES);
  const encryptPiece = (start: number, end: number) =>
    encryptA1Part(secrets, counterBlock, start, readPlaintext(start, end));

  /** The range of the content that a range of the object holds, from the start of a block on: counter mode goes by blocks of 16, and
   *  what is before `from` in its block is encrypted and dropped. */
  function locate(start: number, end: number) {
    const from = Math.max(start, A1_HEADER_BYTES) - A1_HEADER_BYTES;
    const to = Math.min(end, tagStart) - A1_HEADER_BYTES;
    return { from, to, first: from - (from % BLOCK_BYTES) };
  }

  function readInto(start: number, target: Uint8Array): void {
    guard.check();
    const { to, first } = locate(start, start + target.length);
    copyOverlap(header.bytes, 0, target, start);
    copyOverlap(tag, tagStart, target, start);
    for (let at = first; at < to; at += PIECE_BYTES) {
      const piece = encryptPiece(at, Math.min(at + PIECE_BYTES, to));
      copyOverlap(piece, A1_HEADER_BYTES + at, target, start);
      release(piece);
    }
  }

  return {
    sizeBytes,
    wipe: guard.wipe,
    readInto,
    read(start, end) {
      guard.check();
      const { from, to, first } = locate(start, end);
      if (to - from === end - start && to - first <= PIECE_BYTES + BLOCK_BYTES) {
        return encryptPiece(first, to).subarray(from - first);
      }
      const target = Buffer.allocUnsafeSlow(end - start);
      readInto(start, target);
      return target;
    },
  };
}

/** Encrypts the content in order. @returns the tag */
async function encryptForTag(
  content: Body,
  header: A1Header,
  secrets: A1Secrets,
  take: (offset: number, ciphertext: Uint8Array) => void,
  paced?: { readonly pacer: Pacer; readonly signal: AbortSignal },
): Promise<Uint8Array> {
  const cipher = createA1Cipher(header, secrets);
  const readPlaintext = createReader(content, PIECE_BYTES);
  for (let start = 0; start < content.sizeBytes; start += PIECE_BYTES) {
    const turn = paced?.pacer.turn();
    if (turn !== undefined) await turn;
    if (paced?.signal.aborted === true) throw abortReason(paced.signal);
    const end = Math.min(start + PIECE_BYTES, content.sizeBytes);
    const ciphertext = cipher.update(readPlaintext(start, end));
    take(start, ciphertext);
    release(ciphertext);
  }
  cipher.final();
  return cipher.getAuthTag();
}

function encryptA2(
  content: Body,
  sizeBytes: number,
  created: { readonly header: A2Header; readonly secrets: A2Secrets },
): EncryptedBody {
  const { header, secrets } = created;
  const guard = createGuard(secrets.dek);
  const count = segmentCount(content.sizeBytes);
  const readPlaintext = createReader(content, SEGMENT_BYTES);
  // Reads end within segments: what is left of one is kept for whoever goes on from there.
  const kept = new Map<number, Uint8Array>();

  function seal(index: number, target: Uint8Array, offset: number): void {
    const { start, end } = segmentOf(index, content.sizeBytes);
    sealSegment(secrets, index, index === count - 1, readPlaintext(start, end), target, offset);
  }

  function takeSealed(index: number, sealedBytes: number): Uint8Array {
    const left = kept.get(index);
    if (left !== undefined) return left;
    const sealed = Buffer.allocUnsafeSlow(sealedBytes);
    seal(index, sealed, 0);
    return sealed;
  }

  function keep(index: number, sealed: Uint8Array): void {
    kept.set(index, sealed);
    if (kept.size <= KEPT_SEGMENTS) return;
    const [oldest] = kept.keys();
    if (oldest !== undefined) kept.delete(oldest);
  }

  function readInto(start: number, target: Uint8Array): void {
    guard.check();
    const end = start + target.length;
    copyOverlap(header.bytes, 0, target, start);
    const first = Math.max(0, Math.floor((start - A2_HEADER_BYTES) / SEALED_SEGMENT_BYTES));
    for (let index = first; index < count; index++) {
      const at = A2_HEADER_BYTES + index * SEALED_SEGMENT_BYTES;
      if (at >= end) break;
      const plaintext = segmentOf(index, content.sizeBytes);
      const sealedEnd = at + plaintext.end - plaintext.start + TAG_BYTES;
      if (at >= start && sealedEnd <= end) {
        seal(index, target, at - start);
        continue;
      }
      const sealed = takeSealed(index, sealedEnd - at);
      copyOverlap(sealed, at, target, start);
      if (sealedEnd > end) keep(index, sealed);
      else kept.delete(index);
    }
  }

  return {
    sizeBytes,
    wipe: guard.wipe,
    readInto,
    read(start, end) {
      const target = Buffer.allocUnsafeSlow(end - start);
      readInto(start, target);
      return target;
    },
  };
}

/** Reads plaintext for immediate use: into one buffer again and again, where the content can do that.
 *  @param maxBytes of one read */
function createReader(content: Body, maxBytes: number): (start: number, end: number) => Uint8Array {
  if (content.readInto === undefined) return (start, end) => content.read(start, end);
  const buffer = Buffer.allocUnsafeSlow(Math.min(maxBytes, content.sizeBytes));
  return (start, end) => {
    const piece = buffer.subarray(0, end - start);
    content.readInto?.(start, piece);
    return piece;
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

function createGuard(...secrets: readonly Uint8Array[]) {
  let isWiped = false;
  return {
    check: () => {
      if (isWiped) throw new StorageError('ABORTED', 'the encryption of this content is over');
    },
    wipe: () => {
      isWiped = true;
      wipeAll(...secrets);
    },
  };
}

function wipeAll(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}
