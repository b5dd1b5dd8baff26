// SPDX-License-Identifier: GPL-3.0-or-later
// MaxConcurrentInputSize: how many bytes are in memory at once to be encrypted or decrypted.

import { abortReason } from '../store/abort.ts';

/** A share of the budget; to be released once. */
export interface Lease {
  /** Further calls do nothing. */
  release(): void;
}

export interface ByteBudget {
  /** Waits until the bytes fit, in the order of asking: nobody overtakes, however small. What is larger than the limit waits until it
   *  is alone.
   *  @throws the signal's reason when it is aborted while waiting */
  acquire(sizeBytes: number, signal: AbortSignal): Promise<Lease>;
  bytesInProcess(): number;
}

interface Waiter {
  readonly sizeBytes: number;
  start(lease: Lease): void;
}

export function createByteBudget(limitBytes: number): ByteBudget {
  let leases = 0;
  let usedBytes = 0;
  // A set keeps the order and lets a waiter leave from anywhere.
  const waiting = new Set<Waiter>();

  const fits = (sizeBytes: number) => leases === 0 || usedBytes + sizeBytes <= limitBytes;

  function grant(sizeBytes: number): Lease {
    leases += 1;
    usedBytes += sizeBytes;
    let isHeld = true;
    return {
      release: () => {
        if (!isHeld) return;
        isHeld = false;
        leases -= 1;
        usedBytes -= sizeBytes;
        admit();
      },
    };
  }

  function admit(): void {
    for (const waiter of waiting) {
      if (!fits(waiter.sizeBytes)) return;
      waiting.delete(waiter);
      waiter.start(grant(waiter.sizeBytes));
    }
  }

  return {
    bytesInProcess: () => usedBytes,
    async acquire(sizeBytes, signal) {
      if (signal.aborted) throw abortReason(signal);
      if (waiting.size === 0 && fits(sizeBytes)) return grant(sizeBytes);
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          waiting.delete(waiter);
          reject(abortReason(signal));
          // It may have been the large one at the head that kept all others waiting.
          admit();
        };
        const waiter: Waiter = {
          sizeBytes,
          start: (granted) => {
            signal.removeEventListener('abort', onAbort);
            resolve(granted);
          },
        };
        signal.addEventListener('abort', onAbort, { once: true });
        waiting.add(waiter);
      });
    },
  };
}
