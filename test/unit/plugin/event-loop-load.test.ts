// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { EventLoopLoad } from '../../../src/plugin/event-loop-load.ts';

const MS = 500;

test('a loop that waits is idle, one that computes is busy', async () => {
  const waiting = new EventLoopLoad();
  await sleep(MS);
  expect(waiting.busy()).toBeLessThan(0.2);

  const computing = new EventLoopLoad();
  for (const startedMs = performance.now(); performance.now() - startedMs < MS; );
  expect(computing.busy()).toBeGreaterThan(0.95);
});
