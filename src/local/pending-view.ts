// SPDX-License-Identifier: GPL-3.0-or-later
// For commands, which look into the folder while Orthanc may be working there. They change nothing.

import type { LocalCacheSettings } from '../config/settings.ts';
import { toStorageError } from '../errors.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { FolderOnDisk, isLocal } from './disk.ts';
import { comesAfter, FOLDERS, hashOf, type LocalFile, parseName, pathOf } from './names.ts';

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

/** @throws StorageError if the folder cannot be read */
export async function readFolder({
  directory,
}: Pick<LocalCacheSettings, 'directory'>): Promise<FolderContents> {
  const disk = new FolderOnDisk(directory);
  const newest = new Map<string, LocalFile>();
  for (const folder of FOLDERS) {
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

/** The bucket with what is pending in the folder. Listings are the bucket's. */
export function createPendingView(
  bucket: ObjectStore,
  settings: Pick<LocalCacheSettings, 'directory'>,
  onUnreadable: (reason: string) => void,
): PendingView {
  const disk = new FolderOnDisk(settings.directory);
  let snapshot: Promise<ReadonlyMap<string, LocalFile>> | undefined;
  let takenMs = 0;

  async function takeSnapshot(): Promise<ReadonlyMap<string, LocalFile>> {
    try {
      const { pending, removed } = await readFolder(settings);
      return new Map([...pending, ...removed].map((file) => [file.hash, file]));
    } catch (error) {
      onUnreadable(toStorageError(error).message);
      return new Map();
    }
  }

  async function find(key: string): Promise<LocalFile | undefined> {
    if (snapshot === undefined || performance.now() > takenMs + SNAPSHOT_MS) {
      takenMs = performance.now();
      snapshot = takeSnapshot();
    }
    return (await snapshot).get(hashOf(key));
  }

  return {
    ...bucket,
    async get(key, range, sink, options) {
      const file = await find(key);
      if (file?.kind === 'pending') {
        try {
          const { sizeBytes } = file;
          const end = range === undefined ? sizeBytes : Math.min(range.end, sizeBytes);
          const isInside = range === undefined || range.end === end || range.mayEndEarly === true;
          if (isInside) {
            const wanted = { start: range?.start ?? 0, end };
            return await disk.read(
              { path: pathOf(file), key, sizeBytes },
              wanted,
              sink,
              options.signal,
            );
          }
        } catch (error) {
          // It has been uploaded meanwhile.
          if (!isLocal(error, 'NOT_FOUND')) throw error;
        }
      }
      await bucket.get(key, range, sink, options);
    },
    async head(key, options) {
      // In this order: an upload between the two is seen by the bucket.
      const file = await find(key);
      if (file?.kind === 'pending') return { sizeBytes: file.sizeBytes };
      return await bucket.head(key, options);
    },
    isPending: async (key) => (await find(key))?.kind === 'pending',
  };
}
