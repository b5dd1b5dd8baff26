// SPDX-License-Identifier: GPL-3.0-or-later

import { type PluginSettings, withNetwork } from '../config/settings.ts';
import type { StorageErrorCode } from '../errors.ts';
import {
  type CountersSnapshot,
  type LatencyMs,
  type OperationCounts,
  RECENT_ERRORS_MAX,
  type RecentError,
} from './figures.ts';

/** @returns the settings of one loop, with limits that add up to those of the configuration */
export function shareOfLane(settings: PluginSettings): PluginSettings {
  const { lanes, provider, encryption } = settings;
  if (lanes === 1) return settings;
  return {
    ...settings,
    provider:
      provider === undefined
        ? undefined
        : withNetwork(provider, { maxConnections: share(provider.settings.maxConnections, lanes) }),
    encryption:
      encryption === undefined
        ? undefined
        : { ...encryption, maxInputBytes: share(encryption.maxInputBytes, lanes) },
  };
}

function share(limit: number, lanes: number): number {
  return Math.max(1, Math.floor(limit / lanes));
}

/** The figures of all loops together. Of one that does not answer, because it hangs or has just ended, and of one that another has
 *  replaced, what was counted before stays: counters only rise, as long as this loop lives.
 *  @param deps.own the figures of this loop
 *  @param deps.ask gets those of another loop; undefined if it does not answer */
export function createLaneFigures(deps: {
  readonly lane: number;
  readonly lanes: number;
  readonly own: () => CountersSnapshot;
  readonly ask: (lane: number) => Promise<CountersSnapshot | undefined>;
}): () => Promise<CountersSnapshot> {
  const known = new Map<number, KnownLane>();
  const all = createLaneAnswers({
    ...deps,
    ask: async (lane) => {
      const answer = await deps.ask(lane);
      const before = known.get(lane);
      if (answer === undefined) return before && endedOf(before.total);
      const isReplaced = before !== undefined && before.restarted !== answer.restarted;
      const ended = isReplaced ? endedOf(before.total) : before?.ended;
      const total = ended === undefined ? answer : addUp(answer, ended);
      known.set(lane, { restarted: answer.restarted, ended, total });
      return total;
    },
  });
  return async () => sumUp(await all());
}

interface KnownLane {
  readonly restarted: string | null;
  /** Of its runtimes that have ended. */
  readonly ended: CountersSnapshot | undefined;
  /** Theirs and its own. */
  readonly total: CountersSnapshot;
}

const NO_LATENCY: LatencyMs = { count: 0, p50: 0, p95: 0, p99: 0, max: 0 };

/** What stays of a runtime's figures when it has ended. */
function endedOf(figures: CountersSnapshot): CountersSnapshot {
  const { create, readWhole, readRange, remove } = figures.operations;
  const ended = (counts: OperationCounts): OperationCounts => ({
    ...counts,
    inFlight: 0,
    latencyMs: { ...counts.latencyMs, last5Minutes: NO_LATENCY },
  });
  return {
    ...figures,
    operations: {
      create: ended(create),
      readWhole: ended(readWhole),
      readRange: ended(readRange),
      remove: ended(remove),
    },
    eventLoopBusy: [],
  };
}

/** What all loops answer, this one first.
 *  @param deps as those of createLaneFigures */
export function createLaneAnswers<T>(deps: {
  readonly lane: number;
  readonly lanes: number;
  readonly own: () => T;
  readonly ask: (lane: number) => Promise<T | undefined>;
}): () => Promise<readonly T[]> {
  const others = Array.from({ length: deps.lanes }, (_, lane) => lane).filter(
    (lane) => lane !== deps.lane,
  );
  // Concurrent callers share one answer, so that a loop that hangs is not asked again and again.
  let asked: Promise<readonly (T | undefined)[]> | undefined;
  return async () => {
    asked ??= Promise.all(others.map(deps.ask)).finally(() => {
      asked = undefined;
    });
    const answers = await asked;
    return [deps.own(), ...answers.filter((answer) => answer !== undefined)];
  };
}

/** Adds up counts and bytes. Percentiles cannot be added up: those of the slowest loop are a bound for all. */
export function sumUp(lanes: readonly CountersSnapshot[]): CountersSnapshot {
  const [first, ...others] = lanes;
  if (first === undefined) throw new Error('no lane');
  return others.reduce(addUp, first);
}

function addUp(a: CountersSnapshot, b: CountersSnapshot): CountersSnapshot {
  const errors: Partial<Record<StorageErrorCode, number>> = { ...a.errors };
  for (const [code, count] of Object.entries(b.errors) as [StorageErrorCode, number][]) {
    errors[code] = (errors[code] ?? 0) + count;
  }
  const { create, readWhole, readRange, remove } = a.operations;
  return {
    operations: {
      create: addCounts(create, b.operations.create),
      readWhole: addCounts(readWhole, b.operations.readWhole),
      readRange: addCounts(readRange, b.operations.readRange),
      remove: addCounts(remove, b.operations.remove),
    },
    errors,
    recentErrors: [...a.recentErrors, ...b.recentErrors]
      .sort((one: RecentError, other) => (other.time > one.time ? 1 : -1))
      .slice(0, RECENT_ERRORS_MAX),
    eventLoopBusy: [...a.eventLoopBusy, ...b.eventLoopBusy],
    restarted: later(a.restarted, b.restarted),
  };
}

function later(a: string | null, b: string | null): string | null {
  return (a ?? '') > (b ?? '') ? a : b;
}

function addCounts(a: OperationCounts, b: OperationCounts): OperationCounts {
  return {
    inFlight: a.inFlight + b.inFlight,
    succeeded: a.succeeded + b.succeeded,
    failed: a.failed + b.failed,
    bytes: a.bytes + b.bytes,
    latencyMs: {
      last5Minutes: slower(a.latencyMs.last5Minutes, b.latencyMs.last5Minutes),
      sinceStart: slower(a.latencyMs.sinceStart, b.latencyMs.sinceStart),
    },
  };
}

function slower(a: LatencyMs, b: LatencyMs): LatencyMs {
  return {
    count: a.count + b.count,
    p50: Math.max(a.p50, b.p50),
    p95: Math.max(a.p95, b.p95),
    p99: Math.max(a.p99, b.p99),
    max: Math.max(a.max, b.max),
  };
}
