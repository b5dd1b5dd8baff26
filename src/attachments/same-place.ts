// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's folder may be the bucket itself: mounted (s3fs, rclone, gcsfuse), or served as a bucket by a gateway. In the legacy structure
// both then have the same names, and a move would remove the only copy: docs/decisions.md.

import type { NamingSettings } from '../config/settings.ts';
import { badConfig, toStorageError } from '../errors.ts';
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

/** Not in the flat structure, whose names differ from those of the folder. */
export function mayBeOnePlace({ structure }: NamingSettings): boolean {
  return structure === 'legacy';
}

/** Writes a file to the folder, and looks for it in the bucket, which needs only the right to read.
 *  @param patienceMs for how long it is looked for
 *  @throws StorageError BAD_CONFIG where it is there */
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
  throw badConfig(
    `StorageDirectory and the bucket are the same place: what is written to the folder shows in the bucket, under RootPath "${naming.rootPath}". There is nothing to move or to migrate, and a move would delete the only copy. Leave HybridMode "Disabled" (and MigrationFromFileSystemEnabled out): with StorageStructure "legacy", Orthanc's files are read from the bucket as they are`,
  );
}

/** Also after an abort. A disk that hangs keeps neither a start nor a move waiting. */
async function removeProbe(files: TwoStores['files'], name: string): Promise<void> {
  try {
    await files.delete(name, { signal: AbortSignal.timeout(REMOVAL_TIMEOUT_MS) });
  } catch {
    // Five bytes are left. An earlier failure of the disk says more.
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
    // Without s3:ListBucket, S3 denies access to what is not there. What is there may be read.
    if (toStorageError(error).code === 'ACCESS_DENIED') return false;
    throw error;
  }
}
