// SPDX-License-Identifier: GPL-3.0-or-later
// Whether Orthanc's folder is the bucket itself, mounted (s3fs, rclone, gcsfuse), or the folder that a gateway serves as one. In the
// legacy structure both sides then have the same names, so that a move would remove the one copy that there is: docs/decisions.md.

import type { NamingSettings } from '../config/settings.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { probeKey } from '../providers/operation.ts';
import { sleepUntilAborted } from '../store/abort.ts';
import { bodyOf } from '../store/bodies.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { folderOf } from './naming.ts';

const POLL_MS = 1_000;
const REMOVAL_TIMEOUT_MS = 5_000;

export interface TwoStores {
  readonly files: Pick<ObjectStore, 'put' | 'delete'>;
  readonly objects: Pick<ObjectStore, 'head'>;
}

/** Names differ in the flat structure: then even one place keeps both sides apart. */
export function mayBeOnePlace({ structure }: NamingSettings): boolean {
  return structure === 'legacy';
}

/** Resolves where they are two: a file that is written to the folder is no object of the bucket. Of the bucket, that asks for nothing but
 *  reading.
 *  @param patienceMs for how long the file is looked for
 *  @throws StorageError BAD_CONFIG where they are one */
export async function requireTwoPlaces(
  { files, objects }: TwoStores,
  naming: NamingSettings,
  { signal, patienceMs = 0 }: { readonly signal: AbortSignal; readonly patienceMs?: number },
): Promise<void> {
  const name = probeKey('');
  const endMs = performance.now() + patienceMs;
  try {
    await files.put(name, bodyOf(Buffer.from('probe')), { signal });
    for (;;) {
      if (await isThere(objects, `${folderOf(naming)}${name}`, signal)) break;
      if (performance.now() >= endMs) return;
      await sleepUntilAborted(POLL_MS, signal);
    }
  } finally {
    await removeProbe(files, name);
  }
  throw new StorageError(
    'BAD_CONFIG',
    `StorageDirectory and the bucket are the same place: what is written to the folder shows in the bucket, under RootPath "${naming.rootPath}". There is nothing to move or to migrate, and a move would delete the only copy. Leave HybridMode "Disabled" (and MigrationFromFileSystemEnabled out): with StorageStructure "legacy", Orthanc's files are read from the bucket as they are`,
  );
}

/** Also where a signal has ended the rest; a disk that hangs keeps neither a start nor a move waiting. */
async function removeProbe(files: TwoStores['files'], name: string): Promise<void> {
  try {
    await files.delete(name, { signal: AbortSignal.timeout(REMOVAL_TIMEOUT_MS) });
  } catch {
    // Then five bytes are left that nobody reads. What the disk has failed at before says more.
  }
}

async function isThere(
  objects: TwoStores['objects'],
  key: string,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return (await objects.head(key, { signal })) !== undefined;
  } catch (error) {
    // What may be read and is there is never denied; what is not there is, by S3 without s3:ListBucket.
    if (toStorageError(error).code === 'ACCESS_DENIED') return false;
    throw error;
  }
}
