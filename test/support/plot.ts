// SPDX-License-Identifier: GPL-3.0-or-later
// Plots of measurements as SVG, for docs/ and for reports. echarts, which needs no browser either, has 61 MB.

export interface Series {
  readonly name: string;
  /** NaN where nothing was measured. */
  readonly values: readonly number[];
}

export interface LinePlot {
  readonly title: string;
  /** Ascending, one for each value of a series. */
  readonly x: readonly number[];
  readonly xLabel?: string;
  readonly yLabel: string;
  readonly series: readonly Series[];
}

export interface BarPlot {
  readonly title: string;
  /** One for each value of a series. */
  readonly groups: readonly string[];
  readonly yLabel: string;
  readonly series: readonly Series[];
}

const WIDTH = 860;
const LEFT = 64;
const RIGHT = 16;
const TOP = 36;
const HEIGHT = 300;
/** Below the axis: its labels, the axis's name. */
const BOTTOM = 44;
const LEGEND_ROW = 18;
const LEGEND_COLUMN = 160;
/** Told apart by the colour blind, too. @see https://jfly.uni-koeln.de/color/ */
const COLOURS = [
  '#0072b2',
  '#e69f00',
  '#009e73',
  '#d55e00',
  '#cc79a7',
  '#56b4e9',
  '#999999',
  '#f0e442',
  '#000000',
  '#882255',
];

/** Lines over time, or over another number. @returns a document */
export function linePlot({ title, x, xLabel = '', yLabel, series }: LinePlot): string {
  const y = scaleOf(series);
  const first = x[0] ?? 0;
  const last = Math.max(x.at(-1) ?? 1, first + Number.EPSILON);
  const place = (value: number) =>
    LEFT + ((value - first) / (last - first)) * (WIDTH - LEFT - RIGHT);
  const lines = series.map(({ values }, index) => {
    const pieces: string[] = [];
    let command = 'M';
    values.forEach((value, position) => {
      if (Number.isFinite(value)) {
        pieces.push(`${command}${round(place(x[position] ?? first))},${round(y.place(value))}`);
      }
      command = Number.isFinite(value) ? 'L' : 'M';
    });
    return `<path d="${pieces.join('')}" fill="none" stroke="${colourOf(index)}" stroke-width="1.5"/>`;
  });
  const labels = ticksUpTo(last, 8)
    .filter((value) => value >= first && value <= last)
    .map((value) => label(place(value), TOP + HEIGHT + 16, String(value)));
  return frame({ title, xLabel, yLabel, series }, [...y.grid, ...lines, ...labels]);
}

/** A bar for each series in each group. @returns a document */
export function barPlot({ title, groups, yLabel, series }: BarPlot): string {
  const y = scaleOf(series);
  const groupWidth = (WIDTH - LEFT - RIGHT) / groups.length;
  const barWidth = (groupWidth * 0.85) / series.length;
  const bars = series.flatMap(({ values }, index) =>
    values.map((value, group) => {
      if (!Number.isFinite(value)) return '';
      const left = LEFT + groupWidth * (group + 0.075) + barWidth * index;
      const top = y.place(value);
      const size = `width="${round(barWidth - 1)}" height="${round(TOP + HEIGHT - top)}"`;
      return `<rect x="${round(left)}" y="${round(top)}" ${size} fill="${colourOf(index)}"/>`;
    }),
  );
  const labels = groups.map((name, group) =>
    label(LEFT + groupWidth * (group + 0.5), TOP + HEIGHT + 16, name),
  );
  return frame({ title, xLabel: '', yLabel, series }, [...y.grid, ...bars, ...labels]);
}

function frame(
  { title, xLabel, yLabel, series }: Omit<Required<LinePlot>, 'x'>,
  content: readonly string[],
): string {
  const perRow = Math.floor((WIDTH - LEFT) / LEGEND_COLUMN);
  const legendTop = TOP + HEIGHT + BOTTOM;
  const legend = series.flatMap(({ name }, index) => {
    const left = LEFT + (index % perRow) * LEGEND_COLUMN;
    const top = legendTop + Math.floor(index / perRow) * LEGEND_ROW;
    return [
      `<rect x="${left}" y="${top}" width="10" height="10" fill="${colourOf(index)}"/>`,
      label(left + 15, top + 9, name, 'start'),
    ];
  });
  const height = legendTop + Math.ceil(series.length / perRow) * LEGEND_ROW + 4;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="11">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`,
    `<text x="${LEFT}" y="20" font-size="14">${escapeXml(title)}</text>`,
    `<text transform="translate(14 ${TOP + HEIGHT / 2}) rotate(-90)" text-anchor="middle">${escapeXml(yLabel)}</text>`,
    label((LEFT + WIDTH) / 2, TOP + HEIGHT + 32, xLabel),
    ...content,
    ...legend,
    '</svg>',
    '',
  ].join('\n');
}

/** Of the vertical axis, which starts at 0. */
function scaleOf(series: readonly Series[]) {
  const finite = series.flatMap(({ values }) => values.filter(Number.isFinite));
  const ticks = ticksUpTo(
    finite.reduce((most, value) => Math.max(most, value), 0),
    6,
  );
  const top = ticks.at(-1) ?? 1;
  const place = (value: number) => TOP + HEIGHT * (1 - value / top);
  const grid = ticks.flatMap((value) => [
    `<path d="M${LEFT},${round(place(value))}H${WIDTH - RIGHT}" stroke="#ddd"/>`,
    label(LEFT - 6, place(value) + 4, String(value), 'end'),
  ]);
  return { place, grid };
}

/** Round numbers from 0 to the first one that is no less than `most`. */
function ticksUpTo(most: number, wanted: number): readonly number[] {
  const rough = (most > 0 ? most : 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const count = Math.ceil(Number((most / step).toFixed(6)));
  return Array.from({ length: Math.max(1, count) + 1 }, (_, index) =>
    Number((index * step).toPrecision(6)),
  );
}

function label(x: number, y: number, text: string, anchor = 'middle'): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escapeXml(text)}</text>`;
}

const colourOf = (index: number) => COLOURS[index % COLOURS.length];
const round = (value: number) => Math.round(value * 10) / 10;
const escapeXml = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
