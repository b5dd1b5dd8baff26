// SPDX-License-Identifier: GPL-3.0-or-later
// Contents of requests.

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from '../checksums/checksums.ts';
import { abortReason, type Signal } from '../store/abort.ts';
import { viewOf } from '../store/bodies.ts';
import type { Body } from '../store/object-store.ts';

/** About 0.1 ms of SHA-256, so that the loop turns often enough. */
export const PIECE_BYTES = 128 * 1024;
/** The same of CRC32. */
const CRC32_BYTES_PER_TURN = 4 * PIECE_BYTES;

/** One for all contents, since each piece is used before the next one is read. */
const scratch = Buffer.allocUnsafeSlow(PIECE_BYTES);

/** Reads a content from start to end. The event loop turns after so many bytes.
 *  @param use must be done with the piece when it returns */
export async function eachPiece(
  body: Body,
  signal: Signal,
  use: (piece: Uint8Array) => void,
  bytesPerTurn = PIECE_BYTES,
): Promise<void> {
  for (let start = 0; start < body.sizeBytes; start += PIECE_BYTES) {
    if (start > 0 && start % bytesPerTurn === 0) await setImmediate();
    if (signal.aborted) throw abortReason(signal);
    const piece = scratch.subarray(0, body.sizeBytes - start);
    body.readInto(start, piece);
    use(piece);
  }
}

/** The content of a request that an SDK makes.
 *  @throws TypeError for a stream */
export function contentOf(given: unknown): Body | undefined {
  if (given === undefined || given === null || given === '') return undefined;
  if (given instanceof Uint8Array) return viewOf(given);
  if (typeof given === 'string' || given instanceof URLSearchParams) {
    return viewOf(Buffer.from(given.toString()));
  }
  throw new TypeError('a request of an SDK has a content of an unexpected kind');
}

/** Bytes [start, end) of a body as a body of its own. */
export function window(body: Body, start: number, end: number): Body {
  return {
    sizeBytes: end - start,
    read: (from, to) => body.read(start + from, start + to),
    readInto: (from, target) => {
      body.readInto(start + from, target);
    },
  };
}

export interface Digests {
  readonly crc32: number | undefined;
  readonly md5Base64: string | undefined;
  readonly sha256Hex: string | undefined;
}

/** Computes all the digests wanted in one pass. */
export async function digest(
  body: Body,
  wanted: { readonly crc32: boolean; readonly md5: boolean; readonly sha256: boolean },
  signal: Signal,
): Promise<Digests> {
  const md5 = wanted.md5 ? createHash('md5') : undefined;
  const sha256 = wanted.sha256 ? createHash('sha256') : undefined;
  let checksum = 0;
  const isHashed = md5 !== undefined || sha256 !== undefined;
  if (wanted.crc32 || isHashed) {
    const use = (piece: Uint8Array) => {
      if (wanted.crc32) checksum = crc32(piece, checksum);
      md5?.update(piece);
      sha256?.update(piece);
    };
    await eachPiece(body, signal, use, isHashed ? PIECE_BYTES : CRC32_BYTES_PER_TURN);
  }
  return {
    crc32: wanted.crc32 ? checksum : undefined,
    md5Base64: md5?.digest('base64'),
    sha256Hex: sha256?.digest('hex'),
  };
}
