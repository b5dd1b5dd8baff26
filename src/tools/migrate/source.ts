// SPDX-License-Identifier: GPL-3.0-or-later
// What a migration must know of an object before it reads it.

import type { Attachment } from '../../attachments/attachments.ts';
import type { ParsedKey } from '../../attachments/naming.ts';
import { looksEncrypted } from '../../encryption/header.ts';
import { readHead } from '../../encryption/inspect.ts';
import { A2_HEADER_BYTES } from '../../encryption/sizes.ts';
import { StorageError } from '../../errors.ts';
import type { ObjectInfo, OperationOptions } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';

/** Whether a migration must ask Orthanc for the types of files. Flat names tell them; objects of A2 are bound to them. */
export function needsTypes({ from, to }: { readonly from: Side; readonly to: Side }): boolean {
  if (from.naming.structure === 'flat') return from.naming.legacyUnknownFiles;
  // What the C++ plugins have left on the disk is A1, which is bound to no type.
  const isBound = from.hasKeys && !from.isFileSystem;
  return to.naming.structure === 'flat' || to.format !== undefined || isBound;
}

/** @returns undefined where only a read of the whole tells */
export async function contentBytesOf(
  { hasKeys, isFileSystem, attachments }: Side,
  object: ObjectInfo,
  attachment: Attachment,
  options: OperationOptions,
): Promise<number | undefined> {
  if (!hasKeys) return object.sizeBytes;
  if (!isFileSystem) return undefined;
  // A look at a file costs no request.
  const found = await attachments.find(attachment, options);
  return found?.encryption?.contentBytes ?? object.sizeBytes;
}

/** @throws StorageError UNKNOWN_KEY for what is encrypted: it must not be copied as a content */
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
  // Too small for either format. The look is a request.
  if (sizeBytes < A2_HEADER_BYTES) return false;
  const { bytes, totalBytes } = await readHead(store, key, options);
  return looksEncrypted(bytes, totalBytes, () => false);
}
