// SPDX-License-Identifier: GPL-3.0-or-later
// For commands, which look into the folder while Orthanc may be working there. They change nothing.

import { existsSync } from 'node:fs';
import type { LocalCacheSettings } from '../config/settings.ts';
import { toStorageError } from '../errors.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { keepFor } from '../store/once.ts';
import { FolderOnDisk, isLocal, withinObject } from './disk.ts';
import { comesAfter, FOLDERS, hashOf, type LocalFile, parseName, pathOf } from './names.ts';
import { withoutRemoved } from './removals-view.ts';

/** What was acknowledged before is in the folder, or in the bucket by the time it is asked. */
const SNAPSHOT_MS = 1_000;

export interface PendingView extends ObjectStore {
  isPending(key: string): Promise<boolean>;
}

export interface FolderContents {
  readonly pending: readonly LocalFile[];
  readonly removed: readonly LocalFile[];
  readonly cached: readonly LocalFile[];
}

const NOTHING: FolderContents = { pending: [], removed: [], cached: [] };

/** @throws StorageError if the folder cannot be read */
export async function readFolder(
  { directory }: Pick<LocalCacheSettings, 'directory'>,
  folders = FOLDERS,
): Promise<FolderContents> {
  const disk = new FolderOnDisk(directory);
  const newest = new Map<string, LocalFile>();
  for (const folder of folders) {
    for (const name of await disk.list(folder)) {
      const file = parseName(folder, name);
      if (file === undefined) continue;
      const other = newest.get(file.hash);
      if (other === undefined || comesAfter(file, other)) newest.set(file.hash, file);
    }
  }
  const files = [...newest.values()];
  const of = (kind: LocalFile['kind']) => files.filter((file) => file.kind === kind);
  return { pending: of('pending'), removed: of('removed'), cached: of('cached') };
}

/** As `readFolder`, without the names of cached files, of which there may be a million. What a crash has left pending although it is cached
 *  counts as pending. */
export async function readPending(
  settings: Pick<LocalCacheSettings, 'directory'>,
): Promise<Pick<FolderContents, 'pending' | 'removed'>> {
  try {
    return await readFolder(settings, ['pending']);
  } catch (error) {
    // The folder is there, and Orthanc has never used it.
    if (isLocal(error, 'NOT_FOUND') && existsSync(settings.directory)) return NOTHING;
    throw error;
  }
}

/** The bucket with what is pending in the folder, and without what is to be removed. Listings lack what is pending.
 *  @param onUnreadable called once, with the reason */
export function createPendingView(
  bucket: ObjectStore,
  settings: Pick<LocalCacheSettings, 'directory'>,
  onUnreadable: (reason: string) => void,
): PendingView {
  const disk = new FolderOnDisk(settings.directory);
  let files: ReadonlyMap<string, LocalFile> = new Map();
  const everRemoved = new Set<string>();
  let hasWarned = false;

  const refresh = keepFor(SNAPSHOT_MS, async () => {
    try {
      const { pending, removed } = await readPending(settings);
      files = new Map([...pending, ...removed].map((file) => [file.hash, file]));
      for (const { hash } of removed) everRemoved.add(hash);
    } catch (error) {
      files = new Map();
      if (!hasWarned) onUnreadable(toStorageError(error).message);
      hasWarned = true;
    }
  });
  const view = withoutRemoved(bucket, {
    refresh,
    isRemoved: (key) => files.get(hashOf(key))?.kind === 'removed',
    wasRemoved: (key) => everRemoved.size > 0 && everRemoved.has(hashOf(key)),
  });

  async function findPending(key: string): Promise<LocalFile | undefined> {
    await refresh();
    const file = files.get(hashOf(key));
    return file?.kind === 'pending' ? file : undefined;
  }

  return {
    ...view,
    async get(key, range, sink, options) {
      const file = await findPending(key);
      if (file !== undefined) {
        const { sizeBytes } = file;
        const wanted = withinObject(key, range, sizeBytes);
        try {
          const object = { path: pathOf(file), key, sizeBytes };
          return await disk.read(object, wanted, sink, options.signal);
        } catch (error) {
          // It has been uploaded meanwhile.
          if (!isLocal(error, 'NOT_FOUND')) throw error;
        }
      }
      await view.get(key, range, sink, options);
    },
    async head(key, options) {
      // In this order: an upload between the two is seen by the bucket.
      const file = await findPending(key);
      if (file !== undefined) return { sizeBytes: file.sizeBytes };
      return await view.head(key, options);
    },
    isPending: async (key) => (await findPending(key)) !== undefined,
  };
}
