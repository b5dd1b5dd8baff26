// SPDX-License-Identifier: GPL-3.0-or-later
// CRC-32/ISO-HDLC, the CRC32 of zlib, S3 and Azure's tools.

import * as zlib from 'node:zlib';

export interface Checksum {
  update(bytes: Uint8Array): void;
  /** Adds bytes by their CRC32 alone. Absent: this checksum cannot do so. */
  append?(crc32: number, sizeBytes: number): void;
  /** Big-endian, as in the stores' headers. */
  toBase64(): string;
}

export type CreateChecksum = () => Checksum;

const POLYNOMIAL = 0xedb88320;

/** @param previous the checksum of the bytes before, 0 at the start
 *  @returns an unsigned 32-bit number */
export type Crc32 = (bytes: Uint8Array, previous: number) => number;

// Kept by the module: what computes a CRC32 depends on the machine alone, and is needed everywhere.
let compute: Crc32 = zlib.crc32;

export const crc32: Crc32 = (bytes, previous) => compute(bytes, previous);

/** The plugin has one from the shim that takes a quarter of the time. */
export function useCrc32(faster: Crc32): void {
  compute = faster;
}

/** The checksum of two parts joined, from the checksum of each and the length of the second.
 *  @see zlib's crc32_combine. To append n zero bytes is a linear map over GF(2), which is built here by squaring */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  if (secondBytes === 0) return first;
  let combined = first >>> 0;
  let operator = zeroBitOperator();
  // One byte is eight bits: three squarings make the operator for one zero byte.
  for (let step = 0; step < 3; step++) operator = square(operator);
  for (let length = secondBytes; length > 0; length = Math.floor(length / 2)) {
    if (length % 2 === 1) combined = apply(operator, combined);
    operator = square(operator);
  }
  return (combined ^ second) >>> 0;
}

type Matrix = readonly number[];

function zeroBitOperator(): Matrix {
  const rows = [POLYNOMIAL];
  for (let bit = 0; bit < 31; bit++) rows.push(2 ** bit);
  return rows;
}

function apply(matrix: Matrix, vector: number): number {
  let sum = 0;
  let rest = vector >>> 0;
  for (let row = 0; rest !== 0; row++, rest >>>= 1) {
    if (rest & 1) sum ^= matrix[row] ?? 0;
  }
  return sum >>> 0;
}

function square(matrix: Matrix): Matrix {
  return matrix.map((row) => apply(matrix, row));
}

/** As in S3's headers: base64 of the four bytes, big-endian. */
export function encodeCrc32(checksum: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(checksum >>> 0);
  return bytes.toString('base64');
}

export const createCrc32: CreateChecksum = () => {
  let checksum = 0;
  return {
    update: (bytes) => {
      checksum = crc32(bytes, checksum);
    },
    append: (other, sizeBytes) => {
      checksum = combineCrc32(checksum, other, sizeBytes);
    },
    toBase64: () => encodeCrc32(checksum),
  };
};
