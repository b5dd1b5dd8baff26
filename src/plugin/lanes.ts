// SPDX-License-Identifier: GPL-3.0-or-later
// Several event loops of one plugin: what each of them may use, and what all have done.

import { type PluginSettings, withNetwork } from '../config/settings.ts';
import type { StorageErrorCode } from '../errors.ts';
import {
  type CountersSnapshot,
  type LatencyMs,
  type OperationCounts,
  RECENT_ERRORS_MAX,
  type RecentError,
} from './figures.ts';

/** @returns the settings of one loop, so that all together keep to the limits of the configuration */
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

/** Longer than a loop is ever busy at a stretch; two of them would be too long for the metrics (main.ts). */
const ANSWER_MS = 1_000;
/** Anything else that one loop says to another is an answer. */
const QUESTION = 'figures?';

export interface LaneFigures {
  /** What all loops together have done. Of one that does not answer within ANSWER_MS, since it ended just now or hangs, nothing is known. */
  ofAll(): Promise<CountersSnapshot>;
  /** To be called with what another loop says. */
  onMessage(from: number, text: string): void;
}

/** @param deps.own what this loop has done
 *  @param deps.send says something to another loop */
export function createLaneFigures(deps: {
  readonly lane: number;
  readonly lanes: number;
  readonly own: () => CountersSnapshot;
  readonly send: (lane: number, text: string) => void;
}): LaneFigures {
  const others = Array.from({ length: deps.lanes }, (_, lane) => lane).filter(
    (lane) => lane !== deps.lane,
  );
  /** Of each loop, who waits for its figures. An answer is good for all of them. */
  const waiting = new Map(
    others.map((lane) => [lane, new Set<(figures: CountersSnapshot | undefined) => void>()]),
  );

  const ask = (lane: number) =>
    new Promise<CountersSnapshot | undefined>((resolve) => {
      const finish = (figures: CountersSnapshot | undefined) => {
        clearTimeout(timer);
        waiting.get(lane)?.delete(finish);
        resolve(figures);
      };
      const timer = setTimeout(finish, ANSWER_MS, undefined);
      waiting.get(lane)?.add(finish);
      deps.send(lane, QUESTION);
    });

  return {
    async ofAll() {
      const answers = await Promise.all(others.map(ask));
      return sumUp([deps.own(), ...answers.filter((figures) => figures !== undefined)]);
    },
    onMessage(from, text) {
      if (text === QUESTION) {
        deps.send(from, JSON.stringify(deps.own()));
        return;
      }
      const figures = JSON.parse(text) as CountersSnapshot;
      for (const finish of waiting.get(from) ?? []) finish(figures);
    },
  };
}

/** Counts and bytes of all. Percentiles cannot be added up: they are those of the slowest loop, a bound for all. */
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
      .sort((one: RecentError, other) => other.time.localeCompare(one.time))
      .slice(0, RECENT_ERRORS_MAX),
  };
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
