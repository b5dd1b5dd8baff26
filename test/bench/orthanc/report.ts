// SPDX-License-Identifier: GPL-3.0-or-later
// The tables of what was measured, in Markdown.

import { medianOf } from '../measure.ts';
import { FOLDER } from './columns.ts';
import { makeGoalRows } from './goals.ts';
import {
  createLookup,
  DELAY_RATIO,
  LABELS,
  type Lookup,
  MAIN_SIZE,
  type Row,
  rowsOf,
  standardRow,
} from './lookup.ts';
import { REST_SECONDS, type Results, type Round } from './measure.ts';
import { OPERATIONS } from './tools.ts';

export function report(results: Results): string {
  const lookup = createLookup(results);
  const names = results.columns.map(({ name }) => name);
  const rows = rowsOf(results.cells);
  const slow = rows.filter(({ delayMs }) => delayMs > 0);
  const parts = [
    'Operations per second [ms of processor of Orthanc and plugin per operation]:',
    makeTable(
      ['', ...names],
      rows
        .filter(({ delayMs }) => delayMs === 0)
        .map((row) => [
          labelOf(row),
          ...names.map((name) => {
            const rate = lookup.median(name, row, ({ perSecond }) => perSecond);
            const cpu = lookup.median(name, row, ({ cpuMs }) => cpuMs);
            return Number.isNaN(rate) ? '–' : `${show(rate)} [${show(cpu)}]`;
          }),
        ]),
    ),
    describeRounds(results),
  ];
  if (slow.length > 0) {
    parts.push(
      "With a delay before each of the store's answers, the median latency in ms:",
      makeTable(
        ['', ...names],
        slow.map((row) => [
          labelOf(row),
          ...names.map((name) => show(lookup.median(name, row, ({ p50 }) => p50))),
        ]),
      ),
    );
  }
  parts.push(
    'By column:',
    makeTable(['', ...names], columnRows(results, lookup)),
    'Figures to reach:',
    makeTable(...makeGoalRows(results, lookup)),
  );
  return `${parts.join('\n\n')}\n`;
}

function labelOf({ size, delayMs, clients, operation }: Row): string {
  return [
    LABELS[operation],
    ...(size === MAIN_SIZE ? [] : [size]),
    `${clients} ${clients === 1 ? 'client' : 'clients'}`,
    ...(delayMs === 0 ? [] : [`${delayMs} ms`]),
  ].join(', ');
}

function describeRounds({ cells, repeated, seconds }: Results): string {
  const spreads = cells.flatMap(({ rounds }) => {
    const middle = medianOf(rounds.map(({ perSecond }) => perSecond));
    return rounds.map(({ perSecond }) => Math.abs(perSecond / middle - 1));
  });
  const shares = cells.flatMap(({ rounds }) => rounds.map(({ othersShare }) => othersShare));
  const most = Math.max(...cells.map(({ rounds }) => rounds.length));
  return (
    `Medians of up to ${most} rounds, in ${show(seconds / 60)} minutes. A round differs from the median by ` +
    `${percent(medianOf(spreads))} (median; ${percent(Math.max(...spreads))} at most). Other processes took ` +
    `${percent(medianOf(shares))} of the machine (median; ${percent(Math.max(...shares))} at most); ${repeated} rounds were repeated for that.`
  );
}

/** What is said of a column as a whole. */
function columnRows({ columns }: Results, lookup: Lookup): readonly (readonly string[])[] {
  const [reference] = columns;
  const line = (label: string, value: (name: string) => number) => [
    label,
    ...columns.map(({ name }) => show(value(name))),
  ];
  const figure = (name: string) => columns.find((column) => column.name === name);
  const startOf = (name: string) => medianOf(figure(name)?.startMs ?? []);
  const groups = ['loop', 'v8', 'orthanc'] as const;
  const groupNames = { loop: 'event loop', v8: "V8's workers", orthanc: "Orthanc's own threads" };
  return [
    ...(['POST', 'file', 'tags', 'DELETE'] as const).map((operation) =>
      line(`${LABELS[operation]}, 8 clients, times ${FOLDER}`, (name) =>
        lookup.ratio(name, FOLDER, standardRow(operation, 8)),
      ),
    ),
    ...(['POST', 'file', 'tags'] as const).map((operation) =>
      line(`${LABELS[operation]}, 8 clients, times plain`, (name) => {
        const ours = figure(name)?.ours;
        const plain = columns.find(
          (column) => column.ours?.provider === ours?.provider && column.ours?.format === 'plain',
        );
        if (ours === undefined || ours.format === 'plain' || plain === undefined) return Number.NaN;
        return lookup.ratio(name, plain.name, standardRow(operation, 8));
      }),
    ),
    line('GET file, 1 client, p95 ÷ p50', (name) =>
      lookup.median(name, standardRow('file', 1), ({ p95, p50 }) => p95 / p50),
    ),
    line('GET file, 1 client, p99 in ms', (name) =>
      lookup.median(name, standardRow('file', 1), ({ p99 }) => p99),
    ),
    ...(['POST', 'file', 'tags'] as const).map((operation) =>
      line(`${LABELS[operation]}, 1 client, ${DELAY_RATIO}`, (name) =>
        lookup.delayRatio(name, operation),
      ),
    ),
    ...(['POST', 'file'] as const).flatMap((operation) =>
      groups.map((group) =>
        line(`${LABELS[operation]}, 1 client, ms of ${groupNames[group]}`, (name) =>
          lookup.median(name, standardRow(operation, 1), ({ threads }) => threads[group]),
        ),
      ),
    ),
    ...OPERATIONS.map((operation) => [
      `${LABELS[operation]}, requests to the store`,
      ...columns.map(({ name }) =>
        showRequests(lookup.cell(name, standardRow(operation, 1))?.rounds[0]),
      ),
    ]),
    line('idle memory, MB', (name) => figure(name)?.idleMb ?? Number.NaN),
    line('memory after the run, MB', (name) => figure(name)?.residentMb ?? Number.NaN),
    line(
      `memory at the end, after ${REST_SECONDS} s of rest, MB`,
      (name) => figure(name)?.restedMb ?? Number.NaN,
    ),
    line('start, ms', startOf),
    line(`start beyond ${reference?.name}'s, ms`, (name) => startOf(name) - startOf(FOLDER)),
  ].filter(([, ...values]) => values.some((value) => value !== '–'));
}

function showRequests(round: Round | undefined): string {
  if (round === undefined) return '–';
  const kinds = Object.entries(round.requests).map(([kind, times]) => `${show(times)} ${kind}`);
  return kinds.length === 0 ? '0' : kinds.join(', ');
}

export function makeTable(
  heading: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (values: readonly string[]) => `| ${values.join(' | ')} |`;
  return [line(heading), line(heading.map(() => '---')), ...rows.map(line)].join('\n');
}

const percent = (share: number) => `${Math.round(share * 100)} %`;

/** Three digits. */
export function show(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
