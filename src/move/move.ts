// SPDX-License-Identifier: GPL-3.0-or-later
// POST /move-storage: brings all attachments of some resources from one store of a hybrid storage to the other.

import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Attachment, AttachmentStore } from '../attachments/attachments.ts';
import { copyVerified } from '../attachments/copy.ts';
import type { Moves, OngoingMove } from '../attachments/moves.ts';
import { contentTypeOf } from '../attachments/naming.ts';
import { createPlaceFailures } from '../attachments/place-failures.ts';
import { StorageError, toStorageError } from '../errors.ts';
import {
  attachmentsOf,
  descendantsOf,
  type IndexedAttachment,
  type OrthancApi,
  parentsOf,
  type Resource,
} from '../orthanc/api.ts';
import { abortReason, sleepUntilAborted } from '../store/abort.ts';
import { createSemaphore } from '../store/limit.ts';
import { type JobRunner, type JobState, type StepResult, StepStatus } from './job.ts';
import {
  addCounts,
  addOutcomes,
  type Counts,
  failed,
  type MoveTarget,
  NO_COUNTS,
  newMove,
  type Outcome,
  type Progress,
  parseProgress,
  stateOf,
  withoutType,
} from './move-progress.ts';
import { createPlaceGuard, type RequireTwoPlaces } from './place-guard.ts';

export const MOVE_JOB_TYPE = 'MoveStorage';

export interface MoveDependencies {
  readonly api: OrthancApi;
  readonly stores: Readonly<Record<MoveTarget, AttachmentStore>>;
  readonly moves: Moves;
  /** Undefined where the stores' names differ, so that they may share a place. */
  readonly requireTwoPlaces: RequireTwoPlaces | undefined;
  /** Milliseconds before the second, third, … attempt at an attachment. */
  readonly retryDelaysMs?: readonly number[];
  /** How long a step works before Orthanc may pause or cancel the job. */
  readonly stepMs?: number;
}

const RETRY_DELAYS_MS = [1_000, 4_000];
const STEP_MS = 400;
/** Resources of a family at once. */
const AT_ONCE = 8;
/** Above, one at a time: it keeps network and disk busy alone, and what is sent in parts has some of them in memory. */
const LARGE_BYTES = 32 * 1024 * 1024;

export function createMoveRunner(deps: MoveDependencies): JobRunner {
  const running = new Map<string, Move>();

  async function stop(handle: string): Promise<JobState | undefined> {
    const move = running.get(handle);
    running.delete(handle);
    return await move?.stop();
  }

  return {
    async step(handle, serialized) {
      let move = running.get(handle);
      if (move === undefined) {
        move = startMove(deps, parseProgress(serialized));
        running.set(handle, move);
      }
      return await move.wait(deps.stepMs ?? STEP_MS);
    },
    stop,
    restore: (kept) => stateOf(parseProgress(withoutType(kept))),
    reset: (serialized) => {
      const { target, resources } = parseProgress(serialized);
      return newMove(target, resources);
    },
    async close() {
      await Promise.all([...running.keys()].map(stop));
    },
  };
}

interface Move {
  wait(ms: number): Promise<StepResult>;
  stop(): Promise<JobState>;
}

function startMove(deps: MoveDependencies, begun: Progress): Move {
  const { stores, moves, requireTwoPlaces } = deps;
  const retryDelaysMs = deps.retryDelaysMs ?? RETRY_DELAYS_MS;
  const controller = new AbortController();
  const api = endingWith(deps.api, controller);
  const { signal } = controller;
  // Each attachment under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, signal);
  const source = stores[begun.target === 'file-system' ? 'object-storage' : 'file-system'];
  const target = stores[begun.target];
  const guard =
    requireTwoPlaces === undefined ? undefined : createPlaceGuard(stores, requireTwoPlaces, signal);
  const large = createSemaphore(1);
  const placeFailures = createPlaceFailures();
  let progress = begun;
  /** How much of the present resource's family is done, from 0 to 1. */
  let fraction = 0;
  // A series' study and patient are the same for all its neighbours in the list.
  const done = new Set<string>();

  async function moveOnce(
    indexed: IndexedAttachment,
    ongoing: OngoingMove,
  ): Promise<Partial<Counts>> {
    const attachment: Attachment = {
      uuid: indexed.uuid,
      contentType: contentTypeOf(indexed.contentType),
    };
    // Also of an earlier attempt: whoever removed it found no copy yet, or half of one.
    const removeCopy = async () => {
      await target.remove(attachment, { signal });
      return { deletedMeanwhile: 1 };
    };
    if (ongoing.wasRemoved()) return await removeCopy();
    await guard?.(attachment);
    let sizeBytes: number;
    try {
      const expected = { sizeBytes: indexed.contentBytes, md5Hex: indexed.md5Hex };
      const copy = { attachment, from: source, to: target, expected };
      ({ sizeBytes } = await copyVerified(copy, { signal }));
    } catch (error) {
      if (toStorageError(error).code !== 'NOT_FOUND') throw error;
      if ((await target.find(attachment, { signal })) !== undefined) return { alreadyThere: 1 };
      throw error;
    }
    if (ongoing.wasRemoved()) return await removeCopy();
    await source.remove(attachment, { signal });
    return { moved: 1, movedBytes: sizeBytes };
  }

  async function isStillIndexed({ resource, uuid }: IndexedAttachment): Promise<boolean> {
    return (await attachmentsOf(api, resource)).some((attachment) => attachment.uuid === uuid);
  }

  async function moveAttachment(indexed: IndexedAttachment): Promise<Outcome> {
    const ongoing = await moves.begin(indexed.uuid, { signal });
    try {
      for (let attempt = 0; ; attempt += 1) {
        try {
          const counts = addCounts(NO_COUNTS, await moveOnce(indexed, ongoing));
          placeFailures.succeeded();
          return { counts, failures: [] };
        } catch (error) {
          if (signal.aborted) throw abortReason(signal);
          const failure = toStorageError(error);
          const isGone = failure.code === 'NOT_FOUND' && !(await isStillIndexed(indexed));
          if (isGone) return { counts: { ...NO_COUNTS, deletedMeanwhile: 1 }, failures: [] };
          noteFailure(failure);
          const delayMs = retryDelaysMs[attempt];
          if (delayMs === undefined || failure.code === 'BAD_CONFIG') {
            return failed({ ...indexed, failure });
          }
          await sleepUntilAborted(delayMs, signal);
        }
      }
    } finally {
      ongoing.end();
    }
  }

  /** The last one of so many in a row ends the move: whatever is left would meet the same. */
  function noteFailure(failure: StorageError): void {
    try {
      placeFailures.add(failure);
    } catch (error) {
      const resource = progress.resources[progress.resourcesDone];
      if (resource !== undefined) {
        const outcome = failed({ resource, name: '', uuid: '', failure: toStorageError(error) });
        progress = { ...progress, ...addOutcomes(progress, outcome) };
      }
      controller.abort(error);
      throw error;
    }
  }

  async function moveResource(resource: Resource): Promise<Outcome> {
    let outcome: Outcome = { counts: NO_COUNTS, failures: [] };
    if (done.has(resource.id)) return outcome;
    try {
      for (const attachment of await attachmentsOf(api, resource)) {
        const work = () => moveAttachment(attachment);
        const one =
          attachment.contentBytes > LARGE_BYTES ? await large.run(signal, work) : await work();
        outcome = addOutcomes(outcome, one);
      }
    } catch (error) {
      if (signal.aborted) throw abortReason(signal);
      const failure = toStorageError(error);
      outcome = addOutcomes(outcome, failed({ resource, name: '', uuid: '', failure }));
    }
    if (resource.level !== 'instances') done.add(resource.id);
    return outcome;
  }

  /** In order and several at once; progress grows only by what has nothing undone before it. */
  async function moveFamily(family: readonly Resource[]): Promise<void> {
    const outcomes = new Map<Resource, Outcome>();
    // Where the last one has gone meanwhile, from the start: what was moved is moved.
    const start = family.findIndex(({ id }) => id === progress.lastDone) + 1;
    const rest = family.slice(start).values();
    const uncounted = family.slice(start).values();
    let first = uncounted.next();
    let counted = start;
    const worker = async () => {
      for (const resource of rest) {
        outcomes.set(resource, await moveResource(resource));
        while (first.done !== true) {
          const outcome = outcomes.get(first.value);
          if (outcome === undefined) break;
          outcomes.delete(first.value);
          const lastDone = first.value.id;
          progress = { ...progress, ...addOutcomes(progress, outcome), lastDone };
          counted += 1;
          fraction = counted / family.length;
          first = uncounted.next();
        }
      }
    };
    const settled = await Promise.allSettled(Array.from({ length: AT_ONCE }, worker));
    for (const result of settled) if (result.status === 'rejected') throw result.reason;
  }

  async function moveAll(): Promise<void> {
    while (progress.resourcesDone < progress.resources.length) {
      const resource = progress.resources[progress.resourcesDone];
      if (resource === undefined) return;
      if (signal.aborted) throw abortReason(signal);
      try {
        await moveFamily([
          ...(await parentsOf(api, resource)),
          ...(await descendantsOf(api, resource)),
        ]);
      } catch (error) {
        if (signal.aborted) throw abortReason(signal);
        const failure = toStorageError(error);
        const outcome = failed({ resource, name: '', uuid: '', failure });
        progress = { ...progress, ...addOutcomes(progress, outcome) };
      }
      const resourcesDone = progress.resourcesDone + 1;
      progress = { ...progress, resourcesDone, lastDone: undefined };
      fraction = 0;
    }
  }

  const state = () => stateOf(progress, fraction);
  const isOver = moveAll().then(
    () => true,
    () => true,
  );
  return {
    async wait(ms) {
      const timer = new AbortController();
      const pause = sleep(ms, false, { signal: timer.signal }).catch(() => false);
      const over = await Promise.race([isOver.then(() => !isInterrupted(signal) || pause), pause]);
      timer.abort();
      if (!over) return { status: StepStatus.Continue, state: state() };
      const status = progress.counts.failed > 0 ? StepStatus.Failure : StepStatus.Success;
      return { status, state: state() };
    },
    async stop() {
      controller.abort(new StorageError('ABORTED', 'the job was stopped'));
      await isOver;
      return state();
    },
  };
}

/** Orthanc's API, of which one refusal ends a move at once, whatever is under way: Orthanc is stopping, and keeps the job as it was
 *  after the last step. What that did since is seen when the job goes on: a file that is on both sides, or on the other. */
function endingWith(api: OrthancApi, controller: AbortController): OrthancApi {
  return {
    async get(path) {
      try {
        return await api.get(path);
      } catch (error) {
        if (toStorageError(error).code === 'CLOSED') controller.abort(error);
        throw error;
      }
    },
  };
}

/** Not over, though nothing is under way any more. */
function isInterrupted(signal: AbortSignal): boolean {
  return signal.aborted && toStorageError(signal.reason).code === 'CLOSED';
}

/** For jobs that Orthanc has kept from a time with two stores. */
export function createRefusingRunner(reason: string): JobRunner {
  return {
    step: (_handle, serialized) =>
      Promise.resolve({
        status: StepStatus.Failure,
        state: { progress: 0, content: JSON.stringify({ Description: reason }), serialized },
      }),
    stop: () => Promise.resolve(undefined),
    restore: (kept) => ({ progress: 0, content: '{}', serialized: withoutType(kept) }),
    reset: (serialized) => ({ progress: 0, content: '{}', serialized }),
    close: () => Promise.resolve(),
  };
}
