// SPDX-License-Identifier: GPL-3.0-or-later
// Clears in the background what a failed upload leaves at the server, since its caller may be at its deadline.

import { setImmediate } from 'node:timers/promises';
import {
  abortReason,
  Cancellation,
  type Signal,
  tellFailure,
  untilAborted,
} from '../store/abort.ts';

/** How long an answer is waited for after an abort, to clear what it began. */
const LATE_ANSWER_MS = 10_000;
/** How long a store that closes waits for them. */
export const CLEANUP_GRACE_MS = 2_000;

export interface Cleanups {
  /** @param work which logs its own failure */
  add(work: () => Promise<void>): void;
  /** Begins something that has to be cleared at the server if the caller gives up before the answer comes.
   *  @param begin gets a signal that is aborted some time after the other one
   *  @throws what `begin` throws; what the signal says, at once */
  start<T>(
    signal: Signal,
    begin: (outliving: Signal) => Promise<T>,
    clear: (begun: T) => Promise<void>,
  ): Promise<T>;
  /** Resolves when all are done, or after the time given. */
  settle(withinMs: number): Promise<void>;
}

export function createCleanups(): Cleanups {
  const running = new Set<Promise<void>>();
  const add: Cleanups['add'] = (work) => {
    const cleanup = work().finally(() => running.delete(cleanup));
    running.add(cleanup);
  };
  return {
    add,
    async start(signal, begin, clear) {
      if (signal.aborted) throw abortReason(signal);
      const outliving = new Cancellation();
      let timer: NodeJS.Timeout | undefined;
      const onAbort = () => {
        timer = setTimeout(() => {
          outliving.abort(signal.reason);
        }, LATE_ANSWER_MS);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      outliving.onFailure = (failure) => {
        tellFailure(signal, failure);
      };
      const beginning = begin(outliving).finally(() => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
      });
      try {
        return await untilAborted(beginning, signal);
      } catch (thrown) {
        if (signal.aborted) add(() => beginning.then(clear, () => undefined));
        throw thrown;
      }
    },
    async settle(withinMs) {
      // Operations that have just been aborted add their cleanups in the next turn.
      await setImmediate();
      if (running.size === 0) return;
      let timer: NodeJS.Timeout | undefined;
      const timeout = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, withinMs);
      });
      await Promise.race([Promise.all(running), timeout]);
      clearTimeout(timer);
    },
  };
}
