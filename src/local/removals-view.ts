// SPDX-License-Identifier: GPL-3.0-or-later
// For commands, which look into the journals of removals while Orthanc may be working with them. They change nothing there.

import { stat } from 'node:fs/promises';
import { errorCode, StorageError, toStorageError } from '../errors.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { keepFor } from '../store/once.ts';
import { readJournal } from './removals-journal.ts';

const SNAPSHOT_MS = 1_000;

/** The bucket as Orthanc shows it: without what is noted to be removed.
 *  @param paths of the journals
 *  @param onUnreadable called once, with the reason */
export function createRemovalsView(
  store: ObjectStore,
  paths: readonly string[],
  onUnreadable: (reason: string) => void,
): ObjectStore {
  const journals = paths.map((path) => ({ path, version: '', noted: new Set<string>() }));
  /** Also those that have been carried out since. */
  const everNoted = new Set<string>();
  let hasWarned = false;

  const refresh = keepFor(SNAPSHOT_MS, async () => {
    for (const journal of journals) {
      try {
        const version = await versionOf(journal.path);
        if (version === journal.version) continue;
        const content = await readJournal(journal.path);
        journal.version = version;
        journal.noted = new Set(content?.noted.keys());
        for (const key of journal.noted) everNoted.add(key);
      } catch (thrown) {
        const error = toStorageError(thrown);
        if (error.code === 'BAD_CONFIG') throw error;
        if (!hasWarned) onUnreadable(error.message);
        hasWarned = true;
      }
    }
  });

  return withoutRemoved(store, {
    refresh,
    isRemoved: (key) => journals.some(({ noted }) => noted.has(key)),
    wasRemoved: (key) => everNoted.has(key),
  });
}

/** What Orthanc has removed, as it was when it was last asked for. */
interface Removed {
  /** Asks again, now and then. */
  refresh(): Promise<void>;
  /** It is still to be removed in the bucket. */
  isRemoved(key: string): boolean;
  /** Also if that has been done since: a page of a listing may be older. */
  wasRemoved(key: string): boolean;
}

/** The store without what Orthanc has removed. That may not be written either, since Orthanc would remove it in the bucket. */
export function withoutRemoved(store: ObjectStore, removed: Removed): ObjectStore {
  async function isRemoved(key: string): Promise<boolean> {
    await removed.refresh();
    return removed.isRemoved(key);
  }
  return {
    ...store,
    async put(key, body, options) {
      if (!(await isRemoved(key))) return await store.put(key, body, options);
      throw new StorageError(
        'UNAVAILABLE',
        `cannot write "${key}": Orthanc has removed it, and is still to carry that out in the bucket; let it run until /object-storage/status shows no pending removals, then run this again`,
        { key },
      );
    },
    async get(key, range, sink, options) {
      if (!(await isRemoved(key))) return await store.get(key, range, sink, options);
      throw new StorageError('NOT_FOUND', `"${key}" has been removed`, { key });
    },
    head: async (key, options) =>
      (await isRemoved(key)) ? undefined : await store.head(key, options),
    async *list(prefix, options) {
      await removed.refresh();
      for await (const object of store.list(prefix, options)) {
        await removed.refresh();
        if (!removed.wasRemoved(object.key)) yield object;
      }
    },
  };
}

async function versionOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${ino} ${size} ${mtimeMs}`;
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return '';
    throw new StorageError('UNAVAILABLE', `"${path}" cannot be read (${errorCode(thrown)})`, {
      cause: thrown,
    });
  }
}
