// SPDX-License-Identifier: GPL-3.0-or-later
// All attachments of one store into another, beside Orthanc or without it.

import type { NamingSettings } from '../config/settings.ts';
import { detectFormat, MAGIC_BYTES } from '../encryption/header.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { type ContentType, objectKey, type ParsedKey, parseKey } from '../naming.ts';
import type { ObjectInfo, ObjectStore } from '../store/object-store.ts';
import { type CopySource, copyVerified, digestOf } from './copy.ts';
import { createUuidTable, type UuidTable } from './uuid-table.ts';

export interface Side {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  /** Orthanc's own folder, in which nothing is ever encrypted. */
  readonly isFileSystem: boolean;
}

export interface MigrateOptions {
  readonly atOnce: number;
  /** Nothing is written. */
  readonly dryRun: boolean;
  /** Names that were copied and verified by an earlier run. */
  readonly isDone: (key: string) => boolean;
  /** Called once a copy has been read back. */
  readonly onDone: (key: string) => void;
  /** Waits until so many bytes may be sent. */
  readonly throttle: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface MigrateCounts {
  seen: number;
  copied: number;
  copiedBytes: number;
  /** With the right size and MD5, from this run's own reading. */
  alreadyThere: number;
  /** As an earlier run has noted. */
  skipped: number;
  foreign: number;
  failed: number;
}

export interface MigrateDependencies {
  readonly from: Side;
  readonly to: Side;
  /** Where the source's names don't tell, and the target's do; undefined: nobody knows. */
  readonly typeOf: (uuid: string) => ContentType | undefined;
  readonly failed: (key: string, reason: string) => void;
  readonly progress: (counts: MigrateCounts) => void;
}

/** Copies what is missing or different, and reads back what it copied. Deletes nothing at the source. */
export async function migrate(
  deps: MigrateDependencies,
  options: MigrateOptions,
): Promise<MigrateCounts> {
  const { from } = deps;
  const { signal } = options;
  const counts: MigrateCounts = {
    seen: 0,
    copied: 0,
    copiedBytes: 0,
    alreadyThere: 0,
    skipped: 0,
    foreign: 0,
    failed: 0,
  };
  const there = await listSizes(deps.to, signal);
  const prefix = from.naming.rootPath === '' ? '' : `${from.naming.rootPath}/`;
  const objects = from.store.list(prefix, { signal })[Symbol.asyncIterator]();
  const next = createSerializer(() => objects.next());

  async function worker(): Promise<void> {
    for (;;) {
      const step = await next();
      if (step.done === true) return;
      const object = step.value;
      const parsed = parseKey(object.key, from.naming);
      counts.seen += 1;
      if (parsed === undefined) {
        counts.foreign += 1;
      } else {
        try {
          await copyOne(object, parsed);
        } catch (error) {
          if (signal.aborted) throw error;
          const { code, message } = toStorageError(error);
          counts.failed += 1;
          deps.failed(object.key, `${code}: ${message}`);
        }
      }
      deps.progress(counts);
    }
  }

  async function copyOne(object: ObjectInfo, parsed: ParsedKey): Promise<void> {
    const { from: source, to, typeOf } = deps;
    const contentType = contentTypeAt(to, parsed, typeOf);
    if (to.isFileSystem) await refuseEncrypted(source, object, parsed, signal);
    const key = objectKey(parsed.uuid, contentType, to.naming, parsed.encrypted === true);
    const read = { get: source.store.get.bind(undefined, object.key, undefined) };
    const write = {
      get: to.store.get.bind(undefined, key, undefined),
      put: to.store.put.bind(undefined, key),
      remove: to.store.delete.bind(undefined, key),
    };
    if (there.get(parsed.uuid)?.sizeBytes === object.sizeBytes) {
      if (options.isDone(key)) {
        counts.skipped += 1;
        return;
      }
      if (await isSame(read, write)) {
        counts.alreadyThere += 1;
        options.onDone(key);
        return;
      }
    }
    if (!options.dryRun) {
      await options.throttle(object.sizeBytes);
      await copyVerified(
        read,
        write,
        { sizeBytes: object.sizeBytes, md5Hex: undefined },
        { signal },
      );
      options.onDone(key);
    }
    counts.copied += 1;
    counts.copiedBytes += object.sizeBytes;
  }

  async function isSame(read: CopySource, copy: CopySource): Promise<boolean> {
    try {
      const [mine, theirs] = await Promise.all([
        digestOf(read, { signal }),
        digestOf(copy, { signal }),
      ]);
      return mine.md5Hex === theirs.md5Hex && mine.sizeBytes === theirs.sizeBytes;
    } catch (error) {
      // Under another name, perhaps; and what can't be read whole is to be copied anew.
      const { code } = toStorageError(error);
      if (code === 'NOT_FOUND' || code === 'INTEGRITY' || code === 'SHORT_BODY') return false;
      throw error;
    }
  }

  const workers = Array.from({ length: options.atOnce }, worker);
  const settled = await Promise.allSettled(workers);
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
  return counts;
}

/** The target's objects, so that what is missing costs no request of its own. */
async function listSizes({ store, naming }: Side, signal: AbortSignal): Promise<UuidTable> {
  const sizes = createUuidTable();
  const prefix = naming.rootPath === '' ? '' : `${naming.rootPath}/`;
  for await (const { key, sizeBytes } of store.list(prefix, { signal })) {
    const uuid = parseKey(key, naming)?.uuid;
    if (uuid !== undefined) sizes.set(uuid, sizeBytes, 0);
  }
  return sizes;
}

/** In the legacy structure any type gives the same name. */
function contentTypeAt(
  to: Side,
  { uuid, contentType }: ParsedKey,
  typeOf: (uuid: string) => ContentType | undefined,
): ContentType {
  const type = contentType ?? typeOf(uuid);
  if (type !== undefined) return type;
  if (to.naming.structure === 'legacy') return 0;
  throw new StorageError(
    'NOT_FOUND',
    "its name in the bucket depends on its type, which Orthanc's index does not know",
  );
}

async function refuseEncrypted(
  { store, isFileSystem }: Side,
  object: ObjectInfo,
  parsed: ParsedKey,
  signal: AbortSignal,
): Promise<void> {
  if (isFileSystem) return;
  const isEncrypted = parsed.encrypted ?? (await startsEncrypted(store, object, signal));
  if (isEncrypted) {
    throw new StorageError(
      'BAD_CONFIG',
      'it is encrypted, and to decrypt on the way is not available yet',
      { key: object.key },
    );
  }
}

async function startsEncrypted(
  store: ObjectStore,
  { key, sizeBytes }: ObjectInfo,
  signal: AbortSignal,
): Promise<boolean> {
  if (sizeBytes < MAGIC_BYTES) return false;
  const bytes = Buffer.alloc(MAGIC_BYTES);
  await store.get(
    key,
    { start: 0, end: MAGIC_BYTES },
    {
      begin: () => undefined,
      write: (offset, piece) => {
        bytes.set(piece, offset);
      },
    },
    { signal },
  );
  return detectFormat(bytes) !== undefined;
}

/** One call at a time, in the order of asking: an iterator's steps must not overlap. */
function createSerializer<T>(step: () => Promise<T>): () => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return () => {
    const mine = last.then(step);
    last = mine.catch(() => undefined);
    return mine;
  };
}
