// SPDX-License-Identifier: GPL-3.0-or-later
// DeleteInBackground: a removal is noted in a journal, and carried out later, many at once.
//
// Why no order of events removes an object that was created after its removal, and none brings a removed one back:
//
// 1. Only a batch removes objects, and it takes only keys that are noted, and not those that are being written at that moment.
// 2. A write of a noted key begins only when no removal of that key can still arrive at the store. It waits for the batch that has the key.
//    If that batch got no answer for it, or may have been under way when Orthanc died, the key is removed again first, and that answer
//    counts: a server has long dealt with the earlier request by then.
// 3. The note of that key stays until the object is written. It leaves the journal before the write is acknowledged. So a crash before the
//    acknowledgement may cost the new object, which Orthanc then does not know, and a crash afterwards finds no note. Where that end of
//    the note fails, the disk may have it: the next removal of the key is noted anew.
// 4. What has been removed leaves the journal, too. Until the disk has that, the key counts as noted: rules 2 and 3 hold for it.
// 5. A removal is acknowledged when the disk has its note, or when it has been carried out. Until then, and until the note has left the
//    journal, reads find nothing.
// 6. All of this is known to one event loop of one Orthanc: DeleteInBackground excludes Lanes, and the folder has a lock.

import { isRefusal, StorageError, type StorageErrorCode, toStorageError } from '../errors.ts';
import { describeError, type Logger } from '../log.ts';
import { Cancellation, type Signal, untilAborted } from '../store/abort.ts';
import { timeUp, withTimeLimit } from '../store/deadline.ts';
import { forEachAtOnce } from '../store/limit.ts';
import type { ObjectStore, OperationOptions } from '../store/object-store.ts';
import { type Journal, nowSeconds } from './removals-journal.ts';

export interface RemovalsStatus {
  /** Objects that are still to be removed. */
  readonly pending: number;
  readonly oldestSeconds: number;
  /** Since the start. */
  readonly carriedOut: number;
  /** Objects that the store refuses to remove: how many, and some of them. It is asked again, up to once an hour. */
  readonly refused: number;
  readonly refusedObjects: readonly { readonly key: string; readonly message: string }[];
  readonly lastError: {
    readonly time: string;
    readonly code: StorageErrorCode;
    readonly message: string;
  } | null;
}

export interface Removals {
  /** The store, with removals in the background. `close` carries out what it can within the grace. */
  readonly store: ObjectStore;
  /** Batches begin. Before, all else works. */
  start(): void;
  status(): RemovalsStatus;
}

export interface RemovalsOptions {
  readonly store: ObjectStore;
  readonly journal: Journal;
  /** As the journal gave it. Changed from here on; `journal` reads it. */
  readonly entries: Entries;
  readonly log: Logger;
  /** False: only what is noted already is carried out. Other removals are carried out at once. */
  readonly notesNew: boolean;
  /** How long one call of `deleteMany` may take. */
  readonly batchTimeoutMs: number;
  readonly times?: Partial<Times>;
}

interface Times {
  /** From the first note to the batch, for those that follow. */
  readonly lingerMs: number;
  /** Before a failed removal is repeated; doubles each time. */
  readonly retryMs: number;
  readonly retryMaxMs: number;
  /** The same for one that the store has refused. */
  readonly refusedMs: number;
  readonly refusedMaxMs: number;
  /** At the stop. */
  readonly drainMs: number;
}

const TIMES: Times = {
  lingerMs: 300,
  retryMs: 1_000,
  retryMaxMs: 60_000,
  refusedMs: 60_000,
  refusedMaxMs: 3_600_000,
  // The shim leaves 3 s for all that TypeScript does at its end.
  drainMs: 1_500,
};

export const BATCH_TIMEOUT_MS = 60_000;
/** S3's limit. */
const BATCH_MAX = 1_000;
/** Of stores without `deleteMany`. */
const AT_ONCE = 4;
const REFUSED_SHOWN = 10;
const REPEATED_LOG_MS = 5 * 60_000;

/** noted: to be removed. removing: in the batch that is under way. removed: the journal may still have the note. */
type State = 'noted' | 'removing' | 'removed';

interface Entry {
  state: State;
  /** Of the note. */
  readonly seconds: number;
  /** False: a request to remove it may still arrive at the store. */
  isCertain: boolean;
  /** So many writes have been done, and end the note now. */
  takenBack: number;
  /** In a row. */
  failures: number;
  /** The journal was to end the note, and failed. */
  mayHaveEnded: boolean;
  /** The disk has the note; undefined: since long. */
  written: Promise<void> | undefined;
}

export type Entries = Map<string, Entry>;

type Refusal = Pick<StorageError, 'code' | 'message'>;

/** @param noted as `readJournal` returned it: a batch may have been under way when Orthanc ended */
export function toEntries(noted: Iterable<readonly [string, number]>): Entries {
  const entries: Entries = new Map();
  for (const [key, seconds] of noted) entries.set(key, newEntry(seconds, false));
  return entries;
}

/** What the journal has to keep. */
export function* notedIn(entries: Entries): Generator<readonly [string, number]> {
  for (const [key, { state, takenBack, seconds }] of entries) {
    if (state !== 'removed' && takenBack === 0) yield [key, seconds];
  }
}

function newEntry(seconds: number, isCertain: boolean): Entry {
  return {
    state: 'noted',
    seconds,
    isCertain,
    takenBack: 0,
    failures: 0,
    mayHaveEnded: false,
    written: undefined,
  };
}

export function createRemovals(options: RemovalsOptions): Removals {
  return new BackgroundRemovals(options);
}

class BackgroundRemovals implements Removals {
  readonly store: ObjectStore;
  readonly #options: RemovalsOptions;
  readonly #bucket: ObjectStore;
  readonly #journal: Journal;
  readonly #log: Logger;
  readonly #times: Times;
  readonly #entries: Entries;
  /** How many writes of a key are under way. */
  readonly #writes = new Map<string, number>();
  /** Keys for the next batches, in their order. */
  readonly #ready: Set<string>;
  /** Keys that somebody waits for. */
  readonly #urgent = new Set<string>();
  /** Of keys that wait for their next attempt. */
  readonly #timers = new Set<NodeJS.Timeout>();
  /** What has been removed, and the disk could not note. */
  readonly #unsettled: (readonly [string, Entry])[] = [];
  /** Without their causes, since there may be many. */
  readonly #refusals = new Map<string, Refusal>();
  readonly #closing = new Cancellation();
  #isStarted = false;
  #isDraining = false;
  #timer: NodeJS.Timeout | undefined;
  #batch: Promise<void> | undefined;
  /** Those who wait for the end of a batch. */
  #listeners: (() => void)[] = [];
  #batchMax = BATCH_MAX;
  #pending: number;
  #carriedOut = 0;
  #lastError: RemovalsStatus['lastError'] = null;
  #loggedMs = Number.NEGATIVE_INFINITY;

  constructor(options: RemovalsOptions) {
    this.#options = options;
    this.#bucket = options.store;
    this.#journal = options.journal;
    this.#log = options.log;
    this.#times = { ...TIMES, ...options.times };
    this.#entries = options.entries;
    this.#ready = new Set(options.entries.keys());
    this.#pending = options.entries.size;
    this.store = this.#wrap(options.store);
  }

  start(): void {
    this.#isStarted = true;
    this.#schedule();
  }

  status(): RemovalsStatus {
    const [oldest] = notedIn(this.#entries);
    const [, since = nowSeconds()] = oldest ?? [];
    return {
      pending: this.#pending,
      // The clock may have been set back.
      oldestSeconds: Math.max(0, nowSeconds() - since),
      carriedOut: this.#carriedOut,
      refused: this.#refusals.size,
      refusedObjects: [...this.#refusals].slice(0, REFUSED_SHOWN).map(([key, { message }]) => ({
        key,
        message,
      })),
      lastError: this.#lastError,
    };
  }

  #wrap(store: ObjectStore): ObjectStore {
    const isThere = (key: string) => !this.#entries.has(key);
    return {
      put: (key, body, options) => this.#write(key, options, () => store.put(key, body, options)),
      get: async (key, range, sink, options) => {
        if (isThere(key)) return await store.get(key, range, sink, options);
        throw new StorageError('NOT_FOUND', `"${key}" has been removed`, { key });
      },
      head: async (key, options) => (isThere(key) ? await store.head(key, options) : undefined),
      delete: async (key, options) => {
        if (this.#options.notesNew || !isThere(key)) await this.#remove(key, options);
        else await store.delete(key, options);
      },
      async *list(prefix, options) {
        for await (const object of store.list(prefix, options)) {
          if (isThere(object.key)) yield object;
        }
      },
      ...(store.files === undefined ? {} : { files: store.files }),
      check: (options) => store.check(options),
      close: () => this.#close(),
    };
  }

  /** Rule 5. */
  async #remove(key: string, { signal }: OperationOptions): Promise<void> {
    let entry = this.#entries.get(key);
    if (entry === undefined || entry.state === 'removed' || entry.mayHaveEnded) {
      const before = entry?.state === 'removed' ? undefined : entry;
      entry = newEntry(nowSeconds(), before?.isCertain ?? true);
      // It may be in the batch that is under way.
      if (before !== undefined) entry.state = before.state;
      this.#entries.set(key, entry);
      if (before === undefined) this.#pending += 1;
      this.#ready.add(key);
      entry.written = this.#journal.append('remove', [key]);
      this.#schedule();
    }
    try {
      await untilAborted(entry.written ?? Promise.resolve(), signal);
      entry.written = undefined;
    } catch (thrown) {
      if (signal.aborted) throw thrown;
      this.#note(toStorageError(thrown));
      // Without the disk, the removal itself is waited for.
      await this.#attempt(key, entry, signal);
      const refusal = this.#refusals.get(key);
      if (refusal !== undefined) throw new StorageError(refusal.code, refusal.message, { key });
    }
  }

  /** Rules 2 and 3. */
  async #write(
    key: string,
    { signal }: OperationOptions,
    write: () => Promise<void>,
  ): Promise<void> {
    for (;;) {
      const entry = this.#entries.get(key);
      const mayArrive =
        entry?.state === 'removing' || (entry?.state === 'noted' && !entry.isCertain);
      if (entry === undefined || !mayArrive) break;
      await this.#attempt(key, entry, signal);
    }
    const entry = this.#entries.get(key);
    this.#writes.set(key, (this.#writes.get(key) ?? 0) + 1);
    try {
      await write();
      if (entry !== undefined && this.#entries.get(key) === entry) await this.#takeBack(key, entry);
    } finally {
      const others = (this.#writes.get(key) ?? 1) - 1;
      if (others > 0) this.#writes.set(key, others);
      else this.#writes.delete(key);
      if (this.#entries.get(key)?.state === 'noted') this.#ready.add(key);
      this.#schedule();
    }
  }

  async #takeBack(key: string, entry: Entry): Promise<void> {
    entry.takenBack += 1;
    try {
      await this.#journal.append('done', [key]);
    } catch (thrown) {
      // Perhaps the disk has it all the same.
      entry.mayHaveEnded = true;
      throw thrown;
    } finally {
      entry.takenBack -= 1;
    }
    if (this.#entries.get(key) !== entry) return;
    if (entry.state !== 'removed') this.#pending -= 1;
    this.#entries.delete(key);
    this.#refusals.delete(key);
  }

  /** Has the key removed without delay.
   *  @throws StorageError if there was no answer */
  async #attempt(key: string, entry: Entry, signal: Signal): Promise<void> {
    const { failures } = entry;
    // Another caller may end the note, or note the key anew.
    const isCurrent = () => this.#entries.get(key) === entry;
    while (isCurrent() && entry.state !== 'removed' && entry.failures === failures) {
      if (entry.state === 'noted') this.#urgent.add(key);
      const over = new Promise<void>((resolve) => {
        this.#listeners.push(resolve);
      });
      this.#runBatch();
      await untilAborted(over, signal);
    }
    if (!isCurrent() || entry.state === 'removed' || entry.isCertain) return;
    const why = this.#lastError?.message ?? '';
    throw new StorageError('UNAVAILABLE', `cannot remove what was "${key}" before: ${why}`, {
      key,
    });
  }

  #schedule(): void {
    if (!this.#isStarted || this.#batch !== undefined || this.#ready.size === 0) return;
    if (this.#ready.size >= this.#batchMax || this.#isDraining) this.#runBatch();
    else this.#timer ??= setTimeout(() => this.#runBatch(), this.#times.lingerMs);
  }

  #runBatch(): void {
    if (!this.#isStarted || this.#batch !== undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const keys = this.#take();
    if (keys.length === 0) return;
    this.#batch = this.#carryOut(keys).finally(() => {
      this.#batch = undefined;
      for (const listener of this.#listeners.splice(0)) listener();
      this.#schedule();
    });
  }

  #take(): readonly string[] {
    const keys: string[] = [];
    for (const queue of [this.#urgent, this.#ready]) {
      for (const key of queue) {
        if (keys.length === this.#batchMax) return keys;
        queue.delete(key);
        const entry = this.#entries.get(key);
        // The end of a write makes it ready again.
        if (entry?.state !== 'noted' || this.#writes.has(key)) continue;
        entry.state = 'removing';
        keys.push(key);
      }
    }
    return keys;
  }

  async #carryOut(keys: readonly string[]): Promise<void> {
    const failures = await this.#removeMany(keys);
    const removed: (readonly [string, Entry])[] = [];
    const later = new Map<number, string[]>();
    const refused: StorageError[] = [];
    for (const key of keys) {
      const entry = this.#entries.get(key);
      if (entry === undefined) continue;
      const failure = failures.get(key);
      if (failure === undefined) {
        entry.state = 'removed';
        this.#pending -= 1;
        this.#refusals.delete(key);
        removed.push([key, entry]);
        continue;
      }
      entry.state = 'noted';
      entry.failures += 1;
      entry.isCertain = isFinal(failure);
      if (entry.isCertain && !this.#refusals.has(key)) refused.push(failure);
      if (entry.isCertain) {
        const { code, message } = failure;
        this.#refusals.set(key, { code, message });
      }
      const delayMs = this.#delayMs(entry);
      const group = later.get(delayMs);
      if (group === undefined) later.set(delayMs, [key]);
      else group.push(key);
    }
    this.#carriedOut += removed.length;
    if (removed.length > 0) void this.#settle(removed);
    for (const [delayMs, postponed] of later) this.#postpone(postponed, delayMs);
    this.#report(keys.length, failures, refused);
  }

  async #removeMany(keys: readonly string[]): Promise<ReadonlyMap<string, StorageError>> {
    const ms = this.#options.batchTimeoutMs;
    const work = (signal: Signal) => removeMany(this.#bucket, keys, { signal });
    try {
      const failures = await withTimeLimit(ms, this.#closing, work, {
        describe: () =>
          timeUp(`${keys.length} objects were not removed within ${ms / 1000} s`, undefined),
      });
      this.#batchMax = Math.min(BATCH_MAX, 2 * this.#batchMax);
      return failures;
    } catch (thrown) {
      // It may just be too many for a slow server.
      this.#batchMax = Math.max(1, Math.floor(keys.length / 2));
      const failure = toStorageError(thrown);
      return new Map(keys.map((key) => [key, failure]));
    }
  }

  /** Rule 4. */
  async #settle(removed: readonly (readonly [string, Entry])[]): Promise<void> {
    const keys = removed.map(([key]) => key);
    try {
      await this.#journal.append('done', keys);
    } catch (thrown) {
      this.#note(toStorageError(thrown));
      this.#unsettled.push(...removed);
      return;
    }
    // After a failure the journal writes all anew, without what has been removed.
    for (const [key, entry] of [...this.#unsettled.splice(0), ...removed]) {
      // It may have been noted again since.
      if (this.#entries.get(key) === entry) this.#entries.delete(key);
    }
  }

  #delayMs({ failures, isCertain }: Entry): number {
    const { retryMs, retryMaxMs, refusedMs, refusedMaxMs } = this.#times;
    const [first, most] = isCertain ? [refusedMs, refusedMaxMs] : [retryMs, retryMaxMs];
    return Math.min(most, first * 2 ** (failures - 1));
  }

  #postpone(keys: readonly string[], delayMs: number): void {
    if (this.#isDraining) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      for (const key of keys) {
        if (this.#entries.get(key)?.state === 'noted') this.#ready.add(key);
      }
      this.#schedule();
    }, delayMs);
    this.#timers.add(timer);
  }

  #report(
    count: number,
    failures: ReadonlyMap<string, StorageError>,
    refused: readonly StorageError[],
  ): void {
    for (const failure of refused.slice(0, REFUSED_SHOWN)) {
      this.#log.error(
        `The store refuses a removal, and is asked again up to once an hour: op=remove-in-background ${describeError(failure)}`,
      );
    }
    if (refused.length > REFUSED_SHOWN) {
      this.#log.error(
        `The store refuses ${refused.length - REFUSED_SHOWN} more removals: op=remove-in-background`,
      );
    }
    const [last] = [...failures.values()].filter((failure) => !isFinal(failure));
    const worst = last ?? refused[0];
    if (worst !== undefined) this.#note(worst);
    if (last === undefined || this.#closing.aborted) return;
    const nowMs = performance.now();
    if (nowMs - this.#loggedMs < REPEATED_LOG_MS) return;
    this.#loggedMs = nowMs;
    this.#log.warning(
      `Removals fail, and are repeated until they succeed: op=remove-in-background failed=${failures.size} of=${count} pending=${this.#pending} ${describeError(last)}`,
    );
  }

  #note({ code, message }: StorageError): void {
    this.#lastError = { time: new Date().toISOString(), code, message };
  }

  async #close(): Promise<void> {
    this.#isDraining = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const limit = setTimeout(() => {
      this.#closing.abort(new StorageError('CLOSED', 'Orthanc is stopping'));
    }, this.#times.drainMs);
    // Each batch begins the next one.
    this.#runBatch();
    while (this.#batch !== undefined) {
      await this.#batch;
      if (this.#closing.aborted) this.#ready.clear();
    }
    clearTimeout(limit);
    clearTimeout(this.#timer);
    this.#isStarted = false;
    await this.#journal.close(this.#pending === 0);
    await this.#bucket.close();
  }
}

async function removeMany(
  store: ObjectStore,
  keys: readonly string[],
  options: OperationOptions,
): Promise<ReadonlyMap<string, StorageError>> {
  if (store.deleteMany !== undefined) return await store.deleteMany(keys, options);
  const failures = new Map<string, StorageError>();
  await forEachAtOnce(keys, AT_ONCE, async (key) => {
    try {
      await store.delete(key, options);
    } catch (thrown) {
      failures.set(key, toStorageError(thrown));
    }
  });
  return failures;
}

/** INTERNAL: the server does not take the key, or this program fails before it asks. A write of the key need not wait for that. */
function isFinal(failure: StorageError): boolean {
  return isRefusal(failure) || failure.code === 'INTERNAL';
}
