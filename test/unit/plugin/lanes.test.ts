// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { loadConfiguration } from '../../../src/config/load.ts';
import { StorageError } from '../../../src/errors.ts';
import { Counters, type CountersSnapshot } from '../../../src/plugin/figures.ts';
import { createLaneFigures, shareOfLane, sumUp } from '../../../src/plugin/lanes.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';

const SECTIONS = {
  AwsS3Storage: { BucketName: 'bucket', Region: 'us-east-1' },
  AzureBlobStorage: {
    AccountUrl: 'https://account.blob.core.windows.net',
    ContainerName: 'bucket',
  },
  GoogleCloudStorage: { BucketName: 'bucket' },
};

const settingsOf = (section: keyof typeof SECTIONS, values: object) =>
  loadConfiguration(
    JSON.stringify({ [section]: { ...SECTIONS[section], ...values } }),
    { orthancVersion: '1.13.0', environmentVariables: {} },
    PROVIDERS,
  );

test.each(['AwsS3Storage', 'AzureBlobStorage', 'GoogleCloudStorage'] as const)(
  '%s: all loops together keep to the limits',
  (section) => {
    const StorageEncryption = { MasterKey: [1, '/key'], MaxConcurrentInputSize: 100 };
    const settings = settingsOf(section, { Lanes: 4, MaxConnections: 26, StorageEncryption });
    const { provider, encryption } = shareOfLane(settings);
    expect(JSON.stringify(provider)).toContain('"maxConnections":6');
    expect(encryption?.maxInputBytes).toBe(25 * 1024 * 1024);
    expect(shareOfLane({ ...settings, lanes: 1 })).toEqual({ ...settings, lanes: 1 });
  },
);

test('a loop can always do something', () => {
  const settings = settingsOf('AwsS3Storage', { Lanes: 4, MaxConnections: 2 });
  expect(JSON.stringify(shareOfLane(settings).provider)).toContain('"maxConnections":1');
});

test('the figures of all are added up, the slowest tells the latencies', () => {
  let nowMs = 0;
  const [one, other] = [new Counters(() => nowMs), new Counters(() => nowMs)];
  const end = one.begin('create', 'a');
  const endLater = other.begin('create', 'b');
  other.begin('create', 'c');
  nowMs = 10;
  end({ bytes: 5 });
  nowMs = 20;
  endLater({ failure: new StorageError('TIMEOUT', 'too late') });
  one.begin('remove', 'd')({ failure: new StorageError('TIMEOUT', 'too late as well') });

  const sum = sumUp([one.snapshot(), other.snapshot()]);
  expect(sum.operations.create).toMatchObject({ inFlight: 1, succeeded: 1, failed: 1, bytes: 5 });
  expect(sum.operations.create.latencyMs.sinceStart.count).toBe(2);
  expect(sum.operations.create.latencyMs.sinceStart.p50).toBeCloseTo(20, 0);
  expect(sum.errors).toEqual({ TIMEOUT: 2 });
  expect(sum.recentErrors.map(({ uuid }) => uuid).toSorted()).toEqual(['b', 'd']);
  expect(sum.eventLoopBusy).toHaveLength(2);
  const alone = one.snapshot();
  expect(sumUp([alone])).toEqual(alone);
});

describe('the figures of loops that ask each other', () => {
  const lanes = 3;
  /** Loops of which each has created as many as its number says. */
  let loops: readonly (() => Promise<CountersSnapshot>)[];
  /** Those that don't answer. */
  let silent: readonly number[];
  let questions: number;
  let counters: Counters[];
  const createdBy = async (ask: (() => Promise<CountersSnapshot>) | undefined) =>
    (await ask?.())?.operations.create.succeeded;

  beforeEach(() => {
    silent = [];
    questions = 0;
    counters = Array.from({ length: lanes }, (_, lane) => {
      const created = new Counters();
      for (let i = 0; i < lane; i += 1) created.begin('create', 'x')({ bytes: 1 });
      return created;
    });
    loops = counters.map((own, lane) =>
      createLaneFigures({
        lane,
        lanes,
        own: () => own.snapshot(),
        ask: async (other) => {
          questions += 1;
          return silent.includes(other) ? undefined : counters[other]?.snapshot();
        },
      }),
    );
  });

  test('are added up, whoever asks, and however many at once', async () => {
    expect(await Promise.all([...loops, ...loops].map(createdBy))).toEqual(Array(6).fill(3));
    expect(questions).toBe(lanes * (lanes - 1));
  });

  test('are those of the others where one has never answered', async () => {
    silent = [2];
    expect(await createdBy(loops[0])).toBe(1);
    silent = [];
    expect(await createdBy(loops[0])).toBe(3);
  });

  test('never fall: neither while one is silent, nor when another one takes its place', async () => {
    const busy = counters[2]?.begin('create', 'x');
    expect((await loops[0]?.())?.operations.create).toMatchObject({ succeeded: 3, inFlight: 1 });
    silent = [2];
    for (const _ of [1, 2]) {
      const { create } = (await loops[0]?.())?.operations ?? {};
      expect(create).toMatchObject({ succeeded: 3, inFlight: 0 });
    }
    busy?.({ bytes: 1 });
    for (const more of [1, 2]) {
      counters[2] = new Counters(undefined, true);
      silent = [];
      counters[2].begin('create', 'x')({ bytes: 1 });
      expect(await createdBy(loops[0])).toBe(3 + more);
      // The time at which it began must differ.
      await sleep(5);
    }
  });
});
