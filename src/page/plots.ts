// SPDX-License-Identifier: GPL-3.0-or-later
// The last hour as small plots, side by side, whose cursors move together.

import uPlot from 'uplot';
import type { HistoryAnswer } from '../plugin/history.ts';
import { byId, fill, h, setText } from './dom.ts';
import {
  formatByteRate,
  formatCount,
  formatMs,
  formatRate,
  formatShare,
  formatTime,
} from './format.ts';

const HOUR_SECONDS = 3600;
const SECONDS_PER_MINUTE = 60;
const HEIGHT_PX = 116;

type Values = readonly (number | null)[];

interface Line {
  readonly name: string;
  /** A property of page.css. */
  readonly color: string;
  readonly values: (history: HistoryAnswer) => Values;
  readonly dash?: number[];
}

interface Plot {
  readonly title: string;
  readonly hint: string;
  readonly lines: readonly Line[];
  readonly format: (value: number) => string;
  /** The least that the axis reaches up to, so that noise around zero looks like that. */
  readonly least: number;
  /** Beside the values of the newest sample. */
  readonly sum?: (history: HistoryAnswer) => string;
  readonly isShown?: (history: HistoryAnswer) => boolean;
}

/** A loop that is busy takes its samples late. */
const perSecond = (values: readonly number[], { sampleSeconds, time }: HistoryAnswer) =>
  values.map((value, at) => {
    const seconds = (time[at] ?? 0) - (time[at - 1] ?? Number.NaN);
    return value / (seconds || sampleSeconds);
  });

const [BLUE, GREEN, RED, GREY] = ['--blue', '--green', '--red', '--grey'] as const;
const DASHED = [4, 3];
const DOTTED = [1, 3];

const percentiles = (operation: 'create' | 'read'): readonly Line[] => [
  { name: 'p50', color: BLUE, values: (history) => history[operation].p50 },
  { name: 'p95', color: GREEN, values: (history) => history[operation].p95, dash: DASHED },
  { name: 'p99', color: GREY, values: (history) => history[operation].p99, dash: DOTTED },
];

const failedAt = ({ create, read, remove, time }: HistoryAnswer) =>
  time.map((_, at) => (create.failed[at] ?? 0) + (read.failed[at] ?? 0) + (remove.failed[at] ?? 0));

const PLOTS: readonly Plot[] = [
  {
    title: 'Throughput',
    hint: 'bytes of contents, each second',
    lines: [
      { name: 'stored', color: BLUE, values: (one) => perSecond(one.create.bytes, one) },
      { name: 'read', color: GREEN, values: (one) => perSecond(one.read.bytes, one), dash: DASHED },
    ],
    format: formatByteRate,
    least: 1000,
  },
  {
    title: 'Operations',
    hint: 'that succeeded, each second',
    lines: [
      { name: 'stored', color: BLUE, values: (one) => perSecond(one.create.count, one) },
      { name: 'read', color: GREEN, values: (one) => perSecond(one.read.count, one), dash: DASHED },
      {
        name: 'removed',
        color: GREY,
        values: (one) => perSecond(one.remove.count, one),
        dash: DOTTED,
      },
    ],
    format: formatRate,
    least: 1,
  },
  {
    title: 'Time to store',
    hint: 'percentiles of all operations that ended, also of those that failed',
    lines: percentiles('create'),
    format: formatMs,
    least: 10,
  },
  {
    title: 'Time to read',
    hint: 'percentiles of all operations that ended, also of those that failed',
    lines: percentiles('read'),
    format: formatMs,
    least: 10,
  },
  {
    title: 'Failures',
    hint: 'operations that failed, in each sample',
    lines: [{ name: 'failed', color: RED, values: failedAt }],
    format: formatCount,
    least: 4,
    sum: (history) => `${formatCount(failedAt(history).reduce((sum, one) => sum + one, 0))} in all`,
  },
  {
    title: 'In flight',
    hint: 'operations under way, the most at once',
    lines: [{ name: 'at once', color: BLUE, values: ({ inFlight }) => inFlight }],
    format: formatCount,
    least: 4,
  },
  {
    title: 'Waiting for the bucket',
    hint: "files on this machine's disk that are still to be uploaded",
    lines: [{ name: 'files', color: BLUE, values: (one) => one.localCache?.pendingCount ?? [] }],
    format: formatCount,
    least: 10,
    isShown: ({ localCache }) => localCache !== null,
  },
  {
    title: 'Cache hits',
    hint: "reads that this machine's disk answered",
    lines: [{ name: 'of reads', color: GREEN, values: hitShares }],
    format: formatShare,
    least: 1,
    isShown: ({ localCache }) => localCache !== null,
  },
  {
    title: 'Waiting for removal',
    hint: 'objects that are still to be removed in the background',
    lines: [{ name: 'objects', color: GREY, values: (one) => one.removalsPending ?? [] }],
    format: formatCount,
    least: 10,
    isShown: ({ removalsPending }) => removalsPending !== null,
  },
  {
    title: 'Event loop',
    hint: 'busy, as a share of one core, of the busiest loop',
    lines: [{ name: 'busy', color: GREY, values: ({ eventLoopBusy }) => eventLoopBusy }],
    format: formatShare,
    least: 1,
  },
];

function hitShares({ localCache }: HistoryAnswer): Values {
  return (localCache?.hits ?? []).map((hits, at) => {
    const reads = hits + (localCache?.misses[at] ?? 0);
    return reads === 0 ? null : hits / reads;
  });
}

export interface Plots {
  show(history: HistoryAnswer): void;
}

export function createPlots(): Plots {
  const scrub = byId('scrub') as HTMLInputElement;
  /** Samples are shown by their minutes before the newest one. */
  const minutesAt = (at: number) =>
    ((history?.time[at] ?? 0) - (history?.time.at(-1) ?? 0)) / SECONDS_PER_MINUTE;
  const tiles = PLOTS.map((plot) => createTile(plot, point));
  let history: HistoryAnswer | undefined;
  /** The time that the user looks at. undefined: now */
  let pointed: number | undefined;
  fill(byId('plots'), ...tiles.map(({ element }) => element));

  /** @param at the sample under the cursor; undefined: none, so that the newest one is shown */
  function point(at: number | undefined): void {
    const newest = (history?.time.length ?? 0) - 1;
    const time = history?.time[at ?? newest];
    pointed = at === undefined ? undefined : time;
    const text = at === undefined || time === undefined ? 'now' : `at ${formatTime(time, true)}`;
    setText(byId('when'), text);
    if (document.activeElement !== scrub) scrub.value = String(minutesAt(at ?? newest));
    scrub.setAttribute('aria-valuetext', text);
  }

  const look = () => {
    const minutes = Number(scrub.value);
    const found = history?.time.findIndex((_, index) => minutesAt(index) >= minutes);
    const at = minutes === 0 ? undefined : found;
    for (const tile of tiles) tile.point(at);
    point(at);
  };
  scrub.addEventListener('input', look);
  // What the plots take their colours from.
  for (const query of ['(prefers-color-scheme: dark)', '(forced-colors: active)']) {
    matchMedia(query).addEventListener('change', () => {
      for (const tile of tiles) tile.redraw();
    });
  }

  return {
    show(next) {
      const kept = pointed === undefined ? -1 : next.time.indexOf(pointed);
      const at = kept < 0 ? undefined : kept;
      history = next;
      for (const tile of tiles) tile.show(next);
      // The user may have moved it before there was a sample to look at.
      const isMoved = document.activeElement === scrub && scrub.value !== '0';
      if (pointed === undefined && isMoved) {
        look();
        return;
      }
      // Its place has moved by a sample.
      if (at !== undefined) for (const tile of tiles) tile.point(at);
      point(at);
    },
  };
}

function createTile(plot: Plot, onPoint: (at: number | undefined) => void) {
  const outputs = plot.lines.map(() => h('b'));
  const readouts = plot.lines.map(({ name, color }, index) =>
    h('span', { class: `line line${index} ${color.slice(2)}` }, `${name} `, outputs[index]),
  );
  const sum = h('span', { class: 'line sum' });
  const canvas = h('div', { class: 'canvas', 'aria-hidden': true });
  const element = h(
    'figure',
    { class: 'plot', title: plot.hint, hidden: true },
    h('figcaption', {}, h('h3', {}, plot.title), h('p', {}, ...readouts, sum)),
    canvas,
  );
  let history: HistoryAnswer | undefined;
  let chart: uPlot | undefined;

  function read(at: number | undefined): void {
    for (const [index, { values }] of plot.lines.entries()) {
      const value = history === undefined ? undefined : values(history).at(at ?? -1);
      const output = outputs[index];
      if (output !== undefined) setText(output, value == null ? '–' : plot.format(value));
    }
    setText(sum, at === undefined && history !== undefined ? (plot.sum?.(history) ?? '') : '');
  }

  function dataOf(next: HistoryAnswer): uPlot.AlignedData {
    const columns = plot.lines.map(({ values }) => [...values(next)]);
    return [[...next.time], ...columns] as unknown as uPlot.AlignedData;
  }

  /** What the cursor is at. */
  let pointedAt: number | undefined;
  let isResizing = false;

  new ResizeObserver(() => {
    const drawn = chart;
    if (drawn === undefined) return;
    // uPlot takes its cursor away, which is no wish of the user's. At once, so that it can be put back behind that.
    isResizing = true;
    drawn.batch(() => {
      drawn.setSize({ width: canvas.clientWidth, height: HEIGHT_PX });
    });
    isResizing = false;
    point(pointedAt);
  }).observe(canvas);

  function point(at: number | undefined): void {
    pointedAt = at;
    const time = at === undefined ? undefined : history?.time[at];
    const left = time === undefined ? -10 : (chart?.valToPos(time, 'x') ?? -10);
    // Not by the cursor's own sample: a pixel may have several.
    chart?.setCursor({ left, top: 10 }, false);
    read(at);
  }

  return {
    element,
    point,
    show(next: HistoryAnswer): void {
      history = next;
      pointedAt = undefined;
      element.hidden = plot.isShown?.(next) === false;
      if (element.hidden) return;
      if (chart === undefined) {
        const options = optionsOf(plot, () => history, {
          width: canvas.clientWidth,
          onCursor: (at) => {
            if (isResizing) return;
            pointedAt = at;
            read(at);
            onPoint(at);
          },
        });
        chart = new uPlot(options, dataOf(next), canvas);
      } else {
        const drawn = chart;
        // At once, so that the cursor can be put back behind it.
        drawn.batch(() => {
          drawn.setData(dataOf(next));
        });
      }
      read(undefined);
    },
    redraw: () => chart?.redraw(),
  };
}

function optionsOf(
  plot: Plot,
  history: () => HistoryAnswer | undefined,
  rest: { readonly width: number; readonly onCursor: (at: number | undefined) => void },
): uPlot.Options {
  const grid = { stroke: () => colorOf('--rule'), width: 1 };
  const axis = {
    stroke: () => colorOf('--quiet'),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid,
    ticks: { show: false },
  };
  return {
    width: rest.width,
    height: HEIGHT_PX,
    padding: [10, 18, 0, 0],
    legend: { show: false },
    cursor: {
      y: false,
      drag: { x: false, y: false },
      sync: { key: 'hour' },
      points: { size: 6 },
    },
    scales: {
      x: { time: true, range: () => hourOf(history()) },
      y: { range: (_chart, _min, max) => [0, Math.max(plot.least, (max ?? 0) * 1.05)] },
    },
    axes: [
      {
        ...axis,
        size: 26,
        gap: 6,
        space: 60,
        incrs: [600, 900, 1200, 1800],
        values: (_chart, splits) => splits.map((time) => formatTime(time)),
      },
      {
        ...axis,
        size: 58,
        gap: 4,
        space: 28,
        values: (_chart, splits) => splits.map((value) => (value === 0 ? '0' : plot.format(value))),
      },
    ],
    series: [
      {},
      ...plot.lines.map(({ name, color, dash }, index) => ({
        label: name,
        stroke: () => colorOf(color),
        width: 1.5,
        ...(index === 0 ? { fill: () => `${colorOf(color)}24` } : {}),
        ...(dash === undefined ? {} : { dash }),
        points: { size: 4, filter: findLonely },
      })),
    ],
    hooks: {
      setCursor: [
        (chart) => {
          rest.onCursor(
            chart.cursor.left === undefined || chart.cursor.left < 0
              ? undefined
              : (chart.cursor.idx ?? undefined),
          );
        },
      ],
    },
  };
}

function hourOf(history: HistoryAnswer | undefined): [number, number] {
  const end = history?.time.at(-1) ?? Math.round(Date.now() / 1000);
  return [end - HOUR_SECONDS, end];
}

/** Values between two gaps, which no line shows. */
function findLonely(chart: uPlot, series: number): number[] {
  const values = chart.data[series] ?? [];
  return Array.from(values.keys()).filter(
    (at) => values[at] != null && values[at - 1] == null && values[at + 1] == null,
  );
}

function colorOf(property: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(property).trim();
}
