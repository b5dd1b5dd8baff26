// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's folder may be the bucket itself, mounted (s3fs, rclone, gcsfuse) or served by a gateway. In the legacy structure, both have the
// same names, and a move would delete the only copy (docs/decisions.md).

import type { NamingSettings } from '../config/settings.ts';
import { badConfig, toStorageError } from '../errors.ts';
import { probeKey } from '../providers/operation.ts';
import { type Signal, sleepUntilAborted } from '../store/abort.ts';
import { bodyOf } from '../store/bodies.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { folderOf } from './naming.ts';

const POLL_MS = 1_000;
const REMOVAL_TIMEOUT_MS = 5_000;

export interface TwoStores {
  readonly files: Pick<ObjectStore, 'put' | 'delete'>;
  readonly objects: Pick<ObjectStore, 'head'>;
}

/** False for the flat structure, because its names differ from those in the folder. */
export function mayBeOnePlace({ structure }: NamingSettings): boolean {
  return structure === 'legacy';
}

/** Writes a file to the folder and looks for it in the bucket. In the bucket this needs only the right to read.
 *  @param patienceMs how long to look for it
 *  @throws StorageError BAD_CONFIG if it is in the bucket */
export async function requireTwoPlaces(
  { files, objects }: TwoStores,
  naming: NamingSettings,
  { signal, patienceMs = 0 }: { readonly signal: Signal; readonly patienceMs?: number },
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

/** Runs after an abort too. It has a limit of its own, since the disk may hang. */
async function removeProbe(files: TwoStores['files'], name: string): Promise<void> {
  try {
    await files.delete(name, { signal: AbortSignal.timeout(REMOVAL_TIMEOUT_MS) });
  } catch {
    // Not worth a failure: it leaves five bytes.
  }
}

async function isThere(
  objects: TwoStores['objects'],
  key: string,
  signal: Signal,
): Promise<boolean> {
  try {
    return (await objects.head(key, { signal })) !== undefined;
  } catch (error) {
    // Without s3:ListBucket, S3 denies access to missing objects.
    if (toStorageError(error).code === 'ACCESS_DENIED') return false;
    throw error;
  }
}
