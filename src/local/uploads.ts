// SPDX-License-Identifier: GPL-3.0-or-later
// When what is pending is uploaded, and what is removed is deleted in the bucket: the oldest first, several at once, for ever.

import { type StorageError, type StorageErrorCode, toStorageError } from '../errors.ts';
import { describeError, type Logger } from '../log.ts';
import { Cancellation, type Signal } from '../store/abort.ts';
import { LOCAL } from './disk.ts';
import type { LocalFile } from './names.ts';
import type { Entry, ObjectStates } from './states.ts';

/** After a failure, doubling up to the longest. Each attempt has its own repetitions (MaxRetries). */
const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 30_000;
/** Of an object that the store refuses while it takes others. */
const REFUSED_PAUSE_MS = 15 * 60_000;
/** So often may it fail, while others do not, before it counts as refused. */
const REFUSED_AFTER = 2;
/** The oldest has waited too long. */
const LONG_WAIT_MS = 5 * 60_000;
/** Another line about the same outage comes after so long. */
const REPEATED_LOG_MS = 5 * 60_000;
const LOOK_MS = 10_000;
/** Of the requests that are allowed at once, so many go on while the bucket is being read. */
const YIELDING_SHARE = 1 / 4;
/** New objects go before uploads, but not for longer. */
const LONGEST_HOLD_MS = 10_000;
const REFUSED_SHOWN = 10;

export interface Trouble {
  readonly code: StorageErrorCode;
  readonly message: string;
  readonly since: string;
}

export interface UploadStatus {
  readonly uploaded: number;
  readonly deleted: number;
  readonly failed: number;
  /** The last upload or deletion failed. */
  readonly trouble: Trouble | null;
  /** Objects that the store refuses while it takes others, or whose files are damaged: how many, and some of them. */
  readonly refused: number;
  readonly refusedObjects: readonly { readonly key: string; readonly reason: string }[];
}

interface Failures {
  readonly file: LocalFile | undefined;
  /** While others succeeded. */
  count: number;
  reason: string;
  retryMs: number;
}

export interface UploadOptions {
  readonly states: ObjectStates;
  readonly log: Logger;
  /** UploadConcurrency. */
  readonly atOnce: number;
  /** Reads of the bucket go first. */
  readonly isReading: () => boolean;
  /** For how long new objects go before uploads, if no more come. */
  readonly burstMs: () => number;
  readonly now?: () => number;
}

export class Uploads {
  readonly #options: UploadOptions;
  readonly #now: () => number;
  readonly #stopping = new Cancellation();
  readonly #running = new Map<Entry, Promise<void>>();
  readonly #failures = new Map<Entry, Failures>();
  /** They have failed since anything succeeded, so that it may be the store's fault, or theirs. */
  readonly #suspects = new Set<Entry>();
  #trouble: Trouble | undefined;
  #pauseMs = 0;
  #pauseUntilMs = 0;
  #counts = { uploaded: 0, deleted: 0, failed: 0 };
  #hasWarned = false;
  /** What the log has a line about, until that is over; and when it had the last one. */
  #toldCode: StorageErrorCode | undefined;
  #toldMs = Number.NEGATIVE_INFINITY;
  /** Since when new objects have gone first. */
  #heldSinceMs: number | undefined;
  #isStarted = false;
  #wake: NodeJS.Timeout | undefined;
  #look: NodeJS.Timeout | undefined;
  readonly #waiters = new Set<() => void>();

  constructor(options: UploadOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
  }

  start(): void {
    this.#isStarted = true;
    // All that was here before is due at the same time. To look for something else each time would take too long.
    for (const entry of this.#options.states.work()) {
      this.#pauseUntilMs = this.#options.states.dueMs(entry);
      break;
    }
    this.#look = setInterval(() => {
      this.#watchOldest();
    }, LOOK_MS);
    this.pump();
  }

  get status(): UploadStatus {
    const refused = [...this.#failures].filter(([entry]) => this.#isRefused(entry));
    return {
      ...this.#counts,
      trouble: this.#trouble ?? null,
      refused: refused.length,
      refusedObjects: refused
        .slice(0, REFUSED_SHOWN)
        .map(([{ key, hash }, { reason }]) => ({ key: key ?? hash, reason })),
    };
  }

  /** Begins what may begin now. */
  pump(): void {
    if (!this.#isStarted || this.#stopping.aborted) return;
    clearTimeout(this.#wake);
    const holdMs = this.#holdMs();
    if (holdMs > 0) {
      this.#wakeIn(holdMs);
      return;
    }
    while (this.#running.size < this.#limit()) {
      const next = this.#choose();
      if (next.entry === undefined) {
        if (next.inMs !== undefined) this.#wakeIn(next.inMs);
        break;
      }
      this.#begin(next.entry);
    }
    if (this.#running.size === 0 && this.#isDrained()) this.#tellWaiters();
  }

  /** Resolves when nothing is left to be done, or when the signal is aborted. */
  async drained(signal: Signal): Promise<void> {
    if (!this.#isStarted || signal.aborted || this.#isDrained()) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#waiters.delete(done);
        resolve();
      };
      this.#waiters.add(done);
      signal.addEventListener('abort', done, { once: true });
      this.pump();
    });
  }

  /** What is under way is aborted, and waits for the next start. */
  async stop(reason: StorageError): Promise<void> {
    clearTimeout(this.#wake);
    clearInterval(this.#look);
    this.#stopping.abort(reason);
    await Promise.all(this.#running.values());
    this.#tellWaiters();
  }

  #isDrained(): boolean {
    const { pending, removals } = this.#options.states.counts;
    return pending.count === 0 && removals === 0;
  }

  #tellWaiters(): void {
    for (const waiter of this.#waiters) waiter();
  }

  #limit(): number {
    if (this.#suspects.size > 0) return 1;
    const { atOnce, isReading } = this.#options;
    return isReading() ? Math.ceil(atOnce * YIELDING_SHARE) : atOnce;
  }

  /** For how long new objects go first. */
  #holdMs(): number {
    const burstMs = this.#isDrained() ? 0 : this.#options.burstMs();
    if (burstMs <= 0) {
      this.#heldSinceMs = undefined;
      return 0;
    }
    const nowMs = this.#now();
    this.#heldSinceMs ??= nowMs;
    return Math.max(0, Math.min(burstMs, this.#heldSinceMs + LONGEST_HOLD_MS - nowMs));
  }

  /** Suspects come last, so that an object that is refused does not stop the others. */
  #choose(): { readonly entry?: Entry; readonly inMs?: number } {
    const nowMs = this.#now();
    if (nowMs < this.#pauseUntilMs) return { inMs: this.#pauseUntilMs - nowMs };
    let suspect: Entry | undefined;
    let dueMs = Number.POSITIVE_INFINITY;
    for (const entry of this.#options.states.work()) {
      if (entry.request !== undefined || this.#running.has(entry)) continue;
      const retryMs = this.#failuresOf(entry)?.retryMs ?? 0;
      const entryDueMs = Math.max(this.#options.states.dueMs(entry), retryMs);
      if (entryDueMs > nowMs) dueMs = Math.min(dueMs, entryDueMs);
      else if (this.#suspects.has(entry)) suspect ??= entry;
      else return { entry };
    }
    if (suspect !== undefined) return { entry: suspect };
    return Number.isFinite(dueMs) ? { inMs: dueMs - nowMs } : {};
  }

  #wakeIn(ms: number): void {
    this.#wake = setTimeout(() => {
      this.pump();
    }, ms);
  }

  #begin(entry: Entry): void {
    const running = this.#attempt(entry).finally(() => {
      this.#running.delete(entry);
      this.pump();
    });
    this.#running.set(entry, running);
  }

  async #attempt(entry: Entry): Promise<void> {
    const { file } = entry;
    const signal = this.#stopping;
    try {
      const isDone = await this.#options.states.carryOut(entry, { signal });
      if (isDone) this.#succeeded(entry, file?.kind === 'removed');
    } catch (error) {
      if (!signal.aborted) this.#failed(entry, toStorageError(error));
    }
  }

  #succeeded(entry: Entry, wasRemoval: boolean): void {
    if (wasRemoval) this.#counts.deleted += 1;
    else this.#counts.uploaded += 1;
    this.#failures.delete(entry);
    this.#suspects.delete(entry);
    // The store takes objects, so that those which failed before must be at fault themselves.
    for (const suspect of this.#suspects) {
      const failures = this.#failuresOf(suspect);
      if (failures === undefined) continue;
      failures.count += 1;
      if (failures.count < REFUSED_AFTER) continue;
      failures.retryMs = this.#now() + REFUSED_PAUSE_MS;
      this.#tellRefusal(suspect, failures);
    }
    this.#suspects.clear();
    this.#pauseMs = 0;
    this.#pauseUntilMs = 0;
    this.#trouble = undefined;
    if (this.#toldCode !== undefined) {
      this.#options.log.info('LocalCache: uploads and deletions go on');
    }
    this.#toldCode = undefined;
  }

  #failed(entry: Entry, error: StorageError): void {
    this.#counts.failed += 1;
    const failures = this.#failuresOf(entry) ?? {
      file: entry.file,
      count: 0,
      reason: '',
      retryMs: 0,
    };
    failures.reason = error.message;
    this.#failures.set(entry, failures);
    const isRefused = failures.count >= REFUSED_AFTER;
    const isDamaged = error.store === LOCAL && error.code === 'INTEGRITY';
    if (isRefused || isDamaged) {
      failures.count = REFUSED_AFTER;
      failures.retryMs = this.#now() + REFUSED_PAUSE_MS;
      if (!isRefused) this.#tellRefusal(entry, failures);
      return;
    }
    this.#suspects.add(entry);
    // Once for all that failed together.
    if (this.#now() >= this.#pauseUntilMs) {
      this.#pauseMs = Math.min(LONGEST_PAUSE_MS, this.#pauseMs * 2 || FIRST_PAUSE_MS);
      this.#pauseUntilMs = this.#now() + this.#pauseMs;
    }
    const before = this.#trouble;
    const { code, message } = error;
    this.#trouble = { code, message, since: before?.since ?? new Date().toISOString() };
    if (this.#toldCode === code || this.#now() < this.#toldMs + REPEATED_LOG_MS) return;
    this.#toldCode = code;
    this.#toldMs = this.#now();
    const { pending, removals } = this.#options.states.counts;
    const what =
      entry.file?.kind === 'removed'
        ? `a deletion fails, and ${removals} objects are still to be deleted in the bucket`
        : `an upload fails, and ${pending.count} objects (${pending.bytes} bytes) are pending`;
    this.#options.log.warning(
      `LocalCache: ${what}; it is tried again until it succeeds: ${describeError(error)}`,
    );
  }

  #isRefused(entry: Entry): boolean {
    return (this.#failuresOf(entry)?.count ?? 0) >= REFUSED_AFTER;
  }

  #failuresOf(entry: Entry): Failures | undefined {
    const failures = this.#failures.get(entry);
    return failures?.file === entry.file ? failures : undefined;
  }

  #tellRefusal(entry: Entry, { reason }: Failures): void {
    const what =
      entry.file?.kind === 'removed' ? 'is not deleted in the bucket' : 'is not uploaded';
    this.#options.log.error(
      `LocalCache: "${entry.key ?? entry.hash}" ${what}: ${reason}. It stays pending, others go on, and it is tried again every 15 minutes`,
    );
  }

  #watchOldest(): void {
    this.pump();
    const oldestSeconds = pendingAge(this.#options.states, (entry) => this.#isRefused(entry));
    const isLong = oldestSeconds * 1000 >= LONG_WAIT_MS;
    if (isLong && !this.#hasWarned) {
      const { pending } = this.#options.states.counts;
      this.#options.log.warning(
        `LocalCache: the oldest of ${pending.count} pending objects has waited for ${Math.floor(oldestSeconds)} s; until they are uploaded, they are on this machine's disk only`,
      );
    }
    // An age about the limit makes one line.
    this.#hasWarned = oldestSeconds * 1000 >= (this.#hasWarned ? LONG_WAIT_MS / 2 : LONG_WAIT_MS);
  }
}

/** @returns for how many seconds the oldest has been pending */
export function pendingAge(
  states: ObjectStates,
  isLeftOut: (entry: Entry) => boolean = () => false,
): number {
  if (states.counts.pending.count === 0) return 0;
  for (const entry of states.work()) {
    if (entry.file.kind !== 'pending' || isLeftOut(entry)) continue;
    // The clock may have been set back.
    return Math.max(0, (Date.now() - entry.file.timeMs) / 1000);
  }
  return 0;
}
