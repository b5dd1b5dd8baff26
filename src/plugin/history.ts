// SPDX-License-Identifier: GPL-3.0-or-later
// The last hour of one event loop, for the page's plots: a sample every 15 seconds, by the one timer that also measures the load, so that
// an idle Orthanc is woken no more often. It is in memory only, some 100 kB.

import type { LocalCacheStatus } from '../local/local-cache.ts';
import type { RemovalsStatus } from '../local/removals.ts';
import type { CountersSample, OperationSample } from './figures.ts';

export const SAMPLE_SECONDS = 15;
const SAMPLES_MAX = 240;

export interface Sample extends CountersSample {
  /** Seconds since 1970, at the sample's end. */
  readonly time: number;
  /** undefined: there is no LocalCache. */
  readonly localCache?: CacheSample | undefined;
  /** undefined: DeleteInBackground is off. */
  readonly removalsPending?: number | undefined;
}

interface CacheSample {
  readonly pendingCount: number;
  readonly pendingBytes: number;
  /** Since the sample before, as all below. */
  readonly hits: number;
  readonly misses: number;
}

export interface History {
  /** To be called every SAMPLE_SECONDS. */
  take(): void;
  /** The oldest first. */
  samples(): readonly Sample[];
}

export function createHistory(deps: {
  readonly sample: () => CountersSample;
  readonly localCache?: () => LocalCacheStatus | undefined;
  readonly removals?: () => RemovalsStatus | undefined;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}): History {
  const now = deps.now ?? (() => Date.now());
  const samples: Sample[] = [];
  let before = { hits: 0, misses: 0 };

  function sampleCache(): CacheSample | undefined {
    const cache = deps.localCache?.();
    if (cache === undefined) return undefined;
    const { hits, misses, pending } = cache;
    const sample = {
      pendingCount: pending.count,
      pendingBytes: pending.bytes,
      hits: hits - before.hits,
      misses: misses - before.misses,
    };
    before = { hits, misses };
    return sample;
  }

  return {
    take() {
      const time = Math.round(now() / 1000);
      // The clock was set back: plots need times that rise, and old failures would be recent.
      while ((samples.at(-1)?.time ?? 0) >= time) samples.pop();
      samples.push({
        time,
        ...deps.sample(),
        localCache: sampleCache(),
        removalsPending: deps.removals?.()?.pending,
      });
      if (samples.length > SAMPLES_MAX) samples.shift();
    },
    samples: () => samples,
  };
}

/** GET /object-storage/history: columns, as plots want them. */
export interface HistoryAnswer {
  readonly sampleSeconds: number;
  readonly time: readonly number[];
  readonly create: Columns<OperationSample>;
  readonly read: Columns<OperationSample>;
  readonly remove: Columns<OperationSample>;
  readonly inFlight: readonly number[];
  readonly eventLoopBusy: readonly number[];
  /** null: there is no LocalCache. */
  readonly localCache: Columns<CacheSample> | null;
  /** null: DeleteInBackground is off. */
  readonly removalsPending: readonly number[] | null;
}

type Columns<Row> = { readonly [Name in keyof Row]: readonly Row[Name][] };

const OPERATION_COLUMNS = ['count', 'failed', 'bytes', 'p50', 'p95', 'p99'] as const;
const CACHE_COLUMNS = ['pendingCount', 'pendingBytes', 'hits', 'misses'] as const;

/** @param lanes the samples of all event loops, the first of which has the cache and the removals */
export function answerHistory(lanes: readonly (readonly Sample[])[]): HistoryAnswer {
  const [own = [], ...others] = lanes;
  const samples = own.map((sample) =>
    others.reduce((sum, lane) => addUp(sum, nearest(lane, sample.time)), sample),
  );
  const caches = samples.flatMap(({ localCache }) => localCache ?? []);
  const removals = samples.flatMap(({ removalsPending }) => removalsPending ?? []);
  const operation = (name: 'create' | 'read' | 'remove') =>
    columnsOf(
      OPERATION_COLUMNS,
      samples.map((sample) => sample[name]),
    );
  return {
    sampleSeconds: SAMPLE_SECONDS,
    time: samples.map(({ time }) => time),
    create: operation('create'),
    read: operation('read'),
    remove: operation('remove'),
    inFlight: samples.map(({ inFlight }) => inFlight),
    eventLoopBusy: samples.map(({ eventLoopBusy }) => eventLoopBusy),
    localCache: caches.length === 0 ? null : columnsOf(CACHE_COLUMNS, caches),
    removalsPending: removals.length === 0 ? null : removals,
  };
}

function columnsOf<Row>(names: readonly (keyof Row)[], rows: readonly Row[]): Columns<Row> {
  const columns = names.map((name) => [name, rows.map((row) => row[name])]);
  return Object.fromEntries(columns) as Columns<Row>;
}

/** Loops take their samples at different moments. */
function nearest(lane: readonly Sample[], time: number): Sample | undefined {
  return lane.find((sample) => Math.abs(sample.time - time) <= SAMPLE_SECONDS / 2);
}

/** Percentiles cannot be added up: those of the slowest loop are a bound for all. */
function addUp(a: Sample, b: Sample | undefined): Sample {
  if (b === undefined) return a;
  return {
    ...a,
    create: addOperations(a.create, b.create),
    read: addOperations(a.read, b.read),
    remove: addOperations(a.remove, b.remove),
    inFlight: a.inFlight + b.inFlight,
    eventLoopBusy: Math.max(a.eventLoopBusy, b.eventLoopBusy),
  };
}

function addOperations(a: OperationSample, b: OperationSample): OperationSample {
  return {
    count: a.count + b.count,
    failed: a.failed + b.failed,
    bytes: a.bytes + b.bytes,
    p50: slower(a.p50, b.p50),
    p95: slower(a.p95, b.p95),
    p99: slower(a.p99, b.p99),
  };
}

function slower(a: number | null, b: number | null): number | null {
  return a === null || b === null ? (a ?? b) : Math.max(a, b);
}
