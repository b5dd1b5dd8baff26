// SPDX-License-Identifier: GPL-3.0-or-later
// The store in front of the bucket's: keys and bytes are the same in both.

import type { LocalCacheSettings } from '../config/settings.ts';
import { StorageError } from '../errors.ts';
import type { Logger } from '../log.ts';
import type { Signal } from '../store/abort.ts';
import type {
  ByteRange,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  OperationOptions,
  Sink,
} from '../store/object-store.ts';
import { type Disk, isLocal, withinObject } from './disk.ts';
import { type LocalFile, pathOf } from './names.ts';
import { SharedReads } from './shared-reads.ts';
import { ObjectStates } from './states.ts';
import { pendingAge, type UploadStatus, Uploads } from './uploads.ts';

export interface LocalCacheStatus extends UploadStatus {
  readonly directory: string;
  readonly maxBytes: number;
  readonly writeBack: boolean;
  readonly pending: {
    readonly count: number;
    readonly bytes: number;
    readonly oldestSeconds: number;
  };
  /** Removals that are noted here, and still to be carried out in the bucket. */
  readonly removals: number;
  readonly cached: { readonly count: number; readonly bytes: number };
  /** Reads that were answered from here. */
  readonly hits: number;
  readonly misses: number;
  /** New objects that went to the bucket at once, because the disk could not take them. */
  readonly writtenThrough: number;
}

export interface LocalCache extends ObjectStore {
  /** Uploads begin. Before, all else works. */
  start(): void;
  status(): LocalCacheStatus;
  isPending(key: string): boolean;
  /** Resolves when nothing is pending, or when the signal is aborted. */
  drained(signal: Signal): Promise<void>;
}

export interface LocalCacheDependencies {
  readonly settings: LocalCacheSettings;
  readonly bucket: ObjectStore;
  readonly disk: Disk;
  readonly log: Logger;
  /** Called at the very end. */
  readonly unlock: () => Promise<void>;
}

/** Reads the names of all files in the folder.
 *  @throws StorageError if the folder cannot be used */
export async function createLocalCache(deps: LocalCacheDependencies): Promise<LocalCache> {
  const { settings, bucket, disk, log } = deps;
  const counts = { hits: 0, misses: 0, writtenThrough: 0 };
  let storing = 0;
  let storedMs = Number.NEGATIVE_INFINITY;
  let toldMs = Number.NEGATIVE_INFINITY;
  let isPumpDue = false;
  let isClosed = false;
  const states = new ObjectStates({
    disk,
    bucket,
    isSynchronous: settings.isSynchronous,
    writeBack: settings.writeBack,
    maxBytes: settings.maxBytes,
    // Callers get their answers first.
    onWork: () => {
      if (isPumpDue) return;
      isPumpDue = true;
      setImmediate(() => {
        isPumpDue = false;
        uploads.pump();
      });
    },
    onWriteThrough: (why) => {
      counts.writtenThrough += 1;
      if (performance.now() < toldMs + REPEATED_LOG_MS) return;
      toldMs = performance.now();
      log.warning(`LocalCache: new objects go to the bucket at once: ${why}`);
    },
  });
  const reads = new SharedReads({ bucket, states, disk });
  const uploads = new Uploads({
    states,
    log,
    atOnce: settings.uploadConcurrency,
    isReading: () => reads.reading > 0,
    burstMs: () => {
      if (isClosed) return 0;
      const sinceMs = storing > 0 ? 0 : performance.now() - storedMs;
      return Math.max(0, BURST_GAP_MS - sinceMs);
    },
  });
  await states.load();

  /** @returns false where the file has another name meanwhile, or was cached and is of no use */
  async function readFile(
    file: LocalFile,
    key: string,
    range: ByteRange | undefined,
    sink: Sink,
    { signal }: OperationOptions,
  ): Promise<boolean> {
    try {
      const { sizeBytes } = file;
      const wanted = withinObject(key, range, sizeBytes);
      await disk.read({ path: pathOf(file), key, sizeBytes }, wanted, sink, signal);
      return true;
    } catch (error) {
      if (!isLocal(error)) throw error;
      if (states.find(key) !== file) return false;
      if (file.kind !== 'cached') throw error.code === 'NOT_FOUND' ? gone(key, error) : error;
      if (error.code === 'INTEGRITY') log.warning(`${error.message}; it is fetched anew`);
      await states.drop(file);
      return false;
    }
  }

  /** Of what does not ask the bucket. */
  function requireOpen(): void {
    if (isClosed) throw new StorageError('CLOSED', 'the local cache is closed');
  }

  async function get(
    key: string,
    range: ByteRange | undefined,
    sink: Sink,
    options: GetOptions,
  ): Promise<void> {
    for (;;) {
      requireOpen();
      const file = states.find(key);
      if (file?.kind === 'removed') throw notFound(key);
      // Of what came from the bucket, nobody here knows who vouches for it.
      const isHere =
        file !== undefined && !(file.kind === 'cached' && options.requireChecksum === true);
      const isUseless = file?.kind === 'cached' && !disk.isResponsive;
      if (isHere && !isUseless) {
        if (await readFile(file, key, range, sink, options)) {
          counts.hits += 1;
          return;
        }
      } else if (await reads.get(key, range, sink, options)) {
        counts.misses += 1;
        return;
      }
    }
  }

  return {
    get,
    async put(key, body, options) {
      requireOpen();
      storing += 1;
      try {
        await states.put(key, body, options);
      } finally {
        storing -= 1;
        storedMs = performance.now();
      }
    },
    async delete(key, options) {
      requireOpen();
      await states.remove(key, options);
    },
    async head(key, options) {
      requireOpen();
      const file = states.find(key);
      if (file?.kind === 'removed') return undefined;
      if (file?.kind === 'pending') return { sizeBytes: file.sizeBytes };
      return await bucket.head(key, options);
    },
    list: (prefix, options) => listBoth(bucket.list(prefix, options), states, disk, prefix),
    check: (options) => bucket.check(options),

    start: () => {
      uploads.start();
    },
    isPending: (key) => states.find(key)?.kind === 'pending',
    drained: (signal) => uploads.drained(signal),
    status: () => {
      const { pending, removals, cached } = states.counts;
      return {
        directory: settings.directory,
        maxBytes: settings.maxBytes,
        writeBack: settings.writeBack,
        pending: { ...pending, oldestSeconds: Math.round(pendingAge(states)) },
        removals,
        cached,
        ...counts,
        ...uploads.status,
      };
    },

    async close() {
      isClosed = true;
      await uploads.drained(AbortSignal.timeout(settings.stopTimeoutMs));
      await uploads.stop(new StorageError('CLOSED', 'Orthanc is stopping'));
      await bucket.close();
      await reads.settled();
      await deps.unlock();
    },
  };
}

/** From the end of one new object to the next, where one client stores as fast as it can: Orthanc reads and indexes it meanwhile. */
const BURST_GAP_MS = 25;
/** A disk that is full for long makes a line as often. */
const REPEATED_LOG_MS = 5 * 60_000;

/** Its disk may come back. */
function gone(key: string, cause: unknown): StorageError {
  return new StorageError(
    'UNAVAILABLE',
    `the file of "${key}", which is pending, is gone from LocalCache.Directory; is its disk mounted?`,
    { key, cause },
  );
}

function notFound(key: string): StorageError {
  return new StorageError('NOT_FOUND', `"${key}" was removed`, { key });
}

/** Objects of the bucket with those that are pending, by their keys, and without those that are removed. */
async function* listBoth(
  objects: AsyncIterable<ObjectInfo>,
  states: ObjectStates,
  disk: Disk,
  prefix: string,
): AsyncIterable<ObjectInfo> {
  const removed = new Set<string>();
  const pending = new Map<string, ObjectInfo>();
  for (const { entry, file } of Array.from(states.work(), (each) => ({
    entry: each,
    file: each.file,
  }))) {
    // By the time it is asked, it may be uploaded.
    const key = entry.key ?? (await disk.keyOf(pathOf(file)).catch(() => undefined));
    if (key?.startsWith(prefix) !== true) continue;
    const { sizeBytes, timeMs } = file;
    if (file.kind === 'removed') removed.add(key);
    else pending.set(key, { key, sizeBytes, modified: new Date(timeMs) });
  }
  const waiting = [...pending.values()].sort((a, b) => compareKeys(a.key, b.key)).reverse();
  for await (const object of objects) {
    for (let next = waiting.at(-1); next !== undefined; next = waiting.at(-1)) {
      if (compareKeys(next.key, object.key) > 0) break;
      waiting.pop();
      yield next;
    }
    if (!pending.has(object.key) && !removed.has(object.key)) yield object;
  }
  yield* waiting.reverse();
}

/** As stores sort them. */
function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
