// SPDX-License-Identifier: GPL-3.0-or-later

/** Keeps encryption from holding up the event loop: many operations may have something to encrypt in the same turn of it. */
export interface Pacer {
  /** To be asked before each piece of work, which then follows at once: `await` only what is not undefined, since others would
   *  ask before the work has taken its time. */
  turn(): Promise<void> | undefined;
}

/** @param sliceMs how long pieces may follow each other in one turn of the loop; then each waits for a turn of its own, in order
 *  @param now milliseconds of a clock that only goes forward */
export function createPacer(sliceMs: number, now: () => number): Pacer {
  let sliceStartedMs: number | undefined;
  const waiting: (() => void)[] = [];

  function onTurn(): void {
    sliceStartedMs = undefined;
    const next = waiting.shift();
    if (next === undefined) return;
    begin();
    next();
  }

  function begin(): void {
    sliceStartedMs = now();
    // All callbacks that are due run in one turn, so only one is ever scheduled.
    setImmediate(onTurn);
  }

  return {
    turn() {
      if (sliceStartedMs === undefined) {
        begin();
        return undefined;
      }
      if (waiting.length === 0 && now() - sliceStartedMs < sliceMs) return undefined;
      return new Promise((resolve) => {
        waiting.push(resolve);
      });
    },
  };
}
