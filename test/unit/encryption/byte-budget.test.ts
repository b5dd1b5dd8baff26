// SPDX-License-Identifier: GPL-3.0-or-later

import { setImmediate } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createByteBudget } from '../../../src/encryption/byte-budget.ts';
import { StorageError } from '../../../src/errors.ts';
import { expectFailure, never } from '../../support/bodies.ts';

describe('byte budget', () => {
  test('in the order of asking, none overtakes', async () => {
    const budget = createByteBudget(10);
    const first = await budget.acquire(8, never());
    const started: string[] = [];
    const ask = async (name: string, sizeBytes: number) => {
      const lease = await budget.acquire(sizeBytes, never());
      started.push(name);
      return lease;
    };
    const large = ask('large', 5);
    const small = ask('small', 1);
    await setImmediate();
    expect(started).toEqual([]);
    first.release();
    (await large).release();
    (await small).release();
    expect(started).toEqual(['large', 'small']);
    expect(budget.bytesInProcess()).toBe(0);
  });

  test('what is larger than the limit runs alone', async () => {
    const budget = createByteBudget(10);
    const first = await budget.acquire(1, never());
    let isLargeIn = false;
    const large = budget.acquire(1000, never()).then((lease) => {
      isLargeIn = true;
      return lease;
    });
    const behind = budget.acquire(0, never());
    await setImmediate();
    expect(isLargeIn).toBe(false);
    first.release();
    const lease = await large;
    expect(budget.bytesInProcess()).toBe(1000);
    lease.release();
    (await behind).release();
  });

  test('one that gives up while waiting lets those behind it in', async () => {
    const budget = createByteBudget(10);
    const first = await budget.acquire(5, never());
    const controller = new AbortController();
    const large = budget.acquire(10, controller.signal);
    const behind = budget.acquire(5, never());
    controller.abort(new StorageError('TIMEOUT', 'too late'));
    await expectFailure(large, 'TIMEOUT');
    (await behind).release();
    first.release();
    first.release();
    expect(budget.bytesInProcess()).toBe(0);
    await expectFailure(budget.acquire(1, AbortSignal.abort()), 'ABORTED');
  });

  test('no flood passes the limit or gets stuck', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ sizeBytes: fc.nat(40), turns: fc.nat(3), abort: fc.boolean() }), {
          minLength: 1,
          maxLength: 64,
        }),
        async (requests) => {
          const budget = createByteBudget(20);
          const order: number[] = [];
          let running = 0;
          const work = requests.map(async ({ sizeBytes, turns, abort }, index) => {
            const controller = new AbortController();
            const lease = budget.acquire(sizeBytes, controller.signal);
            if (abort && index % 3 === 0) controller.abort();
            const held = await lease.catch(() => undefined);
            if (held === undefined) return;
            running += 1;
            order.push(index);
            expect(budget.bytesInProcess() <= 20 || running === 1).toBe(true);
            for (let turn = 0; turn < turns; turn++) await setImmediate();
            running -= 1;
            held.release();
          });
          await Promise.all(work);
          expect(order).toEqual(order.toSorted((a, b) => a - b));
          expect(budget.bytesInProcess()).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
});
