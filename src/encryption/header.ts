// SPDX-License-Identifier: GPL-3.0-or-later
// What an object's first bytes tell, without any key.

import { StorageError } from '../errors.ts';
import { A1_MAGIC, type A1Header, readA1Header } from './a1.ts';
import { A2_MAGIC, type A2Header, readA2Header } from './a2.ts';
import { A1_HEADER_BYTES, A2_HEADER_BYTES, type EncryptionFormat } from './sizes.ts';

export type Header = A1Header | A2Header;

/** Both formats begin with two letters. */
export const MAGIC_BYTES = 2;
export const HEADER_BYTES = {
  A1: A1_HEADER_BYTES,
  A2: A2_HEADER_BYTES,
} as const satisfies Record<EncryptionFormat, number>;
export const LONGEST_HEADER_BYTES = Math.max(A1_HEADER_BYTES, A2_HEADER_BYTES);

/** @returns undefined where the first bytes are those of neither format, or too few */
export function detectFormat(bytes: Uint8Array): EncryptionFormat | undefined {
  const magic = Buffer.from(bytes.subarray(0, MAGIC_BYTES)).toString('latin1');
  return magic === A1_MAGIC || magic === A2_MAGIC ? magic : undefined;
}

/** @param bytes the beginning of an object, at least as long as its header
 *  @throws StorageError INTEGRITY for everything that is no header; whether it is authentic is told only by what follows */
export function parseHeader(bytes: Uint8Array): Header {
  const format = detectFormat(bytes);
  if (format === undefined) throw noFormatError();
  if (bytes.length < HEADER_BYTES[format]) {
    throw new StorageError(
      'INTEGRITY',
      `the object ends within the header of encryption format ${format}`,
    );
  }
  const header = bytes.subarray(0, HEADER_BYTES[format]);
  return format === 'A1' ? readA1Header(header) : readA2Header(header);
}

export function noFormatError(): StorageError {
  return new StorageError(
    'INTEGRITY',
    'the object is not encrypted, or in a format that this version does not know',
  );
}
