// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import { judge } from '../../soak/flat.ts';

const TOLERANCE = { factor: 1.05, plus: 5 };
const over = (of: (index: number) => number) => Array.from({ length: 90 }, (_, index) => of(index));

test.each([
  ['that stays is flat', () => 100, true],
  [
    'that grows in the first third alone is flat',
    (index: number) => Math.min(100, index * 4),
    true,
  ],
  ['that falls is flat', (index: number) => 200 - index, true],
  [
    'with peaks, and holes where nothing was measured, is flat',
    (index: number) => (index % 5 === 0 ? 1000 : index % 7 === 0 ? Number.NaN : 100),
    true,
  ],
  ['that grows all the time is not', (index: number) => 100 + index / 2, false],
  ['that grows at the end is not', (index: number) => (index < 70 ? 100 : 120), false],
  ['without a figure is not', () => Number.NaN, false],
])('a measure %s', (_name, of, flat) => {
  expect(judge(over(of), TOLERANCE).flat).toBe(flat);
});
