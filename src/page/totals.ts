// SPDX-License-Identifier: GPL-3.0-or-later
// What the plugin has done since it started, as a table.

import type { Status } from '../plugin/status.ts';
import { byId, fill, h, scrolling } from './dom.ts';
import { formatBytes, formatCount, formatMs } from './format.ts';

const ROWS = [
  ['create', 'Stored'],
  ['readWhole', 'Read'],
  ['readRange', 'Read in part'],
  ['remove', 'Removed'],
] as const;

export function createTotals(): { show(status: Status): void } {
  const cells = new Map(
    ROWS.map(([operation]) => [operation, COLUMNS.map(({ kind }) => h('td', { class: kind }))]),
  );
  const head = COLUMNS.map(({ name, kind }) => h('th', { scope: 'col', class: kind }, name));
  const rows = ROWS.map(([operation, name]) =>
    h('tr', {}, h('th', { scope: 'row' }, name), ...(cells.get(operation) ?? [])),
  );
  const table = h(
    'table',
    {},
    h('thead', {}, h('tr', {}, h('td'), ...head)),
    h('tbody', {}, ...rows),
  );
  fill(byId('totals'), scrolling(table, 'Operations since the start'));
  return {
    show({ operations }) {
      for (const [operation] of ROWS) {
        for (const [index, { value }] of COLUMNS.entries()) {
          const cell = cells.get(operation)?.[index];
          if (cell !== undefined) cell.textContent = value(operations[operation]);
        }
      }
    },
  };
}

type Counts = Status['operations'][(typeof ROWS)[number][0]];

const latency = (figure: 'p50' | 'p99') => (counts: Counts) =>
  counts.latencyMs.sinceStart.count === 0 ? '–' : formatMs(counts.latencyMs.sinceStart[figure]);

interface Column {
  readonly name: string;
  readonly kind: 'number' | 'number wide';
  readonly value: (counts: Counts) => string;
}

const COLUMNS: readonly Column[] = [
  { name: 'Files', kind: 'number', value: ({ succeeded }) => formatCount(succeeded) },
  { name: 'Size', kind: 'number', value: ({ bytes }) => (bytes === 0 ? '–' : formatBytes(bytes)) },
  { name: 'p50', kind: 'number wide', value: latency('p50') },
  { name: 'p99', kind: 'number', value: latency('p99') },
  { name: 'Failed', kind: 'number', value: ({ failed }) => formatCount(failed) },
];
