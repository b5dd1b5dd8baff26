// SPDX-License-Identifier: GPL-3.0-or-later
// Counts, bytes, errors and latencies of one event loop.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { StorageError, StorageErrorCode } from '../errors.ts';
import type { StorageOperation } from './bridge.ts';
import { EventLoopLoad } from './event-loop-load.ts';

export interface OperationCounts {
  readonly inFlight: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Of contents, not of objects. */
  readonly bytes: number;
  readonly latencyMs: ReturnType<Latencies['snapshot']>;
}

export interface RecentError {
  readonly time: string;
  readonly operation: StorageOperation;
  readonly uuid: string;
  readonly code: StorageErrorCode;
  readonly message: string;
}

export interface CountersSnapshot {
  readonly operations: Readonly<Record<StorageOperation, OperationCounts>>;
  /** ABORTED: those that the shim has given up. They count neither as failed nor as succeeded. */
  readonly errors: Readonly<Partial<Record<StorageErrorCode, number>>>;
  /** The newest first. */
  readonly recentErrors: readonly RecentError[];
  /** The share of a core that each event loop was busy in the last minute, 0 to 1. */
  readonly eventLoopBusy: readonly number[];
  /** When the last event loop began that replaces one which had ended by itself, with its figures; null: none has. */
  readonly restarted: string | null;
}

/** What has happened since the sample before. */
export interface CountersSample {
  readonly create: OperationSample;
  /** Of the whole and of ranges. */
  readonly read: OperationSample;
  readonly remove: OperationSample;
  /** The most at once. */
  readonly inFlight: number;
  /** As in the snapshot. */
  readonly eventLoopBusy: number;
}

export interface OperationSample {
  /** That succeeded. */
  readonly count: number;
  readonly failed: number;
  readonly bytes: number;
  /** In milliseconds; all null if nothing ended. */
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

/** "unanswered": Orthanc no longer waits. The shim has logged and counted that. */
export type End =
  | { readonly bytes: number }
  | { readonly failure: StorageError }
  | { readonly unanswered: StorageError };

export const RECENT_ERRORS_MAX = 10;

export class Counters {
  readonly #now: () => number;
  readonly #operations: Readonly<Record<StorageOperation, Counts>>;
  readonly #errors: Partial<Record<StorageErrorCode, number>> = {};
  readonly #load = new EventLoopLoad();
  /** V8 does not count a histogram's 27 kB: new ones all the time would fill the process's memory before any is collected. */
  readonly #scratch = createHistogram(RANGE);
  #recentErrors: readonly RecentError[] = [];
  #inFlight = 0;
  #inFlightMax = 0;

  readonly #restarted: string | null;

  /** @param now milliseconds of a monotonic clock
   *  @param isRestarted as in the binding */
  constructor(now: () => number = () => performance.now(), isRestarted = false) {
    this.#now = now;
    this.#restarted = isRestarted ? new Date().toISOString() : null;
    this.#operations = {
      create: new Counts(now),
      readWhole: new Counts(now),
      readRange: new Counts(now),
      remove: new Counts(now),
    };
  }

  /** @returns a function to call once, when the operation ends */
  begin(operation: StorageOperation, uuid: string): (end: End) => void {
    const counts = this.#operations[operation];
    const startedMs = this.#now();
    counts.inFlight += 1;
    this.#inFlight += 1;
    this.#inFlightMax = Math.max(this.#inFlightMax, this.#inFlight);
    return (end) => {
      counts.inFlight -= 1;
      this.#inFlight -= 1;
      const note = (code: StorageErrorCode, message: string) => {
        this.#errors[code] = (this.#errors[code] ?? 0) + 1;
        const latest = { time: new Date().toISOString(), operation, uuid, code, message };
        this.#recentErrors = [latest, ...this.#recentErrors].slice(0, RECENT_ERRORS_MAX);
      };
      if ('unanswered' in end) {
        note('ABORTED', end.unanswered.message);
        return;
      }
      counts.latencies.record(this.#now() - startedMs);
      if ('failure' in end) {
        counts.failed += 1;
        note(end.failure.code, end.failure.message);
      } else {
        counts.succeeded += 1;
        counts.bytes += end.bytes;
      }
    };
  }

  snapshot(): CountersSnapshot {
    const { create, readWhole, readRange, remove } = this.#operations;
    return {
      operations: {
        create: create.snapshot(this.#scratch),
        readWhole: readWhole.snapshot(this.#scratch),
        readRange: readRange.snapshot(this.#scratch),
        remove: remove.snapshot(this.#scratch),
      },
      errors: { ...this.#errors },
      recentErrors: this.#recentErrors,
      eventLoopBusy: [this.#load.busy()],
      restarted: this.#restarted,
    };
  }

  /** Begins the next sample. */
  sample(): CountersSample {
    const { create, readWhole, readRange, remove } = this.#operations;
    const inFlight = this.#inFlightMax;
    this.#inFlightMax = this.#inFlight;
    this.#load.sample();
    return {
      create: sampleOf([create], this.#scratch),
      read: sampleOf([readWhole, readRange], this.#scratch),
      remove: sampleOf([remove], this.#scratch),
      inFlight,
      eventLoopBusy: this.#load.busy(),
    };
  }
}

interface Sums {
  readonly succeeded: number;
  readonly failed: number;
  readonly bytes: number;
}

class Counts {
  inFlight = 0;
  succeeded = 0;
  failed = 0;
  bytes = 0;
  readonly latencies: Latencies;
  #sampled: Sums = { succeeded: 0, failed: 0, bytes: 0 };

  constructor(now: () => number) {
    this.latencies = new Latencies(now);
  }

  snapshot(scratch: RecordableHistogram): OperationCounts {
    const { inFlight, succeeded, failed, bytes, latencies } = this;
    return { inFlight, succeeded, failed, bytes, latencyMs: latencies.snapshot(scratch) };
  }

  /** @returns what has been added since the last call */
  sample(): Sums {
    const { succeeded, failed, bytes } = this;
    const before = this.#sampled;
    this.#sampled = { succeeded, failed, bytes };
    return {
      succeeded: succeeded - before.succeeded,
      failed: failed - before.failed,
      bytes: bytes - before.bytes,
    };
  }
}

function sampleOf(operations: readonly Counts[], scratch: RecordableHistogram): OperationSample {
  const sums = operations.map((counts) => counts.sample());
  const sum = (figure: keyof Sums) => sums.reduce((total, one) => total + one[figure], 0);
  scratch.reset();
  for (const { latencies } of operations) latencies.moveNewTo(scratch);
  const { count, p50, p95, p99 } = describe(scratch);
  return {
    count: sum('succeeded'),
    failed: sum('failed'),
    bytes: sum('bytes'),
    ...(count === 0 ? { p50: null, p95: null, p99: null } : { p50, p95, p99 }),
  };
}

/** All zero if nothing ended in that time. */
export interface LatencyMs {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** The window of recent latencies moves in slices, so it covers four to five minutes. */
const SLICE_MS = 60_000;
const SLICES = 5;
const MICROSECONDS_PER_MS = 1000;
/** In microseconds, up to one hour. Two significant digits take 32 kB. */
const RANGE = { lowest: 1, highest: 3_600_000_000, figures: 2 };

interface Slice {
  /** Counts slices from the clock's zero. */
  number: number;
  readonly histogram: RecordableHistogram;
}

class Latencies {
  readonly #now: () => number;
  /** Without the new ones, so that an operation costs two records and no third. */
  readonly #total = createHistogram(RANGE);
  /** Since the last sample. */
  readonly #new = createHistogram(RANGE);
  readonly #slices = Array.from(
    { length: SLICES },
    (): Slice => ({ number: -1, histogram: createHistogram(RANGE) }),
  );

  constructor(now: () => number) {
    this.#now = now;
  }

  record(ms: number): void {
    const micros = Math.round(ms * MICROSECONDS_PER_MS);
    const value = Math.min(RANGE.highest, Math.max(RANGE.lowest, micros));
    this.#new.record(value);
    const number = this.#present();
    const slice = this.#slices[number % SLICES];
    if (slice === undefined) return;
    if (slice.number !== number) {
      slice.histogram.reset();
      slice.number = number;
    }
    slice.histogram.record(value);
  }

  moveNewTo(histogram: RecordableHistogram): void {
    this.#total.add(this.#new);
    histogram.add(this.#new);
    this.#new.reset();
  }

  snapshot(scratch: RecordableHistogram) {
    scratch.reset();
    scratch.add(this.#total);
    scratch.add(this.#new);
    const sinceStart = describe(scratch);
    scratch.reset();
    for (const { number, histogram } of this.#slices) {
      if (number >= 0 && number > this.#present() - SLICES) scratch.add(histogram);
    }
    return { last5Minutes: describe(scratch), sinceStart };
  }

  #present(): number {
    return Math.floor(this.#now() / SLICE_MS);
  }
}

function describe(histogram: RecordableHistogram): LatencyMs {
  const { count } = histogram;
  const ms = (micros: number) => (count === 0 ? 0 : micros / MICROSECONDS_PER_MS);
  return {
    count,
    p50: ms(histogram.percentile(50)),
    p95: ms(histogram.percentile(95)),
    p99: ms(histogram.percentile(99)),
    max: ms(histogram.max),
  };
}
