// SPDX-License-Identifier: GPL-3.0-or-later
// LocalCache.Directory belongs to one Orthanc and to one bucket.

import {
  access,
  chmod,
  constants,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
  unlink,
} from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { badConfig, errorCode, StorageError, toStorageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import { syncFolder } from '../store/sync-folder.ts';
import { FOLDERS, type Folder, parseName } from './names.ts';
import { REMOVALS_FOLDER, readJournals, unlessMissing } from './removals-journal.ts';

/** Takes a lock that ends with the process.
 *  @returns a function that gives it back; undefined: someone else has it */
export type LockFolder = (path: string) => Promise<(() => Promise<void>) | undefined>;

const BUCKET_FILE = 'bucket.json';
export const LOCK_FILE = 'lock';
/** Holds the boot of the machine, while the folder is in use. */
const IN_USE_FILE = 'in-use';
const OUR_NAMES: readonly string[] = [LOCK_FILE, REMOVALS_FOLDER, ...FOLDERS];
/** In StorageDirectory: holds the path of the folder, for the day when the configuration has lost it, and those of earlier ones that may be
 *  on disks that are not mounted. */
export const PLACE_FILE = 'orthanc-object-storage-local-cache';
const FOLDER_MODE = 0o700;
const FILE_MODE = 0o600;
/** An Orthanc that was killed may still be ending, and "cache status" looks whether the lock is free. */
const LOCK_PATIENCE_MS = 3_000;
const LOCK_POLL_MS = 100;
/** Every new ext4 file system has it. */
const LOST_AND_FOUND = 'lost+found';
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

/** Checks the folder, locks it, and empties it if it was another bucket's.
 *  @param bucket identifies bucket, RootPath and structure
 *  @returns closes it, and gives the lock back
 *  @throws StorageError BAD_CONFIG that says what to do */
export async function openFolder(
  directory: string,
  bucket: string,
  lockFolder: LockFolder,
): Promise<() => Promise<void>> {
  await requireUsable(directory);
  const unlock = await lockPatiently(directory, lockFolder);
  if (unlock === undefined) {
    throw refusal(
      directory,
      'another Orthanc (or "cache flush") uses it; give each Orthanc a folder of its own',
    );
  }
  try {
    // What is in it may be patients' data.
    await chmod(directory, FOLDER_MODE);
    for (const folder of FOLDERS)
      await mkdir(join(directory, folder), { recursive: true, mode: FOLDER_MODE });
    await requireBucket(directory, bucket);
    await requireSameBoot(directory);
    return async () => {
      try {
        await syncFolder(join(directory, 'cached'));
        await unlink(join(directory, IN_USE_FILE));
      } catch {
        // As after a crash.
      } finally {
        await unlock();
      }
    };
  } catch (error) {
    await unlock();
    throw error;
  }
}

async function lockPatiently(
  directory: string,
  lockFolder: LockFolder,
): Promise<(() => Promise<void>) | undefined> {
  const endMs = performance.now() + LOCK_PATIENCE_MS;
  try {
    for (;;) {
      const unlock = await lockFolder(join(directory, LOCK_FILE));
      if (unlock !== undefined || performance.now() > endMs) return unlock;
      await setTimeout(LOCK_POLL_MS);
    }
  } catch (cause) {
    const { message } = toStorageError(cause);
    throw refusal(
      directory,
      `cannot be locked by its file "${LOCK_FILE}" (${message}); the file must belong to the user that runs Orthanc, and the disk be a local one`,
      cause,
    );
  }
}

async function requireUsable(directory: string): Promise<void> {
  try {
    const found = await stat(directory);
    if (!found.isDirectory()) throw refusal(directory, 'is no folder; write the path of one');
    const user = process.geteuid?.() ?? found.uid;
    if (found.uid !== user) {
      throw refusal(
        directory,
        `belongs to user ${found.uid}, and this runs as user ${user}; give it to the user that Orthanc runs as (chown), and run commands as that user`,
      );
    }
    await access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    const names = await readdir(directory);
    const isOurs = names.includes(BUCKET_FILE);
    const other = names.find((name) => name !== LOST_AND_FOUND && !OUR_NAMES.includes(name));
    if (!isOurs && other !== undefined) {
      throw refusal(directory, `holds other files, such as "${other}"; write an empty folder`);
    }
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined || error instanceof StorageError) throw error;
    throw refusal(directory, WORDS[code] ?? `cannot be used (${code})`, error);
  }
}

const WORDS: Readonly<Record<string, string>> = {
  ENOENT:
    'does not exist; create it for the user that runs Orthanc, in a container on a volume that outlives it',
  ENOTDIR: 'is no folder; write the path of one',
  EACCES: 'may not be used by the user that runs Orthanc; give it the folder (chown)',
  EPERM: 'may not be used by the user that runs Orthanc; give it the folder (chown)',
  EROFS: 'is on a disk that is mounted read-only; mount it for writing',
};

async function requireBucket(directory: string, bucket: string): Promise<void> {
  if (await requireNothingPending(directory, bucket)) return;
  await clearCached(directory);
  await writeFile(directory, BUCKET_FILE, `${JSON.stringify({ bucket })}\n`);
}

/** @param storageDirectory where it is noted which folder was used before
 *  @param directory undefined: there is no LocalCache any more
 *  @throws StorageError BAD_CONFIG while something is pending in another folder than this */
export async function requireNothingLeft(
  storageDirectory: string,
  directory: string | undefined,
  {
    lockFolder,
    log,
    isNew,
    mayMake,
  }: {
    readonly lockFolder: LockFolder;
    readonly log: Logger;
    /** The folder was empty. */
    readonly isNew: boolean;
    /** False: where StorageDirectory is missing, its disk may not be mounted. */
    readonly mayMake: boolean;
  },
): Promise<void> {
  const place = join(storageDirectory, PLACE_FILE);
  try {
    const text = (await readIfThere(place)) ?? '';
    const before = text.split('\n').filter((line) => line !== '');
    const now = directory && (await realpath(directory));
    const kept: string[] = [];
    for (const folder of before) {
      if (folder === now) {
        if (isNew) log.warning(`LocalCache.Directory: "${directory}" ${IS_LOST}`);
      } else if (await isUsed(folder)) {
        await requireEmpty(folder, lockFolder);
      } else {
        kept.push(folder);
        log.warning(
          `LocalCache.Directory: "${folder}" ${IS_LOST}. If it was removed for good, remove the file "${place}"`,
        );
      }
    }
    if (now !== undefined) kept.push(now);
    const next = kept.join('\n');
    if (next === text) return;
    if (next === '') return await unlink(place);
    // Orthanc itself makes this one later.
    if (mayMake) await mkdir(storageDirectory, { recursive: true });
    await writeFile(storageDirectory, PLACE_FILE, next, storageDirectory);
  } catch (error) {
    const code = errorCode(error);
    if (code === undefined || error instanceof StorageError) throw error;
    log.warning(
      `LocalCache: "${place}" cannot be used (${code}): if LocalCache is taken out of the configuration while objects are pending, nothing will tell`,
    );
  }
}

const IS_LOST =
  'was used before, and is empty or gone: if its disk is not mounted, stop Orthanc and mount it, since what is pending there now reads as lost';

/** Whether `requireNothingLeft` would refuse, without a lock and without changing anything. */
export async function checkNothingLeft(
  storageDirectory: string,
  directory: string | undefined,
): Promise<void> {
  try {
    const text = (await readIfThere(join(storageDirectory, PLACE_FILE))) ?? '';
    const now = directory && (await realpath(directory));
    for (const folder of text.split('\n')) {
      if (folder !== '' && folder !== now && (await isUsed(folder))) await requireEmpty(folder);
    }
  } catch (error) {
    // Otherwise this user may not look, as Orthanc's may.
    if (error instanceof StorageError) throw error;
  }
}

async function requireEmpty(before: string, lockFolder?: LockFolder): Promise<void> {
  const journals = await readJournals(join(before, REMOVALS_FOLDER));
  const noted = journals.reduce((sum, journal) => sum + journal.noted.size, 0);
  const count = (await countPending(before)) + noted;
  if (count === 0) return;
  // Another Orthanc with this StorageDirectory may be using it.
  if (lockFolder !== undefined && (await lockFolder(join(before, LOCK_FILE))) === undefined) return;
  throw badConfig(
    `LocalCache.Directory was "${before}", where ${count} objects are still to be uploaded to the bucket, or deleted in it: write LocalCache with this Directory again until /object-storage/status shows none, or move the folder. If it was copied, or if they may be lost, remove it`,
  );
}

async function countPending(directory: string): Promise<number> {
  const names = await listOf(directory, 'pending');
  return names.filter((name) => parseName('pending', name) !== undefined).length;
}

/** @returns whether the folder is this bucket's
 *  @throws StorageError BAD_CONFIG if it holds what is pending for another one */
async function requireNothingPending(directory: string, bucket: string): Promise<boolean> {
  const before = await readBucket(join(directory, BUCKET_FILE));
  if (before === bucket) return true;
  const count = await countPending(directory);
  if (count === 0) return false;
  throw refusal(
    directory,
    `holds ${count} objects that are still to be uploaded to, or deleted in, another bucket (${before ?? 'unknown'}); run "orthanc-object-storage cache flush --config …" with the configuration of that bucket, or write another folder`,
  );
}

export async function isUsed(directory: string): Promise<boolean> {
  return (await readBucket(join(directory, BUCKET_FILE)).catch(() => undefined)) !== undefined;
}

/** The bucket that the folder belongs to. */
export async function describeBucket(directory: string): Promise<string> {
  return (await readBucket(join(directory, BUCKET_FILE))) ?? 'no bucket yet';
}

/** As `openFolder`, without changing anything. */
export async function checkDirectory(directory: string, bucket: string): Promise<void> {
  await requireUsable(directory);
  await requireNothingPending(directory, bucket);
}

/** After a power cut, a cached file may be back whose object was removed: its removal is not synced, since that would double the time of
 *  each. */
async function requireSameBoot(directory: string): Promise<void> {
  const boot = (await readIfThere(BOOT_ID)) ?? '';
  const before = await readIfThere(join(directory, IN_USE_FILE));
  if (before !== undefined && (before !== boot || boot === '')) await clearCached(directory);
  await writeFile(directory, IN_USE_FILE, boot);
}

/** @returns how many files it has removed */
export async function clearCached(directory: string): Promise<number> {
  const names = await listOf(directory, 'cached');
  for (const name of names) await rm(join(directory, 'cached', name), { force: true });
  return names.length;
}

async function listOf(directory: string, folder: Folder): Promise<readonly string[]> {
  return await unlessMissing(readdir(join(directory, folder)), []);
}

/** @returns undefined where there is none */
async function readBucket(path: string): Promise<string | undefined> {
  try {
    const value: unknown = JSON.parse((await readIfThere(path)) ?? '');
    return typeof value === 'object' && value !== null && 'bucket' in value
      ? String(value.bucket)
      : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  return await unlessMissing(readFile(path, 'utf8'), undefined);
}

/** The disk has it in the end. */
async function writeFile(
  directory: string,
  name: string,
  text: string,
  temporaryFolder = join(directory, 'pending'),
): Promise<void> {
  const temporary = join(temporaryFolder, `${name}.tmp`);
  const file = await open(temporary, 'w', FILE_MODE);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, join(directory, name));
  await syncFolder(directory);
}

function refusal(directory: string, text: string, cause?: unknown) {
  return badConfig(`LocalCache.Directory: "${directory}" ${text}`, { cause });
}
