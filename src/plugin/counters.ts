// SPDX-License-Identifier: GPL-3.0-or-later

import type { StorageError, StorageErrorCode } from '../errors.ts';
import type { StorageOperation } from './bridge.ts';
import { createLatencies, type Latencies, type LatenciesMs } from './latencies.ts';

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
