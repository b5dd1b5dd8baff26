// SPDX-License-Identifier: GPL-3.0-or-later
// The plugin's side of the bridge with operations that do nothing, for native/test/bench.cpp.

import { type Binding, RequestServer } from '../../src/plugin/bridge.ts';

export function main(binding: Binding): void {
  const nothing = (): never => {
    throw new Error('a bench asks for storage only');
  };
  new RequestServer(binding, {
    storage: () => Promise.resolve(),
    rest: nothing,
    jobs: { step: nothing, stop: nothing, restore: nothing, reset: nothing, close: nothing },
    metrics: nothing,
    figures: () => '{}',
    history: () => '[]',
    stop: () => Promise.resolve(),
  }).start({
    storage: true,
    rangeReads: true,
    lanes: 1,
    callTimeoutMs: 10_000,
    removeTimeoutMs: 10_000,
    metricsTimeoutMs: 10_000,
    stopTimeoutMs: 0,
    watchdogMs: 30_000,
  });
}
