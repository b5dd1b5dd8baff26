// SPDX-License-Identifier: GPL-3.0-or-later

import { setImmediate, setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { forEachAtOnce, Semaphore } from '../../../src/store/limit.ts';
import { expectFailure, never } from '../../support/bodies.ts';

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

describe('a budget of bytes', () => {
  test('in the order of asking, none overtakes', async () => {
    const budget = new Semaphore(10);
    const first = await budget.acquire(never(), 8);
    const started: string[] = [];
    const ask = async (name: string, sizeBytes: number) => {
      const release = await budget.acquire(never(), sizeBytes);
      started.push(name);
      return release;
    };
    const large = ask('large', 5);
    const small = ask('small', 1);
    await setImmediate();
    expect(started).toEqual([]);
    first();
    (await large)();
    (await small)();
    expect(started).toEqual(['large', 'small']);
    expect(budget.weightInUse).toBe(0);
  });

  test('what is larger than the limit runs alone', async () => {
    const budget = new Semaphore(10);
    const first = await budget.acquire(never(), 1);
    let isLargeIn = false;
    const large = budget.acquire(never(), 1000).then((release) => {
      isLargeIn = true;
      return release;
    });
    const behind = budget.acquire(never(), 0);
    await setImmediate();
    expect(isLargeIn).toBe(false);
    first();
    const release = await large;
    expect(budget.weightInUse).toBe(1000);
    release();
    (await behind)();
  });

  test('one that gives up while waiting lets those behind it in', async () => {
    const budget = new Semaphore(10);
    const first = await budget.acquire(never(), 5);
    const controller = new AbortController();
    const large = budget.acquire(controller.signal, 10);
    const behind = budget.acquire(never(), 5);
    controller.abort(new StorageError('TIMEOUT', 'too late'));
    await expectFailure(large, 'TIMEOUT');
    (await behind)();
    first();
    first();
    expect(budget.weightInUse).toBe(0);
    await expectFailure(budget.acquire(AbortSignal.abort(), 1), 'ABORTED');
  });

  test('no flood passes the limit or gets stuck', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ sizeBytes: fc.nat(40), turns: fc.nat(3), abort: fc.boolean() }), {
          minLength: 1,
          maxLength: 64,
        }),
        async (requests) => {
          const budget = new Semaphore(20);
          const order: number[] = [];
          let running = 0;
          const work = requests.map(async ({ sizeBytes, turns, abort }, index) => {
            const controller = new AbortController();
            const lease = budget.acquire(controller.signal, sizeBytes);
            if (abort && index % 3 === 0) controller.abort();
            const held = await lease.catch(() => undefined);
            if (held === undefined) return;
            running += 1;
            order.push(index);
            expect(budget.weightInUse <= 20 || running === 1).toBe(true);
            for (let turn = 0; turn < turns; turn++) await setImmediate();
            running -= 1;
            held();
          });
          await Promise.all(work);
          expect(order).toEqual(order.toSorted((a, b) => a - b));
          expect(budget.weightInUse).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
});
