// SPDX-License-Identifier: GPL-3.0-or-later
// The rates as bars, a file for each operation.

import { barPlot } from '../../support/plot.ts';
import { createLookup, LABELS, MAIN_SIZE, rowsOf } from './lookup.ts';
import type { Results } from './measure.ts';
import { OPERATIONS, type Operation } from './tools.ts';

export interface Plot {
  readonly file: string;
  readonly title: string;
  readonly svg: string;
}

export function makePlots(results: Results): readonly Plot[] {
  const lookup = createLookup(results);
  const rows = rowsOf(results.cells).filter(
    ({ size, delayMs }) => size === MAIN_SIZE && delayMs === 0,
  );
  return OPERATIONS.filter((operation) => rows.some((row) => row.operation === operation)).map(
    (operation) => {
      const own = rows.filter((row) => row.operation === operation);
      const title = `${LABELS[operation]}: operations per second, by the number of clients`;
      const svg = barPlot({
        title,
        groups: own.map(({ clients }) => String(clients)),
        yLabel: 'per second',
        series: results.columns.map(({ name }) => ({
          name,
          values: own.map((row) => lookup.median(name, row, ({ perSecond }) => perSecond)),
        })),
      });
      return { file: fileOf(operation), title, svg };
    },
  );
}

const fileOf = (operation: Operation) => `bench-${operation.toLowerCase()}.svg`;
