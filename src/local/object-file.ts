// SPDX-License-Identifier: GPL-3.0-or-later
// The content of a file: the object as it is in the bucket, then a trailer.
//
//   object · CRC-32 of each block of 65,536 bytes, uint32 LE · key in UTF-8 · footer of 28 bytes:
//   "OOSLOCAL" · version 1, uint32 LE · bytes of the key, uint32 LE · bytes of the object, uint64 LE · CRC-32 of the trailer before it

import { crc32 } from '../checksums/checksums.ts';

export const BLOCK_BYTES = 64 * 1024;
export const FOOTER_BYTES = 28;
const MAGIC = Buffer.from('OOSLOCAL');
const VERSION = 1;
const CHECKSUM_BYTES = 4;

export interface Trailer {
  readonly key: string;
  readonly sizeBytes: number;
  /** Of the block of this number. */
  checksum(block: number): number;
}

function checksumsBytes(sizeBytes: number): number {
  return Math.ceil(sizeBytes / BLOCK_BYTES) * CHECKSUM_BYTES;
}

export function trailerBytes(sizeBytes: number, keyBytes: number): number {
  return checksumsBytes(sizeBytes) + keyBytes + FOOTER_BYTES;
}

/** Computes the checksums of an object that comes in order, each piece but the last a multiple of BLOCK_BYTES. */
export class TrailerWriter {
  readonly #checksums: Buffer;
  readonly #key: Buffer;
  readonly #sizeBytes: number;
  #at = 0;

  constructor(key: string, sizeBytes: number) {
    this.#key = Buffer.from(key);
    this.#sizeBytes = sizeBytes;
    this.#checksums = Buffer.allocUnsafe(checksumsBytes(sizeBytes));
  }

  get bytes(): number {
    return trailerBytes(this.#sizeBytes, this.#key.length);
  }

  add(piece: Uint8Array): void {
    for (let start = 0; start < piece.length; start += BLOCK_BYTES) {
      const checksum = crc32(piece.subarray(start, start + BLOCK_BYTES), 0);
      this.#at = this.#checksums.writeUInt32LE(checksum, this.#at);
    }
  }

  toBytes(): Uint8Array {
    const bytes = Buffer.allocUnsafe(this.bytes);
    this.writeTo(bytes);
    return bytes;
  }

  writeTo(target: Uint8Array): void {
    const trailer = Buffer.from(target.buffer, target.byteOffset, this.bytes);
    let at = this.#checksums.copy(trailer);
    at += this.#key.copy(trailer, at);
    at += MAGIC.copy(trailer, at);
    at = trailer.writeUInt32LE(VERSION, at);
    at = trailer.writeUInt32LE(this.#key.length, at);
    at = trailer.writeBigUInt64LE(BigInt(this.#sizeBytes), at);
    trailer.writeUInt32LE(crc32(trailer.subarray(0, at), 0), at);
  }
}

export interface Footer {
  readonly keyBytes: number;
  readonly sizeBytes: number;
}

/** @returns undefined if it is none */
export function parseFooter(bytes: Uint8Array): Footer | undefined {
  if (bytes.length < FOOTER_BYTES) return undefined;
  const start = bytes.byteOffset + bytes.length - FOOTER_BYTES;
  const footer = Buffer.from(bytes.buffer, start, FOOTER_BYTES);
  if (MAGIC.compare(footer, 0, MAGIC.length) !== 0) return undefined;
  if (footer.readUInt32LE(8) !== VERSION) return undefined;
  return { keyBytes: footer.readUInt32LE(12), sizeBytes: Number(footer.readBigUInt64LE(16)) };
}

/** @param bytes the whole trailer
 *  @param expected the key that it must have
 *  @returns undefined if it is damaged */
export function parseTrailer(bytes: Uint8Array, expected?: string): Trailer | undefined {
  const footer = parseFooter(bytes);
  if (footer === undefined) return undefined;
  const { keyBytes, sizeBytes } = footer;
  if (bytes.length !== trailerBytes(sizeBytes, keyBytes)) return undefined;
  const trailer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = trailer.length - CHECKSUM_BYTES;
  if (trailer.readUInt32LE(end) !== crc32(trailer.subarray(0, end), 0)) return undefined;
  const keyStart = checksumsBytes(sizeBytes);
  const key = trailer.toString('utf8', keyStart, keyStart + keyBytes);
  if (expected !== undefined && key !== expected) return undefined;
  return {
    key,
    sizeBytes,
    checksum: (block) => trailer.readUInt32LE(block * CHECKSUM_BYTES),
  };
}

/** @param start a multiple of BLOCK_BYTES
 *  @param bytes whole blocks, or up to the object's end */
export function areIntact(trailer: Trailer, start: number, bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += BLOCK_BYTES) {
    const found = crc32(bytes.subarray(at, at + BLOCK_BYTES), 0);
    if (found !== trailer.checksum((start + at) / BLOCK_BYTES)) return false;
  }
  return true;
}
