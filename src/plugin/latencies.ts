// SPDX-License-Identifier: GPL-3.0-or-later

import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';

export interface Latencies {
  record(ms: number): void;
  snapshot(): LatenciesMs;
}

export interface LatenciesMs {
  /** A slow store no longer shows once it is fast again. */
  readonly last5Minutes: LatencyMs;
  readonly sinceStart: LatencyMs;
}

/** Zeros where nothing ended in that time. */
export interface LatencyMs {
  readonly count: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

/** The window moves by this much: it covers four to five minutes. */
const SLICE_MS = 60_000;
const SLICES = 5;
const MICROSECONDS_PER_MS = 1000;
/** In microseconds, up to one hour. Two significant digits take 32 kB. */
const RANGE = { lowest: 1, highest: 3_600_000_000, figures: 2 };

interface Slice {
  /** Counts slices since the clock's zero. */
  number: number;
  readonly histogram: RecordableHistogram;
}

/** @param now milliseconds of a clock that only goes forward */
export function createLatencies(now: () => number): Latencies {
  const total = createHistogram(RANGE);
  const slices = Array.from(
    { length: SLICES },
    (): Slice => ({ number: -1, histogram: createHistogram(RANGE) }),
  );
  const present = () => Math.floor(now() / SLICE_MS);

  return {
    record(ms) {
      const micros = Math.round(ms * MICROSECONDS_PER_MS);
      const value = Math.min(RANGE.highest, Math.max(RANGE.lowest, micros));
      total.record(value);
      const number = present();
      const slice = slices[number % SLICES];
      if (slice === undefined) return;
      if (slice.number !== number) {
        slice.histogram.reset();
        slice.number = number;
      }
      slice.histogram.record(value);
    },
    snapshot() {
      const recent = createHistogram(RANGE);
      for (const { number, histogram } of slices) {
        if (number >= 0 && number > present() - SLICES) recent.add(histogram);
      }
      return { last5Minutes: describe(recent), sinceStart: describe(total) };
    },
  };
}

function describe(histogram: RecordableHistogram): LatencyMs {
  const { count } = histogram;
  const ms = (micros: number) => (count === 0 ? 0 : micros / MICROSECONDS_PER_MS);
  return {
    count,
    p50: ms(histogram.percentile(50)),
    p95: ms(histogram.percentile(95)),
    p99: ms(histogram.percentile(99)),
    max: ms(histogram.max),
  };
}
