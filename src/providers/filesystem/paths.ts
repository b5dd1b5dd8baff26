// SPDX-License-Identifier: GPL-3.0-or-later
// Keys as paths below the root, and no others.

import { join } from 'node:path';
import { StorageError } from '../../errors.ts';

/** What is being written has such a name until it is whole. Left behind by a crash, it may be removed at any time. */
const TEMPORARY_NAME = /^\.orthanc-object-storage-.*\.tmp$/;

export function temporaryName(unique: string): string {
  return `.orthanc-object-storage-${unique}.tmp`;
}

export function isTemporary(name: string): boolean {
  return TEMPORARY_NAME.test(name);
}

/** @throws StorageError INTERNAL for a key that would lead out of the root, or to a file that is being written */
export function pathOf(root: string, key: string): string {
  const names = key.split('/');
  if (names.some(isForbidden)) {
    throw new StorageError('INTERNAL', `"${key}" names no file below StorageDirectory`, { key });
  }
  return join(root, ...names);
}

function isForbidden(name: string): boolean {
  return name === '' || name === '.' || name === '..' || name.includes('\0') || isTemporary(name);
}
