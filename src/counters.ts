// SPDX-License-Identifier: GPL-3.0-or-later

import type { StorageOperation } from './bridge.ts';
import type { StorageErrorCode } from './errors.ts';

export interface OperationCounts {
  readonly inFlight: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Of the contents, as Orthanc sees them. */
  readonly bytes: number;
}

export interface Counters {
  /** @returns to be called once, with how it ended */
  begin(
    operation: StorageOperation,
  ): (end: { readonly bytes: number } | { readonly failure: StorageErrorCode }) => void;
  snapshot(): {
    readonly operations: Readonly<Record<StorageOperation, OperationCounts>>;
    readonly errors: Readonly<Partial<Record<StorageErrorCode, number>>>;
  };
}

/** Counts since the runtime started. */
export function createCounters(): Counters {
  const zero = () => ({ inFlight: 0, succeeded: 0, failed: 0, bytes: 0 });
  const operations = { create: zero(), readWhole: zero(), readRange: zero(), remove: zero() };
  const errors: Partial<Record<StorageErrorCode, number>> = {};
  return {
    begin(operation) {
      const counts = operations[operation];
      counts.inFlight += 1;
      return (end) => {
        counts.inFlight -= 1;
        if ('failure' in end) {
          counts.failed += 1;
          errors[end.failure] = (errors[end.failure] ?? 0) + 1;
        } else {
          counts.succeeded += 1;
          counts.bytes += end.bytes;
        }
      };
    },
    snapshot: () => ({ operations: structuredClone(operations), errors: { ...errors } }),
  };
}
