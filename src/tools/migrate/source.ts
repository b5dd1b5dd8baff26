// SPDX-License-Identifier: GPL-3.0-or-later
// What a migration must know about an object before it reads the object.

import type { Attachment } from '../../attachments/attachments.ts';
import type { ParsedKey } from '../../attachments/naming.ts';
import { looksEncrypted } from '../../encryption/header.ts';
import { readHead } from '../../encryption/inspect.ts';
import { A2_HEADER_BYTES } from '../../encryption/sizes.ts';
import { StorageError } from '../../errors.ts';
import type { ObjectInfo, OperationOptions } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';
import type { Route } from './migrate.ts';

/** Whether a migration must ask Orthanc for the types of files. Flat names contain the type, and A2 objects are bound to it. */
export function needsTypes({ from, to }: Route): boolean {
  if (from.naming.structure === 'flat') return from.naming.legacyUnknownFiles;
  // The C++ plugins wrote A1 to the disk, which is not bound to a type.
  const isBound = from.hasKeys && !from.isFileSystem;
  return to.naming.structure === 'flat' || to.format !== undefined || isBound;
}

/** @returns undefined if only a read of the whole object tells */
export async function contentBytesOf(
  { hasKeys, isFileSystem, attachments }: Side,
  object: ObjectInfo,
  attachment: Attachment,
  options: OperationOptions,
): Promise<number | undefined> {
  if (!hasKeys) return object.sizeBytes;
  if (!isFileSystem) return undefined;
  // Reading a file's header costs no request.
  const found = await attachments.find(attachment, options);
  return found?.encryption?.contentBytes ?? object.sizeBytes;
}

/** @throws StorageError UNKNOWN_KEY for an encrypted object without keys: its ciphertext must not be copied as a content */
export async function requireKeys(
  side: Side,
  object: ObjectInfo,
  parsed: ParsedKey,
  options: OperationOptions,
): Promise<void> {
  if (side.isFileSystem || side.hasKeys) return;
  if (parsed.encrypted ?? (await isSealed(side, object, options))) {
    throw new StorageError(
      'UNKNOWN_KEY',
      'it is encrypted, and the configuration that it is read by has no keys',
      { key: object.key },
    );
  }
}

async function isSealed(
  { store }: Side,
  { key, sizeBytes }: ObjectInfo,
  options: OperationOptions,
): Promise<boolean> {
  // Too small for either format. This saves a request.
  if (sizeBytes < A2_HEADER_BYTES) return false;
  const { bytes, totalBytes } = await readHead(store, key, options);
  return looksEncrypted(bytes, totalBytes, () => false);
}
