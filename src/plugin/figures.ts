// SPDX-License-Identifier: GPL-3.0-or-later
// What this event loop has done: counts, bytes, errors and times of its operations.

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { StorageError, StorageErrorCode } from '../errors.ts';
import type { StorageOperation } from './bridge.ts';

export interface OperationCounts {
  readonly inFlight: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Of the contents, not of the objects. */
  readonly bytes: number;
  readonly latencyMs: LatenciesMs;
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
  readonly errors: Readonly<Partial<Record<StorageErrorCode, number>>>;
  /** The newest first. */
  readonly recentErrors: readonly RecentError[];
}

/** "unanswered": Orthanc no longer waited. The shim has logged and counted that. */
export type End = { readonly bytes: number } | { readonly failure: StorageError } | 'unanswered';

export interface Counters {
  /** @returns to be called once, with how it ended */
  begin(operation: StorageOperation, uuid: string): (end: End) => void;
  snapshot(): CountersSnapshot;
}

export const RECENT_ERRORS_MAX = 10;

interface Counts {
  inFlight: number;
  succeeded: number;
  failed: number;
  bytes: number;
  readonly latencies: Latencies;
}

/** @param now milliseconds of a clock that only goes forward */
export function createCounters(now: () => number = () => performance.now()): Counters {
  const zero = (): Counts => ({
    inFlight: 0,
    succeeded: 0,
    failed: 0,
    bytes: 0,
    latencies: createLatencies(now),
  });
  const operations = { create: zero(), readWhole: zero(), readRange: zero(), remove: zero() };
  const errors: Partial<Record<StorageErrorCode, number>> = {};
  let recentErrors: readonly RecentError[] = [];
  return {
    begin(operation, uuid) {
      const counts = operations[operation];
      const startedMs = now();
      counts.inFlight += 1;
      return (end) => {
        counts.inFlight -= 1;
        if (end === 'unanswered') return;
        counts.latencies.record(now() - startedMs);
        if ('failure' in end) {
          const { code, message } = end.failure;
          counts.failed += 1;
          errors[code] = (errors[code] ?? 0) + 1;
          const time = new Date().toISOString();
          recentErrors = [{ time, operation, uuid, code, message }, ...recentErrors].slice(
            0,
            RECENT_ERRORS_MAX,
          );
        } else {
          counts.succeeded += 1;
          counts.bytes += end.bytes;
        }
      };
    },
    snapshot: () => ({
      operations: {
        create: countsOf(operations.create),
        readWhole: countsOf(operations.readWhole),
        readRange: countsOf(operations.readRange),
        remove: countsOf(operations.remove),
      },
      errors: { ...errors },
      recentErrors,
    }),
  };
}

function countsOf({ latencies, ...counts }: Counts): OperationCounts {
  return { ...counts, latencyMs: latencies.snapshot() };
}

export interface Latencies {
  record(ms: number): void;
  snapshot(): LatenciesMs;
}

export interface LatenciesMs {
  /** A slow store no longer shows once it is fast again. */
  readonly last5Minutes: LatencyMs;
  readonly sinceStart: LatencyMs;
}

/** Zeros where nothing ended in that time. */
export interface LatencyMs {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** The window moves by this much: it covers four to five minutes. */
const SLICE_MS = 60_000;
const SLICES = 5;
const MICROSECONDS_PER_MS = 1000;
/** In microseconds, up to one hour. Two significant digits take 32 kB. */
const RANGE = { lowest: 1, highest: 3_600_000_000, figures: 2 };

interface Slice {
  /** Counts slices since the clock's zero. */
  number: number;
  readonly histogram: RecordableHistogram;
}

/** @param now milliseconds of a clock that only goes forward */
export function createLatencies(now: () => number): Latencies {
  const total = createHistogram(RANGE);
  const slices = Array.from(
    { length: SLICES },
    (): Slice => ({ number: -1, histogram: createHistogram(RANGE) }),
  );
  const present = () => Math.floor(now() / SLICE_MS);

  return {
    record(ms) {
      const micros = Math.round(ms * MICROSECONDS_PER_MS);
      const value = Math.min(RANGE.highest, Math.max(RANGE.lowest, micros));
      total.record(value);
      const number = present();
      const slice = slices[number % SLICES];
      if (slice === undefined) return;
      if (slice.number !== number) {
        slice.histogram.reset();
        slice.number = number;
      }
      slice.histogram.record(value);
    },
    snapshot() {
      const recent = createHistogram(RANGE);
      for (const { number, histogram } of slices) {
        if (number >= 0 && number > present() - SLICES) recent.add(histogram);
      }
      return { last5Minutes: describe(recent), sinceStart: describe(total) };
    },
  };
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
