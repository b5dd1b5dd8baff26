// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { Counters } from '../../../src/plugin/figures.ts';
import {
  type Figures,
  formatMetrics,
  METRIC_GROUPS,
  METRIC_PREFIX,
} from '../../../src/plugin/metrics.ts';

const METRICS = METRIC_GROUPS.flatMap(({ metrics }) => metrics);

function figuresOf(counters: Counters, changes: Partial<Figures> = {}): Figures {
  return {
    ...counters.snapshot(),
    uptimeSeconds: 7,
    removals: null,
    localCache: null,
    ...changes,
  };
}

function valuesOf(figures: Figures): ReadonlyMap<string, string> {
  const lines = formatMetrics(figures).trimEnd().split('\n');
  return new Map(
    lines.map((line) => {
      // As the shim reads it.
      const [, name = '', value = ''] =
        /^orthanc_object_storage_([a-z0-9_]+) (\d+(?:\.\d{3})?)$/.exec(line) ?? [];
      return [name, value];
    }),
  );
}

test('the metrics are the figures of the status, each in a line that the shim understands', () => {
  const counters = new Counters();
  counters.begin('create', 'x')({ bytes: 500 });
  counters.begin('readRange', 'x');
  counters.begin('remove', 'x')({ failure: new StorageError('ACCESS_DENIED', 'no') });
  const figures = figuresOf(counters);
  const values = valuesOf(figures);
  expect(values.get('create_count')).toBe('1');
  expect(values.get('create_bytes')).toBe('500');
  expect(values.get('read_range_in_flight')).toBe('1');
  expect(values.get('remove_failed_count')).toBe('1');
  expect(values.get('errors_access_denied')).toBe('1');
  expect(values.get('uptime_seconds')).toBe('7');
  const { last5Minutes, sinceStart } = figures.operations.create.latencyMs;
  expect(values.get('create_duration_p99_ms')).toBe(last5Minutes.p99.toFixed(3));
  expect(values.get('create_duration_since_start_p99_ms')).toBe(sinceStart.p99.toFixed(3));
  expect(values.get('read_duration_max_ms')).toBe('0.000');
});

test('a counter is there before its first event, so that the first one is seen as a rise', () => {
  const values = valuesOf(figuresOf(new Counters()));
  expect(values.get('errors_integrity')).toBe('0');
  expect(values.get('remove_failed_count')).toBe('0');
});

test('of several event loops, the metric tells the busiest', () => {
  const figures = figuresOf(new Counters(), { eventLoopBusy: [0.02, 0.97, 0.5] });
  expect(valuesOf(figures).get('event_loop_busy')).toBe('0.970');
});

test('what is off has no metrics', () => {
  const names = [...valuesOf(figuresOf(new Counters())).keys()];
  expect(names.filter((name) => /pending|cache|upload|removals/.test(name))).toEqual([]);
});

test('names are unique, and tell type and unit', () => {
  const names = METRICS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { name, type, unit } of METRICS) {
    expect(`${METRIC_PREFIX}${name}`).toMatch(/^[a-z][a-z0-9_]+$/);
    expect(name.endsWith('_ms'), name).toBe(unit === 'ms');
    expect(name.endsWith('_seconds'), name).toBe(unit === 's');
    expect(name.endsWith('_bytes'), name).toBe(unit === 'bytes');
    if (name.endsWith('_in_flight')) expect(type).toBe('gauge');
  }
});
