// SPDX-License-Identifier: GPL-3.0-or-later
// The progress of a move.

import { codeAndMessage, StorageError } from '../errors.ts';
import { field, type Resource } from '../orthanc/api.ts';
import type { JobState } from './job.ts';

export const MOVE_TARGETS = ['file-system', 'object-storage'] as const;
export type MoveTarget = (typeof MOVE_TARGETS)[number];

export interface MoveFailure {
  readonly resource: Resource;
  readonly name: string;
  readonly uuid: string;
  readonly reason: string;
}

/** Orthanc stores it as JSON. */
export interface Progress {
  readonly version: 1;
  readonly target: MoveTarget;
  readonly resources: readonly Resource[];
  /** So many of `resources` are done, from the first one on. */
  readonly resourcesDone: number;
  /** In the family of the next resource, all resources up to this id are done. */
  readonly lastDone: string | undefined;
  readonly counts: Counts;
  readonly failures: readonly MoveFailure[];
}

export const NO_COUNTS = {
  moved: 0,
  movedBytes: 0,
  alreadyThere: 0,
  deletedMeanwhile: 0,
  failed: 0,
};

export type Counts = Readonly<typeof NO_COUNTS>;

export interface Outcome {
  readonly counts: Counts;
  readonly failures: readonly MoveFailure[];
}

/** Further failures are counted, but not listed. */
const FAILURES_MAX = 100;

/** The state of a job that has not begun. */
export function newMove(target: MoveTarget, resources: readonly Resource[]): JobState {
  return stateOf({
    version: 1,
    target,
    resources,
    resourcesDone: 0,
    lastDone: undefined,
    counts: NO_COUNTS,
    failures: [],
  });
}

export function failed(
  { resource, name, uuid }: Omit<MoveFailure, 'reason'>,
  failure: StorageError,
): Outcome {
  return {
    counts: { ...NO_COUNTS, failed: 1 },
    failures: [{ resource, name, uuid, reason: codeAndMessage(failure) }],
  };
}

export function addCounts(counts: Counts, more: Partial<Counts>): Counts {
  const sum = { ...counts };
  for (const name of Object.keys(NO_COUNTS) as (keyof Counts)[]) sum[name] += more[name] ?? 0;
  return sum;
}

export function addOutcomes(outcome: Outcome, more: Outcome): Outcome {
  return {
    counts: addCounts(outcome.counts, more.counts),
    failures: [...outcome.failures, ...more.failures].slice(0, FAILURES_MAX),
  };
}

export function stateOf(progress: Progress, fraction = 0): JobState {
  const { resources, resourcesDone, counts, failures, target } = progress;
  const content = {
    TargetStorage: target,
    Resources: resources.length,
    ResourcesDone: resourcesDone,
    Moved: counts.moved,
    MovedBytes: counts.movedBytes,
    AlreadyThere: counts.alreadyThere,
    DeletedMeanwhile: counts.deletedMeanwhile,
    Failed: counts.failed,
    Failures: failures.map(({ resource, name, uuid, reason }) => ({
      Level: resource.level,
      Resource: resource.id,
      Attachment: name,
      Uuid: uuid,
      Reason: reason,
    })),
    Description: describe(progress),
  };
  return {
    progress:
      resources.length === 0 ? 1 : Math.min(1, (resourcesDone + fraction) / resources.length),
    content: JSON.stringify(content),
    serialized: JSON.stringify(progress),
  };
}

function describe({ counts, resources, resourcesDone, target }: Progress): string {
  if (resourcesDone < resources.length) return `Moving to the ${target}`;
  if (counts.failed > 0) return `${counts.failed} could not be moved`;
  return counts.moved === 0
    ? `Nothing to move: all is in the ${target} already`
    : `Moved ${counts.moved} attachments to the ${target}`;
}

export function withoutType(kept: string): string {
  const { Type: _type, ...rest } = JSON.parse(kept) as Readonly<Record<string, unknown>>;
  return JSON.stringify(rest);
}

/** @throws StorageError INTERNAL for the state of another version */
export function parseProgress(serialized: string): Progress {
  const value: unknown = JSON.parse(serialized);
  if (field(value, 'version') !== 1) {
    throw new StorageError('INTERNAL', 'the job comes from another version of the plugin');
  }
  return value as Progress;
}
