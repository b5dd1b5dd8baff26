// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import {
  formatByteRate,
  formatBytes,
  formatCount,
  formatDicomDate,
  formatDuration,
  formatMs,
  formatOrthancTime,
  formatRate,
  formatShare,
  plural,
} from '../../../src/page/format.ts';

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1000, '1 kB'],
  [1234, '1.23 kB'],
  [12_345, '12.3 kB'],
  [999_499, '999 kB'],
  // Not "1000 kB".
  [999_500, '1 MB'],
  [2_097_152_000, '2.1 GB'],
  [5e15, '5 PB'],
])('%d bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
  expect(formatByteRate(bytes)).toBe(`${text}/s`);
});

test.each([
  [0, '0 ms'],
  [0.36, '0.4 ms'],
  [7.84, '7.8 ms'],
  [69.6, '70 ms'],
  [432, '432 ms'],
  [994, '994 ms'],
  [996, '1 s'],
  [61_234, '61 s'],
])('%d ms are %s', (ms, text) => {
  expect(formatMs(ms)).toBe(text);
});

test.each([
  [5, '5 s'],
  [60, '1 min'],
  [3_725, '1 h 2 min'],
  [200_000, '2 d 7 h'],
])('%d seconds are %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

test('counts, rates and shares', () => {
  expect(formatCount(1_234_567)).toBe('1,234,567');
  expect(formatRate(0.0667)).toBe('0.07/s');
  expect([0, 0.004, 0.5, 1].map(formatShare)).toEqual(['0 %', '0.4 %', '50 %', '100 %']);
  expect([plural(1, 'file'), plural(2000, 'study', 'studies')]).toEqual([
    '1 file',
    '2,000 studies',
  ]);
});

test('dates of DICOM and of Orthanc, and what is none', () => {
  expect(formatDicomDate('20261130')).toBe('2026-11-30');
  expect(formatDicomDate('?')).toBe('?');
  const local = new Date(Date.UTC(2026, 10, 30, 14, 22, 33));
  const time = [local.getHours(), 22, 33].map((part) => String(part).padStart(2, '0')).join(':');
  expect(formatOrthancTime('20261130T142233.123456')).toMatch(new RegExp(` ${time}$`));
  expect(formatOrthancTime('<img>')).toBe('<img>');
});
