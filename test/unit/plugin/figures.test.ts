// SPDX-License-Identifier: GPL-3.0-or-later

import { beforeEach, describe, expect, test } from 'vitest';
import { StorageError, type StorageErrorCode } from '../../../src/errors.ts';
import { Counters } from '../../../src/plugin/figures.ts';

const MINUTE_MS = 60_000;
const UUID = '0c1d7e34-9d2a-4a8f-8a0e-1f2b3c4d5e6f';

let nowMs: number;
let counters: Counters;

beforeEach(() => {
  nowMs = 12_345_678;
  counters = new Counters(() => nowMs);
});

/** One read that takes so long. */
function take(ms: number, bytes = 10): void {
  const end = counters.begin('readWhole', UUID);
  nowMs += ms;
  end({ bytes });
}

function fail(code: StorageErrorCode, message = 'it is down'): void {
  counters.begin('create', UUID)({ failure: new StorageError(code, message) });
}

const reads = () => counters.snapshot().operations.readWhole;

test('nothing has happened yet', () => {
  const none = { count: 0, p50: 0, p95: 0, p99: 0, max: 0 };
  expect(reads()).toEqual({
    inFlight: 0,
    succeeded: 0,
    failed: 0,
    bytes: 0,
    latencyMs: { last5Minutes: none, sinceStart: none },
  });
  expect(counters.snapshot()).toMatchObject({ errors: {}, recentErrors: [] });
});

test('what is under way, what it moved, and how it ended, by operation', () => {
  const end = counters.begin('create', UUID);
  expect(counters.snapshot().operations.create).toMatchObject({ inFlight: 1, succeeded: 0 });
  end({ bytes: 500 });
  fail('THROTTLED');
  take(1, 7);
  const { operations, errors } = counters.snapshot();
  expect(operations.create).toMatchObject({ inFlight: 0, succeeded: 1, failed: 1, bytes: 500 });
  expect(operations.readWhole).toMatchObject({ inFlight: 0, succeeded: 1, failed: 0, bytes: 7 });
  expect(errors).toEqual({ THROTTLED: 1 });
});

test('the last ten errors, the newest first', () => {
  for (let index = 1; index <= 12; index += 1) fail('UNAVAILABLE', `failure ${index}`);
  const { errors, recentErrors } = counters.snapshot();
  expect(errors).toEqual({ UNAVAILABLE: 12 });
  expect(recentErrors.map(({ message }) => message)).toEqual(
    Array.from({ length: 10 }, (_, index) => `failure ${12 - index}`),
  );
  expect(recentErrors[0]).toMatchObject({ operation: 'create', uuid: UUID, code: 'UNAVAILABLE' });
});

test('samples and questions take no memory', () => {
  const look = (times: number) => {
    for (let index = 0; index < times; index += 1) {
      counters.sample();
      counters.snapshot();
    }
  };
  look(50);
  const before = process.memoryUsage.rss();
  look(2_000);
  expect(process.memoryUsage.rss() - before).toBeLessThan(40 * 1024 * 1024);
});

describe('latencies', () => {
  test('percentiles, to two digits', () => {
    for (let ms = 1; ms <= 100; ms += 1) take(ms);
    const { sinceStart, last5Minutes } = reads().latencyMs;
    expect(sinceStart.count).toBe(100);
    for (const [figure, ms] of [
      ['p50', 50],
      ['p95', 95],
      ['p99', 99],
      ['max', 100],
    ] as const) {
      expect(Math.abs(sinceStart[figure] - ms)).toBeLessThanOrEqual(1);
    }
    expect(last5Minutes).toEqual(sinceStart);
  });

  test('a slow hour is out of the window five minutes later, and still in the total', () => {
    take(2000);
    nowMs += 3 * MINUTE_MS;
    take(10);
    expect(reads().latencyMs.last5Minutes.count).toBe(2);
    expect(reads().latencyMs.last5Minutes.max).toBeGreaterThan(1900);
    nowMs += 2 * MINUTE_MS;
    expect(reads().latencyMs.last5Minutes.count).toBe(1);
    expect(reads().latencyMs.last5Minutes.max).toBeLessThan(11);
    expect(reads().latencyMs.sinceStart.count).toBe(2);
    expect(reads().latencyMs.sinceStart.max).toBeGreaterThan(1900);
  });

  test('after a quiet hour the window is empty, and begins anew', () => {
    take(10);
    nowMs += 60 * MINUTE_MS;
    expect(reads().latencyMs.last5Minutes).toMatchObject({ count: 0, p99: 0, max: 0 });
    take(20);
    expect(reads().latencyMs.last5Minutes.count).toBe(1);
  });

  test('failures count, too; what takes no time and what takes days does no harm', () => {
    fail('TIMEOUT');
    take(0);
    take(48 * 60 * MINUTE_MS);
    expect(counters.snapshot().operations.create.latencyMs.sinceStart.count).toBe(1);
    expect(reads().latencyMs.sinceStart.count).toBe(2);
    expect(reads().latencyMs.sinceStart.p50).toBeGreaterThan(0);
  });
});
