// SPDX-License-Identifier: GPL-3.0-or-later
// IN and OUT of `encrypt` and `decrypt`.

import { basename } from 'node:path';
import { type ParsedKey, parseKey } from '../attachments/naming.ts';
import { badConfig } from '../errors.ts';
import { isFile } from '../tools/common/files.ts';

/** Marks an object in the bucket, also if a file has its name. */
export const BUCKET_PREFIX = 'bucket:';

/** @returns undefined if it has no prefix: it is then a file or a standard stream */
export function keyOf(operand: string): string | undefined {
  return operand.startsWith(BUCKET_PREFIX) ? operand.slice(BUCKET_PREFIX.length) : undefined;
}

/** IN may be a key without the prefix, unless a file has its name. */
export function sourceKey(operand: string): string | undefined {
  const key = keyOf(operand);
  if (key !== undefined || isFile(operand)) return key;
  return parseName(operand) === undefined ? undefined : operand;
}

/** The last part of a path or key may be a name of the flat structure, or a bare uuid as in the legacy structure. */
export function parseName(name: string): ParsedKey | undefined {
  const last = basename(keyOf(name) ?? name);
  const naming = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
  return (
    parseKey(last, naming) ??
    parseKey(`${last.slice(0, 2)}/${last.slice(2, 4)}/${last}`, { ...naming, structure: 'legacy' })
  );
}

/** In the flat structure the name tells the plugin whether to decrypt the object. @throws StorageError BAD_CONFIG */
export function refuseMisleadingKey(to: string, isEncrypted: boolean): void {
  const key = keyOf(to);
  const named = key === undefined ? undefined : parseName(key)?.encrypted;
  if (named === undefined || named === isEncrypted) return;
  throw badConfig(
    isEncrypted
      ? `${key}: is the name of an object that is not encrypted, and would be read as one; write ${to}.enc`
      : `${key}: is the name of an encrypted object, and would be read as one; write it without ".enc"`,
  );
}
