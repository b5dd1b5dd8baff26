// SPDX-License-Identifier: GPL-3.0-or-later
// When uploads are tried, and what the log says of them, over hours. states.test.ts has what they do.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { LOCAL } from '../../../src/local/disk.ts';
import type { FileKind } from '../../../src/local/names.ts';
import { type Entry, newEntry, type ObjectStates } from '../../../src/local/states.ts';
import { Uploads } from '../../../src/local/uploads.ts';
import { makeLogger, type TestLogger } from '../../support/settings.ts';

const MINUTE_MS = 60_000;

let log: TestLogger;
let work: Map<string, Entry & { readonly file: NonNullable<Entry['file']> }>;
/** Keys that fail, and how. */
let failures: Map<string, StorageError>;
/** Of these, no request ends by itself. */
let hanging: Set<string>;
/** Keys, as they are tried. */
let tried: string[];
/** How often the work was gone through. */
let looks: number;
let uploads: Uploads;

beforeEach(() => {
  vi.useFakeTimers();
  log = makeLogger();
  work = new Map();
  failures = new Map();
  hanging = new Set();
  tried = [];
  looks = 0;
});
afterEach(async () => {
  await uploads.stop(new StorageError('CLOSED', 'the test is over'));
  vi.useRealTimers();
});

function add(key: string, kind: FileKind = 'pending'): void {
  const file = { kind, hash: key, sequence: work.size, sizeBytes: 1, timeMs: Date.now() };
  work.set(key, { ...newEntry(key, key), file });
}

/** @param burstMs as if new objects had just come */
function start({ burstMs = (): number => 0 } = {}): void {
  const count = (kind: FileKind) =>
    [...work.values()].filter(({ file }) => file.kind === kind).length;
  const states: Pick<ObjectStates, 'carryOut' | 'counts' | 'dueMs' | 'work'> = {
    get counts() {
      const pending = { count: count('pending'), bytes: count('pending') };
      return { pending, removals: count('removed'), cached: { count: 0, bytes: 0 } };
    },
    work: () => {
      looks += 1;
      return work.values();
    },
    dueMs: () => 0,
    carryOut: (entry, { signal }) => {
      tried.push(entry.hash);
      if (hanging.has(entry.hash)) {
        return new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error));
        });
      }
      const failure = failures.get(entry.hash);
      if (failure !== undefined) return Promise.reject(failure);
      work.delete(entry.hash);
      return Promise.resolve(true);
    },
  };
  uploads = new Uploads({
    states: states as ObjectStates,
    log,
    atOnce: 4,
    isReading: () => false,
    burstMs,
  });
  uploads.start();
}

function fail(key: string, code: 'ACCESS_DENIED' | 'UNAVAILABLE' | 'TIMEOUT'): void {
  failures.set(key, new StorageError(code, `${key} fails`));
}

const warnings = () => log.lines.filter((line) => line.startsWith('warning'));
const errors = () => log.lines.filter((line) => line.startsWith('error'));

/** The store refuses "refused", and has taken others. */
async function refuseOne(): Promise<void> {
  add('refused');
  fail('refused', 'ACCESS_DENIED');
  start();
  for (const key of ['a', 'b', 'c']) {
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
    add(key);
    uploads.pump();
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
  }
  expect(uploads.status).toMatchObject({ refused: 1, uploaded: 3 });
}

test('what is refused is tried four times an hour, also if nothing else comes', async () => {
  await refuseOne();
  tried = [];
  await vi.advanceTimersByTimeAsync(120 * MINUTE_MS);
  expect(tried).toEqual(Array.from({ length: 8 }, () => 'refused'));
  expect(errors()).toHaveLength(1);
  expect(uploads.status).toMatchObject({ refused: 1, trouble: null });
});

test('what is refused holds up nothing', async () => {
  await refuseOne();
  await vi.advanceTimersByTimeAsync(16 * MINUTE_MS);
  tried = [];
  for (let at = 0; at < 10; at++) add(`new-${at}`);
  uploads.pump();
  await vi.advanceTimersByTimeAsync(100);
  expect(tried).toHaveLength(10);
});

test('a damaged file is named once', async () => {
  add('damaged');
  failures.set('damaged', new StorageError('INTEGRITY', 'it is damaged', { store: LOCAL }));
  start();
  await vi.advanceTimersByTimeAsync(60 * MINUTE_MS);
  expect(tried.length).toBeGreaterThan(3);
  expect(errors()).toEqual([expect.stringMatching(/"damaged" is not uploaded: it is damaged/)]);
});

test('an outage makes one line in five minutes, however it looks, and one when it is over', async () => {
  for (let at = 0; at < 3; at++) add(`key-${at}`);
  start();
  // Before anything runs: the first attempt is a later turn.
  for (let second = 0; second < 600; second += 10) {
    for (const key of work.keys()) fail(key, second % 20 === 0 ? 'TIMEOUT' : 'UNAVAILABLE');
    await vi.advanceTimersByTimeAsync(10_000);
    add(`later-${second}`);
  }
  failures.clear();
  await vi.advanceTimersByTimeAsync(MINUTE_MS);
  expect(work.size).toBe(0);
  const outage = warnings().filter((line) => line.includes('an upload fails'));
  expect(outage.length).toBeGreaterThan(0);
  expect(outage.length).toBeLessThanOrEqual(3);
  expect(log.lines.filter((line) => line.startsWith('info'))).toHaveLength(1);
});

test('another cause is told, if it stays', async () => {
  add('a');
  fail('a', 'UNAVAILABLE');
  start();
  await vi.advanceTimersByTimeAsync(MINUTE_MS);
  fail('a', 'ACCESS_DENIED');
  await vi.advanceTimersByTimeAsync(10 * MINUTE_MS);
  const outage = warnings().filter((line) => line.includes('an upload fails'));
  expect(outage).toHaveLength(2);
  expect(outage[1]).toContain('ACCESS_DENIED');
});

test('deletions that fail are called so', async () => {
  add('gone', 'removed');
  fail('gone', 'ACCESS_DENIED');
  start();
  await vi.advanceTimersByTimeAsync(1000);
  expect(warnings()).toEqual([
    expect.stringMatching(/a deletion fails, and 1 objects are still to be deleted in the bucket/),
  ]);
});

test('the oldest that is not refused has waited too long: one line for each time', async () => {
  await refuseOne();
  const waits = () => warnings().filter((line) => line.includes('has waited'));
  const before = waits().length;
  await vi.advanceTimersByTimeAsync(30 * MINUTE_MS);
  expect(waits()).toHaveLength(before);
  for (let time = 1; time <= 2; time++) {
    add('late');
    fail('late', 'UNAVAILABLE');
    uploads.pump();
    await vi.advanceTimersByTimeAsync(10 * MINUTE_MS);
    expect(waits()).toHaveLength(before + time);
    failures.delete('late');
    await vi.advanceTimersByTimeAsync(MINUTE_MS);
  }
});

test('many objects to be deleted are not gone through for each new one', async () => {
  for (let at = 0; at < 1000; at++) add(`removed-${at}`, 'removed');
  add('new');
  hanging = new Set(work.keys());
  start();
  await vi.advanceTimersByTimeAsync(2000);
  looks = 0;
  for (let at = 0; at < 100; at++) uploads.pump();
  expect(looks).toBeLessThan(5);
});

describe('while new objects come in', () => {
  let burstEndMs: number;
  const burstMs = () => Math.max(0, burstEndMs - performance.now());
  beforeEach(() => {
    burstEndMs = Number.POSITIVE_INFINITY;
  });

  test('nothing is uploaded or deleted, until none has come for a moment', async () => {
    for (const [key, kind] of [
      ['a', 'pending'],
      ['b', 'removed'],
    ] as const)
      add(key, kind);
    burstEndMs = performance.now() + 3000;
    start({ burstMs });
    await vi.advanceTimersByTimeAsync(2990);
    expect(tried).toEqual([]);
    await vi.advanceTimersByTimeAsync(20);
    expect(tried).toEqual(['a', 'b']);
  });

  test.each([
    ['pending', 0],
    ['removed', 0],
    // The clock has been set back since.
    ['pending', 3_600_000],
  ] as const)('what is %s waits for ten seconds at most', async (kind, aheadMs) => {
    vi.setSystemTime(Date.now() + aheadMs);
    add('a', kind);
    vi.setSystemTime(Date.now() - aheadMs);
    start({ burstMs: () => 25 });
    await vi.advanceTimersByTimeAsync(9_900);
    expect(tried).toEqual([]);
    await vi.advanceTimersByTimeAsync(200);
    expect(tried).toEqual(['a']);
    // What comes then begins to wait anew.
    add('b', kind);
    uploads.pump();
    await vi.advanceTimersByTimeAsync(9_900);
    expect(tried).toEqual(['a']);
    await vi.advanceTimersByTimeAsync(200);
    expect(tried).toEqual(['a', 'b']);
  });

  test('with nothing to do, nothing is looked at again and again', async () => {
    start({ burstMs: () => 25 });
    expect(vi.getTimerCount()).toBe(1); // that of the warnings
    await uploads.drained(AbortSignal.timeout(1000));
  });
});
