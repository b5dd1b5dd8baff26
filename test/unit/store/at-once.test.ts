// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { forEachAtOnce } from '../../../src/store/at-once.ts';

/** Notices steps that overlap, and the end. */
function createItems(count: number) {
  const seen = { taken: 0, isEnded: false };
  async function* generate() {
    try {
      for (let item = 0; item < count; item += 1) {
        await sleep(0);
        seen.taken += 1;
        yield item;
      }
    } finally {
      seen.isEnded = true;
    }
  }
  return { seen, items: generate() };
}

test.each([
  ['a list', (count: number) => Array.from({ length: count }, (_, item) => item)],
  ['what comes bit by bit', (count: number) => createItems(count).items],
])('%s: each once, in order, never more than so many at once', async (_name, make) => {
  const done: number[] = [];
  let running = 0;
  let most = 0;
  await forEachAtOnce(make(50), 4, async (item) => {
    done.push(item);
    running += 1;
    most = Math.max(most, running);
    await sleep(20);
    running -= 1;
  });
  expect(done).toEqual(Array.from({ length: 50 }, (_, item) => item));
  expect(most).toBe(4);
  expect(running).toBe(0);
});

test('a failure ends it: nothing is under way any more, and nothing else is begun', async () => {
  const { seen, items } = createItems(1000);
  let running = 0;
  const work = forEachAtOnce(items, 4, async (item) => {
    running += 1;
    await sleep(2);
    running -= 1;
    if (item === 5) throw new Error('item 5');
  });
  await expect(work).rejects.toThrow('item 5');
  expect(running).toBe(0);
  expect(seen.isEnded).toBe(true);
  expect(seen.taken).toBeLessThan(20);
});

test('so does a list that fails, and an empty one is done at once', async () => {
  async function* failing() {
    yield 1;
    await sleep(1);
    throw new Error('the list');
  }
  const done: number[] = [];
  const note = (item: number) => {
    done.push(item);
    return Promise.resolve();
  };
  await expect(forEachAtOnce(failing(), 3, note)).rejects.toThrow('the list');
  expect(done).toEqual([1]);
  await forEachAtOnce([], 3, note);
  expect(done).toEqual([1]);
});
