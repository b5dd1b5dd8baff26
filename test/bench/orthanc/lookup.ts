// SPDX-License-Identifier: GPL-3.0-or-later
// Finds a measurement among all.

import { medianOf } from '../measure.ts';
import type { Cell, Results, Round } from './measure.ts';
import type { Size } from './templates.ts';
import { OPERATIONS, type Operation } from './tools.ts';

export const LABELS: Readonly<Record<Operation, string>> = {
  POST: 'POST',
  file: 'GET file',
  tags: 'GET tags',
  archive: 'series archive',
  retrieve: 'DICOMweb series',
  DELETE: 'DELETE',
};

/** The one that the figures to reach are about. */
export const MAIN_SIZE: Size = '512k';

/** What is measured in each column. */
export type Row = Pick<Cell, 'size' | 'delayMs' | 'clients' | 'operation'>;

export const standardRow = (operation: Operation, clients: number, delayMs = 0): Row => ({
  size: MAIN_SIZE,
  delayMs,
  clients,
  operation,
});

export interface Lookup {
  cell(column: string, row: Row): Cell | undefined;
  /** Of the rounds; NaN where nothing was measured. */
  median(column: string, row: Row, value: (round: Round) => number): number;
  /** Of the rates of neighbours in time, so that what else the machine does cancels out. */
  ratio(column: string, reference: string, row: Row): number;
  /** Of one client with a slow store: the latency beside that with a fast one and the delay. */
  delayRatio(column: string, operation: Operation): number;
}

/** The one that `delayRatio` and the figures to reach are about. */
export const MAIN_DELAY_MS = 20;
export const DELAY_RATIO = `p50 at ${MAIN_DELAY_MS} ms ÷ (${MAIN_DELAY_MS} ms + p50 at 0 ms)`;

export function createLookup({ cells }: Pick<Results, 'cells'>): Lookup {
  const keyOf = (column: string, { size, delayMs, clients, operation }: Row) =>
    JSON.stringify([column, size, delayMs, clients, operation]);
  const known = new Map(cells.map((cell) => [keyOf(cell.column, cell), cell]));
  const cell: Lookup['cell'] = (column, row) => known.get(keyOf(column, row));
  const median: Lookup['median'] = (column, row, value) =>
    medianOf(cell(column, row)?.rounds.map(value) ?? []);
  return {
    cell,
    median,
    ratio(column, reference, row) {
      const others = cell(reference, row)?.rounds ?? [];
      const ratios = cell(column, row)?.rounds.map(
        ({ perSecond }, round) => perSecond / (others[round]?.perSecond ?? Number.NaN),
      );
      return medianOf(ratios?.filter(Number.isFinite) ?? []);
    },
    delayRatio(column, operation) {
      const p50 = (delayMs: number) =>
        median(column, standardRow(operation, 1, delayMs), (round) => round.p50);
      return p50(MAIN_DELAY_MS) / (MAIN_DELAY_MS + p50(0));
    },
  };
}

/** Without a delay first, then by size and operation, so that numbers of clients are below each other. */
export function rowsOf(cells: readonly Cell[]): readonly Row[] {
  const rows = new Map<string, Row>();
  for (const { size, delayMs, clients, operation } of cells) {
    const row = { size, delayMs, clients, operation };
    rows.set(JSON.stringify(row), row);
  }
  const sizes = [...new Set(cells.map(({ size }) => size))];
  const rank = ({ size, delayMs, operation, clients }: Row) => [
    delayMs,
    sizes.indexOf(size),
    OPERATIONS.indexOf(operation),
    clients,
  ];
  return [...rows.values()].toSorted((one, other) => {
    const ranks = rank(other);
    return rank(one)
      .map((value, index) => value - (ranks[index] ?? 0))
      .reduce((sum, difference) => (sum === 0 ? difference : sum), 0);
  });
}
