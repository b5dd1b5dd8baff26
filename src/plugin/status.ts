// SPDX-License-Identifier: GPL-3.0-or-later

import type { HybridSettings, PluginSettings } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import type { LocalCacheStatus } from '../local/local-cache.ts';
import type { RemovalsStatus } from '../local/removals.ts';
import type { CountersSnapshot, LatencyMs } from './figures.ts';

export interface Status extends CountersSnapshot {
  readonly version: string;
  readonly provider: string;
  readonly bucket: string;
  /** null: HybridMode is off. */
  readonly hybrid: { readonly writeTo: HybridSettings['writeTo'] } | null;
  /** null: new objects are not encrypted. */
  readonly encryption: { readonly format: string; readonly masterKeyId: number } | null;
  /** null: DeleteInBackground is off, and nothing is left of it. */
  readonly removals: RemovalsStatus | null;
  /** null: there is none. */
  readonly localCache: LocalCacheStatus | null;
  readonly node: string;
  /** The number of event loops. The figures are those of all. */
  readonly lanes: number;
  readonly uptimeSeconds: number;
  readonly inFlight: number;
}

/** @returns a function that makes the answer to GET /object-storage/status, without secrets */
export function createStatus(deps: {
  readonly version: string;
  readonly provider: NonNullable<PluginSettings['provider']>;
  readonly hybrid: HybridSettings | undefined;
  readonly envelope: Pick<Envelope, 'format' | 'masterKeyId'> | undefined;
  readonly lanes: number;
  readonly figures: () => Promise<CountersSnapshot>;
  readonly removals?: () => RemovalsStatus | undefined;
  readonly localCache?: () => LocalCacheStatus | undefined;
}): () => Promise<Status> {
  const startedMs = performance.now();
  return async () => {
    const figures = await deps.figures();
    return {
      version: deps.version,
      provider: deps.provider.kind,
      bucket: deps.provider.bucket,
      hybrid: deps.hybrid === undefined ? null : { writeTo: deps.hybrid.writeTo },
      encryption: encryptionOf(deps.envelope),
      removals: deps.removals?.() ?? null,
      localCache: deps.localCache?.() ?? null,
      node: process.version,
      lanes: deps.lanes,
      uptimeSeconds: Math.round((performance.now() - startedMs) / 1000),
      inFlight: Object.values(figures.operations).reduce((sum, { inFlight }) => sum + inFlight, 0),
      ...figures,
    };
  };
}

const METRIC_NAMES = {
  create: 'create',
  readWhole: 'read',
  readRange: 'read_range',
  remove: 'remove',
} as const satisfies Record<keyof CountersSnapshot['operations'], string>;

type Metric = readonly [name: string, value: number | string];

/** @returns a line "name value" for each of Orthanc's metrics (/tools/metrics-prometheus) */
export function formatMetrics(
  { operations, errors, eventLoopBusy }: CountersSnapshot,
  removals?: RemovalsStatus,
  localCache?: LocalCacheStatus,
): string {
  const metrics: Metric[] = [];
  for (const [operation, name] of Object.entries(METRIC_NAMES)) {
    const counts = operations[operation as keyof typeof METRIC_NAMES];
    metrics.push([`${name}_count`, counts.succeeded]);
    metrics.push([`${name}_failed_count`, counts.failed]);
    metrics.push([`${name}_bytes`, counts.bytes]);
    metrics.push([`${name}_in_flight`, counts.inFlight]);
    const { last5Minutes, sinceStart } = counts.latencyMs;
    metrics.push(...durations(`${name}_duration`, last5Minutes));
    metrics.push(...durations(`${name}_duration_since_start`, sinceStart));
  }
  for (const [code, count] of Object.entries(errors)) {
    metrics.push([`errors_${code.toLowerCase()}`, count]);
  }
  metrics.push(['event_loop_busy', asFloat(Math.max(...eventLoopBusy))]);
  if (removals !== undefined) {
    metrics.push(['removals_pending_count', removals.pending]);
    metrics.push(['removals_pending_oldest_seconds', removals.oldestSeconds]);
    metrics.push(['removals_refused_count', removals.refused]);
    metrics.push(['removals_carried_out_count', removals.carriedOut]);
  }
  if (localCache !== undefined) metrics.push(...cacheMetrics(localCache));
  return metrics.map(([name, value]) => `orthanc_object_storage_${name} ${value}\n`).join('');
}

function cacheMetrics(cache: LocalCacheStatus): readonly Metric[] {
  const { pending, removals, cached, hits, misses, uploaded, failed, refused } = cache;
  return [
    ['pending_count', pending.count],
    ['pending_bytes', pending.bytes],
    ['pending_oldest_seconds', pending.oldestSeconds],
    ['pending_removals', removals],
    ['pending_refused_count', refused],
    ['uploads_count', uploaded],
    ['uploads_failed_count', failed],
    ['cache_hits', hits],
    ['cache_misses', misses],
    ['cache_count', cached.count],
    ['cache_bytes', cached.bytes],
  ];
}

function durations(name: string, { count: _count, ...figures }: LatencyMs): readonly Metric[] {
  return Object.entries(figures).map(([figure, ms]) => [`${name}_${figure}_ms`, asFloat(ms)]);
}

/** With a point, by which the shim tells a float. */
function asFloat(value: number): string {
  return value.toFixed(3);
}

function encryptionOf(
  envelope: Pick<Envelope, 'format' | 'masterKeyId'> | undefined,
): Status['encryption'] {
  const { format, masterKeyId } = envelope ?? {};
  return format === undefined || masterKeyId === undefined ? null : { format, masterKeyId };
}
