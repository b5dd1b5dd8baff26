// SPDX-License-Identifier: GPL-3.0-or-later

/** By how much the last third of a run may be above the middle one: `factor` times that, and `plus`. */
export interface Tolerance {
  readonly factor: number;
  readonly plus: number;
}

export interface Verdict {
  /** Medians of the thirds. The first one is warming up. */
  readonly first: number;
  readonly middle: number;
  readonly last: number;
  readonly limit: number;
  readonly flat: boolean;
}

/** @param values in the order of time; NaN where there was nothing to measure */
export function judge(values: readonly number[], { factor, plus }: Tolerance): Verdict {
  const third = values.length / 3;
  const [first = Number.NaN, middle = Number.NaN, last = Number.NaN] = [0, 1, 2].map((part) =>
    medianOf(values.slice(Math.round(part * third), Math.round((part + 1) * third))),
  );
  const limit = middle * factor + plus;
  return { first, middle, last, limit, flat: last <= limit };
}

function medianOf(values: readonly number[]): number {
  const sorted = values.filter((value) => !Number.isNaN(value)).toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1] ?? Number.NaN;
}
