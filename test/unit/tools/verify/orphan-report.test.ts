// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StorageError } from '../../../../src/errors.ts';
import { readOrphanReport, writeOrphanReport } from '../../../../src/tools/verify/orphan-report.ts';

const BUCKET = 's3 https://host images';
const HOUR_MS = 3_600_000;
const NOW_MS = Date.parse('2026-03-01T12:00:00Z');
const orphan = { key: 'a.dcm', sizeBytes: 5, modified: '2026-01-01T00:00:00.000Z' };
const other = { ...orphan, key: 'b.dcm' };

let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  path = join(folder, 'orphans.txt');
});

afterEach(() => rm(folder, { recursive: true }));

const write = () => writeOrphanReport(path, BUCKET, NOW_MS, [orphan, other]);

function read(nowMs = NOW_MS + HOUR_MS, bucket = BUCKET) {
  const report = readOrphanReport(path, bucket, nowMs);
  return typeof report === 'string' ? report : [orphan, other].map(report);
}

test('has what was noted, as it was, and nothing else', async () => {
  write();
  expect(read()).toEqual([true, true]);
  const isNoted = readOrphanReport(path, BUCKET, NOW_MS);
  if (typeof isNoted === 'string') throw new Error(isNoted);
  expect(isNoted({ ...orphan, key: 'c.dcm' })).toBe(false);
  expect(isNoted({ ...orphan, sizeBytes: 6 })).toBe(false);
  expect(isNoted({ ...orphan, modified: '2026-02-01T00:00:00.000Z' })).toBe(false);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('a line that was taken out stays', async () => {
  write();
  const lines = (await readFile(path, 'utf8')).split('\n');
  await writeFile(path, lines.filter((line) => !line.includes('b.dcm')).join('\n'));
  expect(read()).toEqual([true, false]);
});

test.each<[string, number, string, RegExp]>([
  ['a day and an hour later', NOW_MS + 25 * HOUR_MS, BUCKET, /more than 24 hours/],
  ['with the clock set back', NOW_MS - HOUR_MS, BUCKET, /more than 24 hours/],
  ['for another bucket', NOW_MS, `${BUCKET}-2`, /was of s3 https:\/\/host images, not of/],
])('%s it is of no use, and says why', async (_name, nowMs, bucket, reason) => {
  write();
  expect(read(nowMs, bucket)).toMatch(reason);
});

test('without a dry run there is none', () => {
  expect(read()).toMatch(/no dry run/);
});

test.each(['', 'not a report', '{"some":"thing"}\n'])('%j is not taken for one', async (text) => {
  await writeFile(path, text);
  expect(() => read()).toThrow(StorageError);
  expect(await readFile(path, 'utf8')).toBe(text);
});
