// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import { loadConfiguration } from '../../src/config/load.ts';
import { createCounters } from '../../src/counters.ts';
import { StorageError } from '../../src/errors.ts';
import { shareOfLane, sumUp } from '../../src/lanes.ts';

const SECTIONS = {
  AwsS3Storage: { BucketName: 'bucket', Region: 'us-east-1' },
  AzureBlobStorage: {
    AccountUrl: 'https://account.blob.core.windows.net',
    ContainerName: 'bucket',
  },
  GoogleCloudStorage: { BucketName: 'bucket' },
};

const settingsOf = (section: keyof typeof SECTIONS, values: object) =>
  loadConfiguration(JSON.stringify({ [section]: { ...SECTIONS[section], ...values } }), {
    orthancVersion: '1.13.0',
    environmentVariables: {},
  });

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
  const [one, other] = [createCounters(() => nowMs), createCounters(() => nowMs)];
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
  expect(sumUp([one.snapshot()])).toEqual(one.snapshot());
});
