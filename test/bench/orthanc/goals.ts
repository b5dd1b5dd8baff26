// SPDX-License-Identifier: GPL-3.0-or-later
// The figures that the plugin is to reach: what is seen, the least that counts as fast, and the goal.

import { medianOf } from '../measure.ts';
import { FOLDER } from './columns.ts';
import { DELAY_RATIO, LABELS, type Lookup, standardRow } from './lookup.ts';
import type { ColumnFigures, Results } from './measure.ts';
import type { Operation } from './tools.ts';

interface Goal {
  readonly label: string;
  readonly least: number;
  readonly goal: number;
  /** NaN where it was not measured. */
  readonly seen: (plain: ColumnFigures) => number;
}

const DIGITS = 2;
const NOT_MEASURED = '–';

/** @returns heading and rows of the table: a column for each provider */
export function makeGoalRows(
  results: Results,
  lookup: Lookup,
): readonly [readonly string[], readonly (readonly string[])[]] {
  const plain = results.columns.filter(({ ours }) => ours?.format === 'plain');
  const rows = listGoals(results, lookup).map(({ label, least, goal, seen }) => [
    label,
    String(least),
    String(goal),
    ...plain.map((column) => judge(seen(column), least, goal)),
  ]);
  const large = '512 MB over TLS, up and down, times curl';
  return [
    ['', 'least', 'goal', ...plain.map(({ name }) => name)],
    [
      ...rows.filter(([, , , ...values]) => values.some((value) => value !== NOT_MEASURED)),
      [large, '0.9', '1.1', ...plain.map(() => '`npm run bench:large`')],
    ],
  ];
}

function judge(seen: number, least: number, goal: number): string {
  if (!Number.isFinite(seen)) return NOT_MEASURED;
  const isMore = goal > least;
  const reaches = (bound: number) => (isMore ? seen >= bound : seen <= bound);
  const word = reaches(goal) ? 'goal' : reaches(least) ? 'least' : '**missed**';
  return `${seen.toFixed(seen >= 10 ? 0 : DIGITS)}: ${word}`;
}

function listGoals({ columns }: Results, lookup: Lookup): readonly Goal[] {
  const folder = columns.find(({ name }) => name === FOLDER);
  const startOf = (column: ColumnFigures | undefined) => medianOf(column?.startMs ?? []);
  const timesFolder = (operation: Operation, least: number, goal: number): Goal => ({
    label: `${LABELS[operation]}, 8 clients, times ${FOLDER}`,
    least,
    goal,
    seen: ({ name }) => lookup.ratio(name, FOLDER, standardRow(operation, 8)),
  });
  const cpu = (operation: Operation, least: number, goal: number): Goal => ({
    label: `${LABELS[operation]}, 8 clients, ms of processor`,
    least,
    goal,
    seen: ({ name }) => lookup.median(name, standardRow(operation, 8), ({ cpuMs }) => cpuMs),
  });
  const sealed = (operation: Operation, least: number, goal: number): Goal => ({
    label: `${LABELS[operation]}, 8 clients, A2 times plain`,
    least,
    goal,
    seen: ({ name, ours }) => {
      const a2 = columns.find(
        (column) => column.ours?.provider === ours?.provider && column.ours?.format === 'A2',
      );
      if (a2 === undefined) return Number.NaN;
      return lookup.ratio(a2.name, name, standardRow(operation, 8));
    },
  });
  const workers = (operation: Operation): Goal => ({
    label: `${LABELS[operation]}, 8 clients, ms of V8's workers`,
    least: 0.1,
    goal: 0.03,
    seen: ({ name }) => lookup.median(name, standardRow(operation, 8), ({ threads }) => threads.v8),
  });
  const delayed = (operation: Operation): Goal => ({
    label: `${LABELS[operation]}, 1 client, ${DELAY_RATIO}`,
    least: 1.05,
    goal: 1.02,
    seen: ({ name }) => lookup.delayRatio(name, operation),
  });
  return [
    timesFolder('POST', 0.9, 1.1),
    cpu('POST', 3.9, 3.3),
    timesFolder('file', 0.6, 0.8),
    cpu('file', 0.85, 0.65),
    {
      label: 'GET file, 1 client, p95 ÷ p50',
      least: 1.6,
      goal: 1.3,
      seen: ({ name }) => lookup.median(name, standardRow('file', 1), ({ p95, p50 }) => p95 / p50),
    },
    timesFolder('tags', 0.8, 0.9),
    cpu('tags', 1.0, 0.9),
    {
      label: `DELETE, 1 client, p50 beyond ${FOLDER}'s, ms`,
      least: 0.3,
      goal: 0.2,
      seen: ({ name }) => {
        const p50 = (column: string) =>
          lookup.median(column, standardRow('DELETE', 1), (round) => round.p50);
        return p50(name) - p50(FOLDER);
      },
    },
    sealed('POST', 0.95, 0.98),
    sealed('file', 0.9, 0.95),
    sealed('tags', 0.9, 0.95),
    workers('file'),
    workers('POST'),
    {
      label: 'memory after the run, MB',
      least: 110,
      goal: 90,
      seen: (column) => column.residentMb,
    },
    {
      label: 'idle memory added, MB',
      least: 65,
      goal: 55,
      seen: ({ idleMb }) => idleMb - (folder?.idleMb ?? Number.NaN),
    },
    {
      label: 'start added, ms',
      least: 250,
      goal: 200,
      seen: (column) => startOf(column) - startOf(folder),
    },
    delayed('POST'),
    delayed('file'),
    delayed('tags'),
  ];
}
