// SPDX-License-Identifier: GPL-3.0-or-later
// Finds the journals of removals, also those that an earlier configuration left, and goes on with them.

import { lstat, mkdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { RemovalsSettings } from '../config/settings.ts';
import { badConfig, errorCode, type StorageError, toStorageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { BATCH_TIMEOUT_MS, createRemovals, notedIn, type Removals, toEntries } from './removals.ts';
import {
  type JournalContent,
  journalPath,
  openJournal,
  REMOVALS_FOLDER,
  readJournals,
  readNoted,
  removeTemporaries,
} from './removals-journal.ts';

const LOCK_FILE = 'lock';
const FOLDER_MODE = 0o700;

/** Takes a lock that ends with the process, or with this runtime. @returns false if another process has it */
export type LockFile = (path: string) => boolean;

export interface OpenRemovalsOptions {
  readonly settings: RemovalsSettings;
  /** Whatever tells buckets apart, without secrets. Keys have RootPath in them. */
  readonly bucket: string;
  readonly store: ObjectStore;
  readonly log: Logger;
  readonly lockFile: LockFile;
  readonly requestTimeoutMs: number;
  readonly lanes: number;
}

/** @returns undefined if DeleteInBackground is off, and nothing is left to be removed
 *  @throws StorageError BAD_CONFIG that says what to do */
export async function openRemovals(options: OpenRemovalsOptions): Promise<Removals | undefined> {
  const { settings, bucket, store, log, lanes } = options;
  const { isOn, isSynchronous } = settings;
  const folders = settings.folders.map((folder) => join(folder, REMOVALS_FOLDER));
  const [home] = folders;
  if (isOn && home !== undefined) await makeFolder(home);
  const found: (JournalContent & { readonly folder: string })[] = [];
  for (const folder of folders) {
    if (await isFolder(folder)) found.push(...(await claim(folder, options)));
  }
  const entries = toEntries(found.flatMap(({ noted }) => [...noted]));
  const target = isOn ? home : found.find(({ noted }) => noted.size > 0)?.folder;
  if (target === undefined) {
    for (const { path } of found) await unlink(path);
    return undefined;
  }
  if (entries.size > 0) {
    if (lanes > 1) throw refuseLanes(entries.size, target, lanes);
    const why = isOn ? '' : ' although DeleteInBackground is off';
    log[isOn ? 'info' : 'warning'](
      `${entries.size} removals were noted before and are still to be carried out: that goes on${why} (${target})`,
    );
  }
  const noted = () => notedIn(entries);
  const journal = await openJournal({ folder: target, bucket, isSynchronous, noted });
  for (const { path } of found) if (path !== journalPath(target, bucket)) await unlink(path);
  return createRemovals({
    store,
    journal,
    entries,
    log,
    notesNew: isOn,
    batchTimeoutMs: Math.min(BATCH_TIMEOUT_MS, options.requestTimeoutMs),
  });
}

/** @returns the journals of this bucket in the folder, which no other Orthanc uses from here on */
async function claim(
  folder: string,
  { bucket, log, lockFile }: OpenRemovalsOptions,
): Promise<readonly (JournalContent & { readonly folder: string })[]> {
  let isOurs: boolean;
  try {
    isOurs = lockFile(join(folder, LOCK_FILE));
  } catch (cause) {
    const { message } = toStorageError(cause);
    throw badConfig(
      `the folder "${folder}", where removals are noted, cannot be locked (${message})`,
      {
        cause,
      },
    );
  }
  if (!isOurs) {
    throw badConfig(
      `the folder "${folder}", where removals are noted, is used by another Orthanc; give each Orthanc a StorageDirectory (or LocalCache.Directory) of its own`,
    );
  }
  await removeTemporaries(folder);
  const own: (JournalContent & { readonly folder: string })[] = [];
  for (const journal of await readJournals(folder)) {
    const { path, noted, lost } = journal;
    if (lost > 0) {
      log.error(
        `"${path}" is damaged: ${lost} removals that were noted in it are not carried out; "verify" finds what is left of them in the bucket`,
      );
    }
    if (journal.bucket === bucket) own.push({ ...journal, folder });
    else if (noted.size > 0) {
      log.warning(
        `"${path}" holds ${noted.size} removals that are still to be carried out in another bucket (${journal.bucket}): start Orthanc with the configuration of that bucket once, or remove the file, and "verify" finds them there`,
      );
    }
  }
  return own;
}

/** Whether `openRemovals` would refuse what is noted for this bucket, without a lock and without changing anything.
 *  @throws StorageError BAD_CONFIG */
export async function checkNoted(
  folders: readonly string[],
  bucket: string,
  lanes: number,
): Promise<void> {
  for (const parent of folders) {
    const folder = join(parent, REMOVALS_FOLDER);
    try {
      const { size } = await readNoted(folder, bucket);
      if (size > 0 && lanes > 1) throw refuseLanes(size, folder, lanes);
    } catch (error) {
      // Otherwise this user may not look, as Orthanc's may.
      if (toStorageError(error).code === 'BAD_CONFIG') throw error;
    }
  }
}

function refuseLanes(count: number, folder: string, lanes: number): StorageError {
  return badConfig(
    `Lanes: ${count} removals are still to be carried out ("${folder}"), and one event loop has to know of them all: start Orthanc with "Lanes": 1 until /object-storage/status shows none, then with ${lanes}`,
  );
}

async function makeFolder(folder: string): Promise<void> {
  try {
    // Orthanc itself makes this one later.
    await mkdir(dirname(folder), { recursive: true });
    await mkdir(folder, { recursive: true, mode: FOLDER_MODE });
  } catch (cause) {
    throw badConfig(
      `DeleteInBackground: the folder "${folder}" cannot be made (${errorCode(cause)}); give its parent to the user that runs Orthanc`,
      { cause },
    );
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isDirectory();
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return false;
    throw badConfig(`the folder "${path}" cannot be read (${errorCode(thrown)})`, {
      cause: thrown,
    });
  }
}
