// SPDX-License-Identifier: GPL-3.0-or-later

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planParts, sendParts } from '../../../src/providers/parts.ts';
import { expectSameBytes, makeBody, makeBytes, never } from '../../support/bodies.ts';

const MIB = 1024 * 1024;
const s3 = { minPartBytes: 5 * MIB, maxParts: 10_000 };

test('any size goes into at most 10,000 parts of at least 5 MiB that cover it exactly', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5 * 1024 ** 4 }),
      fc.integer({ min: 1, max: 512 * MIB }),
      (sizeBytes, wanted) => {
        const { partBytes, count } = planParts(sizeBytes, wanted, s3);
        expect(count).toBeLessThanOrEqual(s3.maxParts);
        expect(partBytes).toBeGreaterThanOrEqual(
          Math.max(s3.minPartBytes, Math.min(wanted, partBytes)),
        );
        expect((count - 1) * partBytes).toBeLessThan(sizeBytes);
        expect(count * partBytes).toBeGreaterThanOrEqual(sizeBytes);
      },
    ),
  );
});

test('the wanted size is kept where it fits', () => {
  expect(planParts(100 * MIB, 16 * MIB, s3)).toEqual({ partBytes: 16 * MIB, count: 7 });
  expect(planParts(100 * MIB, 1, s3)).toEqual({ partBytes: 5 * MIB, count: 20 });
  expect(planParts(10 * MIB, 5 * MIB, s3)).toEqual({ partBytes: 5 * MIB, count: 2 });
});

test('never more parts are under way than the pool allows, and they come back in order', async () => {
  const bytes = makeBytes(103);
  let running = 0;
  let most = 0;
  const parts = await sendParts(
    makeBody(bytes),
    { partBytes: 10, count: 11 },
    3,
    never(),
    async (index, content) => {
      running += 1;
      most = Math.max(most, running);
      await new Promise((resolve) => setTimeout(resolve, index % 2));
      running -= 1;
      return content.read(0, content.sizeBytes);
    },
  );
  expect(most).toBe(3);
  expectSameBytes(Buffer.concat(parts), bytes);
});

test('the first failure stops the others', async () => {
  const aborted: number[] = [];
  const started: number[] = [];
  const sending = sendParts(
    makeBody(makeBytes(100)),
    { partBytes: 10, count: 10 },
    3,
    never(),
    (index, _content, signal) => {
      started.push(index);
      if (index === 1) return Promise.reject(new Error('part 1 failed'));
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          aborted.push(index);
          reject(new Error('aborted'));
        });
      });
    },
  );
  await expect(sending).rejects.toThrow('part 1 failed');
  expect(started).toEqual([0, 1, 2]);
  expect(aborted).toEqual([0, 2]);
});
