// SPDX-License-Identifier: GPL-3.0-or-later

import { abortReason } from './abort.ts';
import type { ObjectStore } from './object-store.ts';

interface Waiter {
  start(): void;
}

export interface Limiter {
  /** Runs the work once fewer than the maximum run, in the order of asking.
   *  @throws the signal's reason when it is aborted while waiting; the work is then never begun */
  run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>;
}

export function createLimiter(maxAtOnce: number): Limiter {
  let running = 0;
  // A set keeps the order and lets a waiter leave from anywhere.
  const waiting = new Set<Waiter>();

  function enter(signal: AbortSignal): Promise<void> | undefined {
    if (signal.aborted) throw abortReason(signal);
    if (running < maxAtOnce) {
      running += 1;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        waiting.delete(waiter);
        reject(abortReason(signal));
      };
      // The slot passes on without `running` changing, so that nobody overtakes.
      const waiter: Waiter = {
        start: () => {
          signal.removeEventListener('abort', onAbort);
          resolve();
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      waiting.add(waiter);
    });
  }

  function leave(): void {
    const [first] = waiting;
    if (first === undefined) {
      running -= 1;
      return;
    }
    waiting.delete(first);
    first.start();
  }

  return {
    async run(signal, work) {
      const turn = enter(signal);
      if (turn !== undefined) await turn;
      try {
        return await work();
      } finally {
        leave();
      }
    },
  };
}

/** At most so many operations at once; the others wait their turn. `check` and `close` never wait, nor do removals, which hold the
 *  lock of Orthanc's index: behind a few large reads, they would keep everybody from everything. A listing takes a turn for each
 *  page rather than for as long as its consumer takes. */
export function withLimit(store: ObjectStore, maxAtOnce: number): ObjectStore {
  const limiter = createLimiter(maxAtOnce);
  return {
    put: (key, body, options) => limiter.run(options.signal, () => store.put(key, body, options)),
    get: (key, range, sink, options) =>
      limiter.run(options.signal, () => store.get(key, range, sink, options)),
    head: (key, options) => limiter.run(options.signal, () => store.head(key, options)),
    delete: (key, options) => store.delete(key, options),
    async *list(prefix, options) {
      const objects = store.list(prefix, options)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await limiter.run(options.signal, () => objects.next());
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        await objects.return?.();
      }
    },
    check: (options) => store.check(options),
    close: () => store.close(),
  };
}
