// SPDX-License-Identifier: GPL-3.0-or-later
// What an object's first bytes tell, without any key.

import { StorageError } from '../errors.ts';
import { A1_MAGIC, type A1Header, readA1Header } from './a1.ts';
import { A2_MAGIC, type A2Header, readA2Header } from './a2.ts';
import {
  A1_HEADER_BYTES,
  A2_HEADER_BYTES,
  ciphertextSize,
  type EncryptionFormat,
  keyIdOf,
} from './sizes.ts';

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

function noFormatError(): StorageError {
  return new StorageError(
    'INTEGRITY',
    'the object is not encrypted, or in a format that this version does not know',
  );
}

/** Whether a key is configured. */
export type HasKey = (keyId: number) => boolean;

/** @param head the first bytes, as many as there are up to 53
 *  @param rules `plain` tells what becomes of an object that is not encrypted
 *  @returns undefined for such a one, where it is accepted
 *  @throws StorageError INTEGRITY for such a one, where it is not */
export function formatOf(
  head: Uint8Array,
  totalBytes: number,
  { plain, hasKey }: { readonly plain: 'refuse' | 'accept'; readonly hasKey: HasKey },
): EncryptionFormat | undefined {
  if (plain === 'accept' && !looksEncrypted(head, totalBytes, hasKey)) return undefined;
  const format = detectFormat(head);
  if (format === undefined) throw noFormatError();
  return format;
}

/** Whether a content would pass for an encrypted object, under whichever key: in a place where first bytes tell, it is not stored as it is.
 *  @param head the first bytes, two at least where there are so many */
export function isLookalike(head: Uint8Array, totalBytes: number): boolean {
  const format = detectFormat(head);
  return format !== undefined && totalBytes >= ciphertextSize(format, 0);
}

const BEHIND_KEY_ID = 6;
const USUAL_IDS_MAX = 0xffff;

/** For objects and files whose names do not tell: any content of a user's may begin with "A1" as well. A key that is known does tell. With one
 *  that is not, it counts as encrypted, hence as unreadable, where the id is as small as people choose them, and what follows is not
 *  two zeros: so would a content go on that Orthanc has compressed, which begins with its size in eight bytes.
 *  @param head the first bytes, as many as there are up to 53 */
export function looksEncrypted(head: Uint8Array, totalBytes: number, hasKey: HasKey): boolean {
  if (!isLookalike(head, totalBytes)) return false;
  const keyId = keyIdOf(head);
  if (hasKey(keyId)) return true;
  const isZero = head[BEHIND_KEY_ID] === 0 && head[BEHIND_KEY_ID + 1] === 0;
  return keyId <= USUAL_IDS_MAX && !isZero;
}
