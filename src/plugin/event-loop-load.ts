// SPDX-License-Identifier: GPL-3.0-or-later

import { performance } from 'node:perf_hooks';

const SAMPLES = 4;

/** How busy the event loop of this thread is. */
export class EventLoopLoad {
  /** The oldest first. */
  readonly #samples = [performance.eventLoopUtilization()];

  /** To be called every 15 seconds (src/plugin/history.ts). */
  sample(): void {
    this.#samples.push(performance.eventLoopUtilization());
    if (this.#samples.length > SAMPLES) this.#samples.shift();
  }

  /** @returns the share of the last minute (45 to 60 s, or since the start) in which the loop did not wait for events */
  busy(): number {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, this.#samples[0]);
    // NaN where no time has passed.
    return Math.round(utilization * 1000) / 1000 || 0;
  }
}
