// SPDX-License-Identifier: GPL-3.0-or-later

import { beforeEach, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import type { LocalCacheStatus } from '../../../src/local/local-cache.ts';
import { Counters } from '../../../src/plugin/figures.ts';
import { answerHistory, createHistory, type History } from '../../../src/plugin/history.ts';

const UUID = '0c1d7e34-9d2a-4a8f-8a0e-1f2b3c4d5e6f';

let nowMs: number;
let counters: Counters;
let history: History;

beforeEach(() => {
  nowMs = 1_700_000_000_000;
  counters = new Counters(() => nowMs);
  history = createHistory({ sample: () => counters.sample(), now: () => nowMs });
});

function take(ms: number, operation: 'create' | 'readWhole' | 'readRange' = 'create'): void {
  const end = counters.begin(operation, UUID);
  nowMs += ms;
  end({ bytes: 1000 });
}

function sample(seconds = 15): void {
  nowMs += seconds * 1000;
  history.take();
}

test('each sample has what happened since the one before', () => {
  take(100);
  take(100);
  take(10, 'readWhole');
  take(30, 'readRange');
  sample();
  counters.begin('create', UUID)({ failure: new StorageError('TIMEOUT', 'too late') });
  sample();
  sample();
  const answer = answerHistory([history.samples()]);
  expect(answer.time).toEqual([1_700_000_015, 1_700_000_030, 1_700_000_045]);
  expect(answer.create).toMatchObject({
    count: [2, 0, 0],
    failed: [0, 1, 0],
    bytes: [2000, 0, 0],
  });
  expect(answer.create.p50[0]).toBeCloseTo(100, -1);
  expect(answer.create.p50[2]).toBeNull();
  // Of the whole and of ranges, together.
  expect(answer.read.count).toEqual([2, 0, 0]);
  expect(answer.read.p50[0]).toBeCloseTo(10, 0);
  expect(answer.read.p99[0]).toBeCloseTo(30, 0);
  expect(answer).toMatchObject({ localCache: null, removalsPending: null });
  // What a sample has taken is in the totals as before.
  expect(counters.snapshot().operations.create.latencyMs.sinceStart.count).toBe(3);
});

test('the most in flight, also what has ended within the sample', () => {
  const end = counters.begin('create', UUID);
  const ends = [1, 2, 3].map(() => counters.begin('readWhole', UUID));
  for (const one of ends) one({ bytes: 1 });
  sample();
  sample();
  end({ bytes: 1 });
  sample();
  sample();
  expect(answerHistory([history.samples()]).inFlight).toEqual([4, 1, 1, 0]);
});

test('an hour is kept, and no more', () => {
  for (let index = 0; index < 500; index += 1) sample();
  const { time } = answerHistory([history.samples()]);
  expect(time).toHaveLength(240);
  expect(time.at(-1)).toBe(1_700_000_000 + 500 * 15);
});

test('where the clock is set back, times still rise', () => {
  for (let index = 0; index < 4; index += 1) sample();
  nowMs -= 40_000;
  sample();
  sample();
  expect(answerHistory([history.samples()]).time.map((time) => time - 1_700_000_000)).toEqual([
    15, 30, 35, 50,
  ]);
});

test('of LocalCache, what waits, and hits since the sample before', () => {
  let cache = { hits: 5, misses: 1, pending: { count: 2, bytes: 70, oldestSeconds: 1 } };
  history = createHistory({
    sample: () => counters.sample(),
    now: () => nowMs,
    localCache: () => cache as LocalCacheStatus,
  });
  sample();
  cache = { hits: 9, misses: 1, pending: { count: 0, bytes: 0, oldestSeconds: 0 } };
  sample();
  expect(answerHistory([history.samples()]).localCache).toEqual({
    pendingCount: [2, 0],
    pendingBytes: [70, 0],
    hits: [5, 4],
    misses: [1, 0],
  });
});

test('several event loops are one, whose slowest tells the latencies', () => {
  const other = new Counters(() => nowMs);
  const otherHistory = createHistory({ sample: () => other.sample(), now: () => nowMs + 5000 });
  take(100);
  const end = other.begin('create', UUID);
  nowMs += 300;
  end({ bytes: 5 });
  history.take();
  otherHistory.take();
  sample();
  const answer = answerHistory([history.samples(), otherHistory.samples()]);
  expect(answer.create).toMatchObject({ count: [2, 0], bytes: [1005, 0] });
  expect(answer.create.p50[0]).toBeCloseTo(300, -1);
  expect(answer.inFlight).toEqual([2, 0]);
});
