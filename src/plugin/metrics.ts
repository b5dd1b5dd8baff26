// SPDX-License-Identifier: GPL-3.0-or-later
// The metrics in Orthanc's /tools/metrics-prometheus: one table, of which the lines and docs/metrics.md are made.

import { ERROR_CODES, type StorageErrorCode } from '../error-codes.ts';
import type { LocalCacheStatus } from '../local/local-cache.ts';
import type { RemovalsStatus } from '../local/removals.ts';
import type { LatencyMs, OperationCounts } from './figures.ts';
import type { Status } from './status.ts';

export const METRIC_PREFIX = 'orthanc_object_storage_';

export type Figures = Pick<
  Status,
  'operations' | 'errors' | 'eventLoopBusy' | 'uptimeSeconds' | 'removals' | 'localCache'
>;

export interface Metric {
  /** Behind METRIC_PREFIX. */
  readonly name: string;
  /** A counter begins at 0 with each runtime of the plugin. */
  readonly type: 'counter' | 'gauge';
  readonly unit: 'operations' | 'objects' | 'reads' | 'uploads' | 'bytes' | 's' | 'ms' | '0 to 1';
  readonly meaning: string;
  /** When somebody has to act; absent: never by this metric alone. */
  readonly act?: string | undefined;
  /** Absent: the shim gives it (native/callbacks.cpp). undefined: there is nothing to tell. */
  readonly value?: (figures: Figures) => number | undefined;
}

export interface MetricGroup {
  readonly title: string;
  readonly note?: string;
  readonly metrics: readonly Metric[];
}

const SHARES = {
  p50: 'Half of them took at most so long',
  p95: '95 % of them took at most so long',
  p99: '99 % of them took at most so long',
  max: 'The longest took so long',
} as const satisfies Partial<Record<keyof LatencyMs, string>>;

/** ABORTED is not counted: the shim has counted that operation as unanswered. */
const ACT_BY_CODE = {
  NOT_FOUND: 'It rises.',
  ACCESS_DENIED: 'It rises.',
  BAD_CONFIG: 'It rises.',
  BAD_RANGE: undefined,
  SHORT_BODY: 'It rises for minutes.',
  INTEGRITY: 'It rises.',
  UNKNOWN_KEY: 'It rises.',
  THROTTLED: 'It rises for minutes.',
  UNAVAILABLE: 'It rises for minutes.',
  TIMEOUT: 'It rises for minutes.',
  CLOSED: undefined,
  INTERNAL: 'It rises.',
} as const satisfies Readonly<
  Record<Exclude<StorageErrorCode, 'ABORTED'>, Metric['act'] | undefined>
>;

export const METRIC_GROUPS: readonly MetricGroup[] = [
  {
    title: 'The plugin',
    metrics: [
      {
        name: 'up',
        type: 'gauge',
        unit: '0 to 1',
        meaning:
          "1: the plugin's runtime answered within 2 s. With 0, all others but `unanswered_count` stay as they were.",
        act: 'It is 0 for a minute.',
      },
      {
        name: 'uptime_seconds',
        type: 'gauge',
        unit: 's',
        meaning: 'For how long the runtime has run. All counters but the next one began with it.',
        act: 'It falls although nobody restarted Orthanc.',
        value: ({ uptimeSeconds }) => uptimeSeconds,
      },
      {
        name: 'unanswered_count',
        type: 'counter',
        unit: 'operations',
        meaning:
          'Operations that the runtime did not answer. The log has them with `code=TIMEOUT`, `CLOSED` or `RUNTIME_LOST`.',
        act: 'It rises while Orthanc is not being stopped.',
      },
      {
        name: 'event_loop_busy',
        type: 'gauge',
        unit: '0 to 1',
        meaning:
          'The share of the last minute in which the event loop computed. With several, that of the busiest.',
        act: 'It is above 0.7 for a quarter of an hour.',
        value: ({ eventLoopBusy }) => Math.max(...eventLoopBusy),
      },
    ],
  },
  {
    title: 'Stores',
    metrics: ofOperation('create', 'Stores', ({ operations }) => operations.create),
  },
  {
    title: 'Whole reads',
    metrics: ofOperation('read', 'Whole reads', ({ operations }) => operations.readWhole),
  },
  {
    title: 'Reads of a part',
    note: 'Orthanc 1.12.8 and later read whole files by these as well, unless new objects are encrypted in the format A1.',
    metrics: ofOperation('read_range', 'Reads of a part', ({ operations }) => operations.readRange),
  },
  {
    title: 'Removals',
    note: 'With `DeleteInBackground`, a removal has ended once it is noted on the disk.',
    metrics: ofOperation('remove', 'Removals', ({ operations }) => operations.remove),
  },
  {
    title: 'Failed operations by code',
    note: 'What each code means, and what to do: [messages.md](messages.md#codes). Operations that failed because nobody waited for them any more (`ABORTED`) count as unanswered.',
    metrics: Object.entries(ACT_BY_CODE).map(([code, act]) => ({
      name: `errors_${code.toLowerCase()}`,
      type: 'counter' as const,
      unit: 'operations' as const,
      meaning: ERROR_CODES[code as StorageErrorCode].meaning,
      act,
      value: ({ errors }) => errors[code as StorageErrorCode] ?? 0,
    })),
  },
  {
    title: 'LocalCache',
    note: 'Only with `LocalCache`.',
    metrics: [
      ofCache('pending_count', 'gauge', 'objects', {
        meaning: 'Objects that are on this disk only, and still to be uploaded.',
        value: ({ pending }) => pending.count,
      }),
      ofCache('pending_bytes', 'gauge', 'bytes', {
        meaning: 'Their bytes.',
        act: 'It is above 80 % of `cache_max_bytes`.',
        value: ({ pending }) => pending.bytes,
      }),
      ofCache('pending_oldest_seconds', 'gauge', 's', {
        meaning: 'For how long the oldest of them has waited; 0 where there is none.',
        act: 'It is above 300.',
        value: ({ pending }) => pending.oldestSeconds,
      }),
      ofCache('pending_removals', 'gauge', 'objects', {
        meaning: 'Removals that are noted on this disk, and still to be carried out in the bucket.',
        value: ({ removals }) => removals,
      }),
      ofCache('pending_refused_count', 'gauge', 'objects', {
        meaning: 'Pending objects that the store refuses, while it takes others.',
        act: 'It is above 0.',
        value: ({ refused }) => refused,
      }),
      ofCache('uploads_count', 'counter', 'uploads', {
        meaning: 'Uploads of pending objects that succeeded.',
        value: ({ uploaded }) => uploaded,
      }),
      ofCache('uploads_failed_count', 'counter', 'uploads', {
        meaning: 'Uploads that failed. Each is tried again until it succeeds.',
        value: ({ failed }) => failed,
      }),
      ofCache('written_through_count', 'counter', 'objects', {
        meaning:
          'New objects that went to the bucket at once, because the disk did not take them, or MaxSize had no room.',
        act: 'It rises.',
        value: ({ writtenThrough }) => writtenThrough,
      }),
      ofCache('cache_hits', 'counter', 'reads', {
        meaning: 'Reads that were answered from this disk.',
        value: ({ hits }) => hits,
      }),
      ofCache('cache_misses', 'counter', 'reads', {
        meaning: 'Reads that went to the bucket.',
        value: ({ misses }) => misses,
      }),
      ofCache('cache_count', 'gauge', 'objects', {
        meaning: 'Objects on this disk that are in the bucket as well.',
        value: ({ cached }) => cached.count,
      }),
      ofCache('cache_bytes', 'gauge', 'bytes', {
        meaning: 'Their bytes.',
        value: ({ cached }) => cached.bytes,
      }),
      ofCache('cache_max_bytes', 'gauge', 'bytes', {
        meaning: '`MaxSize`: what pending and cached objects may take together.',
        value: ({ maxBytes }) => maxBytes,
      }),
    ],
  },
  {
    title: 'DeleteInBackground',
    note: 'Only with `DeleteInBackground`, and without it until what was noted before is carried out.',
    metrics: [
      ofRemovals('removals_pending_count', 'gauge', {
        meaning: 'Objects that are still to be removed in the bucket.',
        value: ({ pending }) => pending,
      }),
      {
        ...ofRemovals('removals_pending_oldest_seconds', 'gauge', {
          meaning: 'For how long the oldest of them has waited; 0 where there is none.',
          act: 'It is above 900.',
          value: ({ oldestSeconds }) => oldestSeconds,
        }),
        unit: 's',
      },
      ofRemovals('removals_refused_count', 'gauge', {
        meaning: 'Objects that the store refuses to remove. The status names some.',
        act: 'It is above 0.',
        value: ({ refused }) => refused,
      }),
      ofRemovals('removals_carried_out_count', 'counter', {
        meaning: 'Objects that were removed in the bucket.',
        value: ({ carriedOut }) => carriedOut,
      }),
    ],
  },
];

/** @returns a line "name value" for each metric that there is; the shim tells a float by its point */
export function formatMetrics(figures: Figures): string {
  return METRIC_GROUPS.flatMap(({ metrics }) => metrics)
    .map(({ name, unit, value }) => {
      const found = value?.(figures);
      if (found === undefined) return '';
      const isFloat = unit === 'ms' || unit === '0 to 1';
      return `${METRIC_PREFIX}${name} ${isFloat ? found.toFixed(3) : found}\n`;
    })
    .join('');
}

/** @param what such as "Stores" */
function ofOperation(
  name: string,
  what: string,
  of: (figures: Figures) => OperationCounts,
): readonly Metric[] {
  const last5Minutes = (figures: Figures) => of(figures).latencyMs.last5Minutes;
  const sinceStart = (figures: Figures) => of(figures).latencyMs.sinceStart;
  return [
    {
      name: `${name}_count`,
      type: 'counter',
      unit: 'operations',
      meaning: `${what} that succeeded.`,
      value: (figures) => of(figures).succeeded,
    },
    {
      name: `${name}_failed_count`,
      type: 'counter',
      unit: 'operations',
      meaning: `${what} that failed. The log has a line about each.`,
      act: 'It rises for minutes.',
      value: (figures) => of(figures).failed,
    },
    {
      name: `${name}_bytes`,
      type: 'counter',
      unit: 'bytes',
      meaning: 'The bytes of those that succeeded, as Orthanc sees them: not encrypted.',
      value: (figures) => of(figures).bytes,
    },
    {
      name: `${name}_in_flight`,
      type: 'gauge',
      unit: 'operations',
      meaning: `${what} that are under way.`,
      value: (figures) => of(figures).inFlight,
    },
    ...latencies(`${name}_duration`, 'in the last five minutes', last5Minutes),
    ...latencies(`${name}_duration_since_start`, 'since the start', sinceStart),
  ];
}

/** @param when such as "since the start" */
function latencies(
  name: string,
  when: string,
  of: (figures: Figures) => LatencyMs,
): readonly Metric[] {
  return Object.entries(SHARES).map(([share, meaning]) => ({
    name: `${name}_${share}_ms`,
    type: 'gauge',
    unit: 'ms',
    meaning: `${meaning}, ${when}.`,
    value: (figures) => of(figures)[share as keyof typeof SHARES],
  }));
}

type Rest<Of> = Pick<Metric, 'meaning' | 'act'> & { readonly value: (of: Of) => number };

function ofCache(
  name: string,
  type: Metric['type'],
  unit: Metric['unit'],
  { value, ...rest }: Rest<LocalCacheStatus>,
): Metric {
  return {
    name,
    type,
    unit,
    ...rest,
    value: ({ localCache }) => (localCache === null ? undefined : value(localCache)),
  };
}

function ofRemovals(
  name: string,
  type: Metric['type'],
  { value, ...rest }: Rest<RemovalsStatus>,
): Metric {
  return {
    name,
    type,
    unit: 'objects',
    ...rest,
    value: ({ removals }) => (removals === null ? undefined : value(removals)),
  };
}
