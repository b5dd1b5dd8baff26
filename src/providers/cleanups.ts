// SPDX-License-Identifier: GPL-3.0-or-later
// What a failed upload leaves at the server is cleared in the background: its caller may be at its deadline.

import { setImmediate } from 'node:timers/promises';

export interface Cleanups {
  /** @param work which logs its own failure */
  add(work: () => Promise<void>): void;
  /** Resolves when all are done, or after the time given. */
  settle(withinMs: number): Promise<void>;
}

export function createCleanups(): Cleanups {
  const running = new Set<Promise<void>>();
  return {
    add(work) {
      const cleanup = work().finally(() => running.delete(cleanup));
      running.add(cleanup);
    },
    async settle(withinMs) {
      // What has just been aborted comes here only in a moment.
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
