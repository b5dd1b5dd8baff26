// SPDX-License-Identifier: GPL-3.0-or-later

/** Time for encryption in one turn of the event loop. */
const SLICE_MS = 2;

/** Keeps encryption from blocking the event loop when many operations have something to encrypt in one turn. */
export class Pacer {
  readonly #now: () => number;
  readonly #waiting: (() => void)[] = [];
  #sliceStartedMs: number | undefined;

  /** @param now milliseconds of a monotonic clock */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Call it right before each piece of work. Once the slice is used up, each piece waits for a turn of its own, in order. Do not await
   *  undefined: others would call this before the work has used its time. */
  turn(): Promise<void> | undefined {
    if (this.#sliceStartedMs === undefined) {
      this.#beginSlice();
      return undefined;
    }
    if (this.#waiting.length === 0 && this.#now() - this.#sliceStartedMs < SLICE_MS)
      return undefined;
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #beginSlice(): void {
    this.#sliceStartedMs = this.#now();
    // Only one at a time, because all callbacks that are due run in one turn.
    setImmediate(() => {
      this.#sliceStartedMs = undefined;
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#beginSlice();
      next();
    });
  }
}
