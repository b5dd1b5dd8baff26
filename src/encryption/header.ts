// SPDX-License-Identifier: GPL-3.0-or-later
// What an object's first bytes tell without a key.

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

export const MAGIC_BYTES = 2;
export const HEADER_BYTES = {
  A1: A1_HEADER_BYTES,
  A2: A2_HEADER_BYTES,
} as const satisfies Record<EncryptionFormat, number>;
export const LONGEST_HEADER_BYTES = Math.max(A1_HEADER_BYTES, A2_HEADER_BYTES);

/** @returns undefined if the bytes begin with neither format's letters */
export function detectFormat(bytes: Uint8Array): EncryptionFormat | undefined {
  const magic = Buffer.from(bytes.subarray(0, MAGIC_BYTES)).toString('latin1');
  return magic === A1_MAGIC || magic === A2_MAGIC ? magic : undefined;
}

/** Parses a header, without authenticating it.
 *  @param bytes of an object, from its start
 *  @throws StorageError INTEGRITY if they hold no complete header */
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

/** @param head the first 53 bytes, fewer of a smaller object
 *  @param rules.plain whether an object that is not encrypted is an error
 *  @returns undefined for an accepted object that is not encrypted
 *  @throws StorageError INTEGRITY for a refused one */
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

/** Whether a content looks like an encrypted object, of any key. Where only first bytes tell, such a content must not be stored as it is.
 *  @param head the first two bytes, fewer of a smaller content */
export function isLookalike(head: Uint8Array, totalBytes: number): boolean {
  const format = detectFormat(head);
  return format !== undefined && totalBytes >= ciphertextSize(format, 0);
}

const BEHIND_KEY_ID = 6;
const USUAL_IDS_MAX = 0xffff;

/** For objects whose names do not tell, since any content may begin with "A1". A known key id means encrypted. An unknown one does so if it is
 *  small and the next two bytes are not zero: Orthanc's compressed files start with an 8-byte size.
 *  @param head the first 53 bytes, fewer of a smaller object */
export function looksEncrypted(head: Uint8Array, totalBytes: number, hasKey: HasKey): boolean {
  if (!isLookalike(head, totalBytes)) return false;
  const keyId = keyIdOf(head);
  if (hasKey(keyId)) return true;
  const isZero = head[BEHIND_KEY_ID] === 0 && head[BEHIND_KEY_ID + 1] === 0;
  return keyId <= USUAL_IDS_MAX && !isZero;
}
