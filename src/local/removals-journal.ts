// SPDX-License-Identifier: GPL-3.0-or-later
// The journal of removals: which objects of a bucket are still to be removed. It is one file, which is only appended to:
//
//   orthanc-object-storage removals 1 "s3 eu-central-1 images"
//   8c736521 ["remove",1796036860,["12ab….dcm","12ab….dcm.head"]]
//   0fd04b7e ["done",1796036861,["12ab….dcm"]]
//
// The number before each line is the CRC-32 of the rest, the other one is the time in seconds since 1970. When the file has grown, what is
// still to be removed is written to a new one, which takes the place of the old one by a rename. A crash leaves one of both.

import { createHash, randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from '../checksums/checksums.ts';
import { badConfig, errorCode, StorageError } from '../errors.ts';
import { syncFolder } from '../store/sync-folder.ts';

const { O_APPEND, O_CREAT, O_DSYNC, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;

/** In LocalCache.Directory or StorageDirectory. */
export const REMOVALS_FOLDER = 'orthanc-object-storage-removals';
const VERSION = 1;
const HEADER = 'orthanc-object-storage removals';
const NAME = /^[0-9a-f]{16}\.journal$/;
const TEMPORARY = '.tmp';
const FILE_MODE = 0o600;
/** Keys in one line of a new file. */
const LINE_KEYS = 1_000;
/** Orthanc locks its index while it waits for a note. */
const HANG_MS = 2_000;
/** A file that has grown to this, and to twice its size when it was new, is written anew. */
const GROWN_BYTES = 1024 * 1024;

export type RecordKind = 'remove' | 'done';

/** What a file holds. */
export interface JournalContent {
  readonly path: string;
  /** As `openJournal` got it. */
  readonly bucket: string;
  /** What is still to be removed, and since when (seconds since 1970), in the order of the notes. */
  readonly noted: ReadonlyMap<string, number>;
  /** Notes that cannot be trusted, because a later line is damaged. */
  readonly lost: number;
}

export interface Journal {
  /** Resolves when the disk has it: `done` always, `remove` unless SyncStorageArea is false. Calls count in their order.
   *  @throws StorageError UNAVAILABLE where the disk fails: the next call writes the file anew; TIMEOUT where it hangs. It may have been
   *  written all the same. */
  append(kind: RecordKind, keys: readonly string[]): Promise<void>;
  /** Waits for what is being written. @param isOver nothing is left to be removed, so that the file can go */
  close(isOver: boolean): Promise<void>;
}

/** @param bucket whatever tells buckets apart, without secrets */
export function journalPath(folder: string, bucket: string): string {
  const hash = createHash('sha256').update(bucket).digest('hex').slice(0, 16);
  return join(folder, `${hash}.journal`);
}

/** @returns the journals of all buckets in the folder, which may be missing */
export async function readJournals(folder: string): Promise<readonly JournalContent[]> {
  const found: JournalContent[] = [];
  for (const name of await unlessMissing(readdir(folder), [])) {
    const content = NAME.test(name) ? await readJournal(join(folder, name)) : undefined;
    if (content !== undefined) found.push(content);
  }
  return found;
}

/** The keys that are noted for this bucket in the folder. @throws as `readJournals` */
export async function readNoted(folder: string, bucket: string): Promise<ReadonlySet<string>> {
  const own = (await readJournals(folder)).filter((journal) => journal.bucket === bucket);
  return new Set(own.flatMap(({ noted }) => [...noted.keys()]));
}

/** What a process left that was killed while it wrote a file anew. */
export async function removeTemporaries(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(TEMPORARY));
  for (const name of names) await unlink(join(folder, name));
}

/** @returns undefined where there is none
 *  @throws StorageError BAD_CONFIG for a file that is none of this version's; UNAVAILABLE if it cannot be read */
export async function readJournal(path: string): Promise<JournalContent | undefined> {
  const noted = new Map<string, number>();
  let bucket: string | undefined;
  let lost = 0;
  let isDamaged = false;
  try {
    const file = await unlessMissing(open(path, O_RDONLY | O_NOFOLLOW), undefined);
    if (file === undefined) return undefined;
    try {
      for await (const line of file.readLines()) {
        if (bucket === undefined) {
          bucket = parseHeader(path, line);
          continue;
        }
        const record = parseRecord(line);
        if (record === undefined) {
          // The last line may be torn: nobody was told that it is there.
          isDamaged = true;
          continue;
        }
        if (isDamaged) {
          // The damaged line may have been the end of any note before.
          lost += noted.size;
          noted.clear();
          isDamaged = false;
        }
        const [kind, seconds, keys] = record;
        for (const key of keys) {
          if (kind === 'done') noted.delete(key);
          else if (!noted.has(key)) noted.set(key, seconds);
        }
      }
    } finally {
      await file.close();
    }
  } catch (thrown) {
    throw failure(path, 'read', thrown);
  }
  return { path, bucket: bucket ?? parseHeader(path, ''), noted, lost };
}

function parseHeader(path: string, line: string): string {
  const [, version, bucket] = /^orthanc-object-storage removals (\d+) (".*")$/.exec(line) ?? [];
  if (version === String(VERSION) && bucket !== undefined) return JSON.parse(bucket) as string;
  throw badConfig(
    version === undefined
      ? `"${path}" is no journal of removals, or a damaged one; move it away: objects that were to be removed by it stay in the bucket, where "verify" finds them`
      : `"${path}" is of a newer version of this plugin (${version}): install that, or move the file away: objects that were to be removed by it stay in the bucket, where "verify" finds them`,
  );
}

function parseRecord(line: string): readonly [RecordKind, number, readonly string[]] | undefined {
  const json = line.slice(9);
  if (line.slice(0, 9) !== `${checksum(json)} `) return undefined;
  return JSON.parse(json);
}

function formatRecord(kind: RecordKind, seconds: number, keys: readonly string[]): string {
  const json = JSON.stringify([kind, seconds, keys]);
  return `${checksum(json)} ${json}\n`;
}

function checksum(text: string): string {
  return crc32(Buffer.from(text), 0).toString(16).padStart(8, '0');
}

export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000);
}

interface Write {
  readonly kind: RecordKind;
  readonly line: string;
  readonly resolve: () => void;
  readonly reject: (error: StorageError) => void;
}

/** Writes a new file, in the place of an earlier one.
 *  @param options.noted what is to be removed now, with the times of the notes
 *  @throws StorageError UNAVAILABLE */
export async function openJournal(options: {
  readonly folder: string;
  readonly bucket: string;
  readonly isSynchronous: boolean;
  readonly noted: () => Iterable<readonly [string, number]>;
}): Promise<Journal> {
  const { folder, bucket, isSynchronous } = options;
  const path = journalPath(folder, bucket);
  /** undefined: the file has to be written anew before anything else is written. */
  let file: FileHandle | undefined;
  let bytes = 0;
  let maxBytes = 0;
  let queue: Write[] = [];
  let writing: Promise<void> | undefined;
  let isHanging = false;
  let onHang: () => void = () => undefined;

  async function rewrite(): Promise<void> {
    await abandon();
    const temporary = join(folder, `${randomUUID()}${TEMPORARY}`);
    const created = await open(temporary, O_CREAT | O_EXCL | O_WRONLY, FILE_MODE);
    try {
      bytes = 0;
      await write(created, `${HEADER} ${VERSION} ${JSON.stringify(bucket)}\n`);
      for (const lines of formatAll(options.noted())) await write(created, lines);
      await created.sync();
      await rename(temporary, path);
      await syncFolder(folder);
    } catch (thrown) {
      await unlink(temporary).catch(() => undefined);
      throw thrown;
    } finally {
      await created.close();
    }
    // A write ends when the disk has it, which is half as many calls as a write and a sync.
    const synced = isSynchronous ? O_DSYNC : 0;
    file = await open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | synced);
    maxBytes = Math.max(GROWN_BYTES, 2 * bytes);
  }

  async function abandon(): Promise<void> {
    const abandoned = file;
    file = undefined;
    await abandoned?.close().catch(() => undefined);
  }

  async function write(target: FileHandle, text: string): Promise<void> {
    // Until all is written, which `write` does not promise.
    await target.appendFile(text);
    bytes += Buffer.byteLength(text);
  }

  async function writeAll(): Promise<void> {
    // All that is called for in this turn of the event loop costs one write: an attachment has up to four names.
    await Promise.resolve();
    while (queue.length > 0) {
      const writes = queue;
      queue = [];
      const timer = setTimeout(() => {
        isHanging = true;
        onHang();
        for (const { reject } of [...writes, ...queue]) reject(hangs(path));
      }, HANG_MS);
      try {
        if (file === undefined || bytes > maxBytes) {
          await rewrite();
        } else {
          await write(file, writes.map(({ line }) => line).join(''));
          if (!isSynchronous && writes.some(({ kind }) => kind === 'done')) await file.datasync();
        }
        for (const { resolve } of writes) resolve();
      } catch (thrown) {
        await abandon();
        const error = failure(path, 'written', thrown);
        for (const { reject } of writes) reject(error);
      } finally {
        clearTimeout(timer);
        isHanging = false;
      }
    }
    writing = undefined;
  }

  try {
    await rewrite();
  } catch (thrown) {
    throw failure(path, 'written', thrown);
  }
  return {
    append: (kind, keys) =>
      new Promise((resolve, reject) => {
        const line = formatRecord(kind, nowSeconds(), keys);
        // In its place in the order, also if nobody waits for it.
        queue.push({ kind, line, resolve, reject });
        if (isHanging) reject(hangs(path));
        writing ??= writeAll();
      }),
    async close(isOver) {
      // Not for ever: the disk may hang.
      const hung = new Promise<void>((resolve) => {
        onHang = resolve;
      });
      if (!isHanging) await Promise.race([writing, hung]);
      if (isHanging) return;
      await abandon();
      if (isOver) await unlink(path).catch(() => undefined);
    },
  };
}

function* formatAll(noted: Iterable<readonly [string, number]>): Generator<string> {
  let keys: string[] = [];
  let since = 0;
  for (const [key, seconds] of noted) {
    if (keys.length === LINE_KEYS || (keys.length > 0 && seconds !== since)) {
      yield formatRecord('remove', since, keys);
      keys = [];
    }
    since = seconds;
    keys.push(key);
  }
  if (keys.length > 0) yield formatRecord('remove', since, keys);
}

/** @returns `otherwise` where there is no such file */
export async function unlessMissing<T, U>(work: Promise<T>, otherwise: U): Promise<T | U> {
  try {
    return await work;
  } catch (thrown) {
    if (errorCode(thrown) === 'ENOENT') return otherwise;
    throw thrown;
  }
}

/** @param verb "read" or "written" */
function failure(path: string, verb: string, thrown: unknown): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const code = errorCode(thrown) ?? 'UNKNOWN';
  const reason = WORDS[code] ?? 'it cannot be used';
  return new StorageError(
    'UNAVAILABLE',
    `the journal of removals "${path}" cannot be ${verb}: ${reason} (${code})`,
    { cause: thrown },
  );
}

function hangs(path: string): StorageError {
  return new StorageError(
    'TIMEOUT',
    `the journal of removals "${path}" cannot be written: its disk does not answer; look at the disk, or at its server`,
  );
}

const WORDS: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the quota of the disk is used up',
  EROFS: 'the disk is mounted read-only',
  EACCES: 'the user that runs this may not use it',
  EPERM: 'the user that runs this may not use it',
  ENOENT: 'its folder is gone; is its disk mounted?',
  EIO: 'the disk fails',
  ELOOP: 'it is a link, which is not followed',
};
