// SPDX-License-Identifier: GPL-3.0-or-later
// Contents of requests: small ones as one buffer, large ones piece by piece.

import { createHash } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import { crc32 } from '../checksums/checksums.ts';
import { abortReason, type Signal } from '../store/abort.ts';
import { viewOf } from '../store/bodies.ts';
import type { Body } from '../store/object-store.ts';

/** Up to here a content is sent from one buffer, which is cheapest. Larger ones go in pieces and are never held as a whole. */
export const ONE_PIECE_BYTES = 1024 * 1024;
/** About 0.1 ms of SHA-256, so that the loop turns often enough. */
export const PIECE_BYTES = 128 * 1024;

/** Copies a small body once, for its digests and all attempts. A large one stays where it is. */
export function hold(body: Body): Body {
  if (body.sizeBytes > ONE_PIECE_BYTES) return body;
  return viewOf(body.read(0, body.sizeBytes));
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

/** Each piece is valid until the next one is read, since they share their memory. */
export function createPieceReader(body: Body): (start: number) => Uint8Array {
  const buffer = new Uint8Array(Math.min(PIECE_BYTES, body.sizeBytes));
  return (start) => {
    const piece = buffer.subarray(0, body.sizeBytes - start);
    body.readInto(start, piece);
    return piece;
  };
}

export interface Digests {
  readonly crc32: number | undefined;
  readonly md5Base64: string | undefined;
  readonly sha256Hex: string | undefined;
}

/** Computes all the digests wanted in one pass. The event loop turns between pieces. */
export async function digest(
  body: Body,
  wanted: { readonly crc32: boolean; readonly md5: boolean; readonly sha256: boolean },
  signal: Signal,
): Promise<Digests> {
  const md5 = wanted.md5 ? createHash('md5') : undefined;
  const sha256 = wanted.sha256 ? createHash('sha256') : undefined;
  let checksum = 0;
  const isAnyWanted = wanted.crc32 || md5 !== undefined || sha256 !== undefined;
  const readPiece = createPieceReader(body);
  for (let start = 0; isAnyWanted && start < body.sizeBytes; start += PIECE_BYTES) {
    if (start > 0) await setImmediate();
    if (signal.aborted) throw abortReason(signal);
    const piece = readPiece(start);
    if (wanted.crc32) checksum = crc32(piece, checksum);
    md5?.update(piece);
    sha256?.update(piece);
  }
  return {
    crc32: wanted.crc32 ? checksum : undefined,
    md5Base64: md5?.digest('base64'),
    sha256Hex: sha256?.digest('hex'),
  };
}
