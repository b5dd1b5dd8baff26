// SPDX-License-Identifier: GPL-3.0-or-later

import { beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import type { LocalCacheStatus } from '../../../src/local/local-cache.ts';
import { formatTime } from '../../../src/page/format.ts';
import { judge } from '../../../src/page/health.ts';
import { Counters } from '../../../src/plugin/figures.ts';
import { answerHistory, createHistory, type History } from '../../../src/plugin/history.ts';
import type { Status } from '../../../src/plugin/status.ts';

let nowMs: number;
let counters: Counters;
let history: History;

beforeEach(() => {
  nowMs = Date.now();
  counters = new Counters(() => nowMs);
  history = createHistory({ sample: () => counters.sample(), now: () => nowMs });
});

function statusOf(changes: Partial<Status> = {}): Status {
  const snapshot = counters.snapshot();
  const inFlight = Object.values(snapshot.operations).reduce((sum, one) => sum + one.inFlight, 0);
  return {
    time: new Date(nowMs).toISOString(),
    version: '1.2.3',
    provider: 's3',
    bucket: 'archive',
    place: 'eu-central-1',
    rootPath: '',
    structure: 'flat',
    hybrid: null,
    encryption: null,
    keyIds: [],
    removals: null,
    localCache: null,
    node: 'v20.20.2',
    lanes: 1,
    uptimeSeconds: 7200,
    inFlight,
    ...snapshot,
    eventLoopBusy: [0],
    ...changes,
  };
}

const CACHE = {
  directory: '/cache',
  maxBytes: 1000,
  writeBack: true,
  pending: { count: 0, bytes: 0, oldestSeconds: 0 },
  removals: 0,
  cached: { count: 0, bytes: 0 },
  hits: 0,
  misses: 0,
  writtenThrough: 0,
  uploaded: 0,
  deleted: 0,
  failed: 0,
  trouble: null,
  refused: 0,
  refusedObjects: [],
} as const satisfies LocalCacheStatus;

function sample(): void {
  nowMs += 15_000;
  history.take();
}

function fail(): void {
  counters.begin('create', 'u')({ failure: new StorageError('ACCESS_DENIED', 'no') });
}

function succeed(): void {
  counters.begin('create', 'u')({ bytes: 5 });
}

const found = (changes: Partial<Status> = {}) =>
  judge(statusOf(changes), answerHistory([history.samples()]));

test('all is well', () => {
  succeed();
  sample();
  expect(found()).toEqual([
    {
      level: 'good',
      what: 'All is well: new files go to the S3 bucket “archive”, and nothing has failed in the last hour.',
    },
  ]);
  const hybrid = { writeTo: 'file-system', folder: '/var/lib/orthanc' } as const;
  expect(found({ hybrid })[0]?.what).toContain('new files go to the folder /var/lib/orthanc');
});

test('no more is claimed than is known', () => {
  const calm = (changes: Partial<Status>, known?: History) =>
    judge(statusOf(changes), known && answerHistory([known.samples()])).map(({ what }) => what);
  const since = (minutes: number) => formatTime(nowMs / 1000 - minutes * 60);
  // Without a history: it is not there yet, or refused.
  expect(calm({ uptimeSeconds: 120 })[0]).toContain(`nothing has failed since ${since(2)}.`);
  sample();
  expect(calm({ uptimeSeconds: 180 }, history)[0]).toContain(`failed since ${since(3)}.`);
  fail();
  expect(calm({ time: new Date(nowMs + 600_000).toISOString() })[0]).toMatch(
    /nothing has failed since \d\d:\d\d\.$/,
  );
});

test('what the shim has given up, a loop that is silent, and a runtime that was replaced', () => {
  counters.begin('create', 'u')({ unanswered: new StorageError('ABORTED', 'given up') });
  expect(found()[0]).toMatchObject({ level: 'bad', what: expect.stringContaining('ABORTED') });
  counters = new Counters(() => nowMs);
  expect(found({ lanes: 3, eventLoopBusy: [0, 0] })).toMatchObject([
    { level: 'watch', what: expect.stringMatching(/^1 of 3 event loops does not answer/) },
  ]);
  const restarted = new Date(nowMs - 60_000).toISOString();
  expect(found({ restarted })).toMatchObject([
    { level: 'watch', what: expect.stringMatching(/^The plugin's runtime ended by itself/) },
  ]);
  expect(found({ restarted: new Date(nowMs - 3_600_000).toISOString() })[0]?.level).toBe('good');
});

test('a failure of before the clock was set back an hour is not recent', () => {
  fail();
  const time = new Date(nowMs - 3_600_000).toISOString();
  expect(judge(statusOf({ time }), undefined)[0]?.level).toBe('good');
});

test('a code of a newer plugin', () => {
  fail();
  const [error] = statusOf().recentErrors;
  const recentErrors = [{ ...error, code: 'NEWER' }] as unknown as Status['recentErrors'];
  expect(found({ recentErrors })[0]).toMatchObject({ todo: expect.stringContaining('Reload') });
});

describe('failures', () => {
  test('are told before their sample is taken, with what they mean', () => {
    fail();
    expect(found()).toEqual([
      {
        level: 'bad',
        what: '1 operation failed in the last five minutes, and none succeeded: ACCESS_DENIED.',
        todo: expect.stringMatching(/^The store refuses the credentials.*Renew/),
      },
    ]);
  });

  test('in the last minute alone, are bad, too', () => {
    for (let index = 0; index < 5; index += 1) succeed();
    for (let index = 0; index < 6; index += 1) sample();
    fail();
    sample();
    expect(found()[0]).toMatchObject({ level: 'bad', what: expect.stringContaining('5 others') });
  });

  test('beside more successes, are less bad', () => {
    succeed();
    succeed();
    fail();
    sample();
    expect(found()[0]).toMatchObject({
      level: 'watch',
      what: '1 operation failed in the last five minutes, and 2 others succeeded: ACCESS_DENIED.',
    });
  });

  test('are over after five minutes, and still mentioned for an hour', () => {
    fail();
    sample();
    // The errors' own times are real ones.
    const recentErrors = statusOf().recentErrors.map((error) => ({
      ...error,
      time: new Date(nowMs).toISOString(),
    }));
    for (let index = 0; index < 30; index += 1) sample();
    const [finding] = found({ recentErrors });
    expect(finding?.level).toBe('good');
    expect(finding?.what).toMatch(/nothing has failed since \d\d:\d\d\.$/);
    for (let index = 0; index < 240; index += 1) sample();
    expect(found({ recentErrors })[0]?.what).toMatch(/nothing has failed in the last hour\.$/);
  });
});

test('operations that wait for a minute, and none ends', () => {
  counters.begin('create', 'u');
  for (let index = 0; index < 3; index += 1) sample();
  expect(found()[0]?.level).toBe('good');
  sample();
  expect(found()[0]).toMatchObject({
    level: 'watch',
    what: '1 operation waits for the store, and none has ended for a minute.',
    todo: expect.stringContaining('eu-central-1'),
  });
});

test('the worst comes first', () => {
  sample();
  const localCache: LocalCacheStatus = {
    ...CACHE,
    pending: { count: 3, bytes: 900, oldestSeconds: 400 },
    trouble: { code: 'UNAVAILABLE', message: 'down', since: '2026-11-30T00:00:00Z' },
  };
  const findings = found({ localCache, eventLoopBusy: [0.2, 0.95] });
  expect(findings.map(({ level, what }) => [level, what])).toEqual([
    [
      'bad',
      "3 files (900 B) on this machine's disk wait for the bucket, and uploads fail: UNAVAILABLE.",
    ],
    ['watch', expect.stringContaining('event loop is busy (95 % of a core)')],
  ]);
});

test.each([
  [
    'uploads that are slow',
    { pending: { count: 9, bytes: 9, oldestSeconds: 301 } },
    'watch',
    'for 5 min.',
  ],
  ['files that cannot be uploaded', { refused: 2 }, 'bad', '2 files'],
])('%s', (_name, changes, level, text) => {
  sample();
  const [finding] = found({ localCache: { ...CACHE, ...changes } });
  expect(finding?.level).toBe(level);
  expect(finding?.what).toContain(text);
});

test('removals that the store refuses', () => {
  sample();
  const removals = {
    pending: 1,
    oldestSeconds: 5,
    carriedOut: 7,
    refused: 1,
    refusedObjects: [],
    lastError: null,
  };
  expect(found({ removals })[0]).toMatchObject({
    level: 'watch',
    what: 'The store refuses to remove 1 object.',
  });
});
