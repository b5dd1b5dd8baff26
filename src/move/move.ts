// SPDX-License-Identifier: GPL-3.0-or-later
// POST /move-storage moves all attachments of some resources from one store of a hybrid storage to the other.

import type { Attachment, AttachmentStore } from '../attachments/attachments.ts';
import { copyVerified } from '../attachments/copy.ts';
import type { Moves, OngoingMove } from '../attachments/moves.ts';
import { contentTypeOf } from '../attachments/naming.ts';
import { PlaceFailures } from '../attachments/place-failures.ts';
import { StorageError, toStorageError } from '../errors.ts';
import {
  attachmentsOf,
  descendantsOf,
  type IndexedAttachment,
  type OrthancApi,
  parentsOf,
  type Resource,
} from '../orthanc/api.ts';
import { abortReason, createAbortController, sleepUntilAborted } from '../store/abort.ts';
import { forEachAtOnce, Semaphore } from '../store/limit.ts';
import { once } from '../store/once.ts';
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
} from './progress.ts';

export const MOVE_JOB_TYPE = 'MoveStorage';

export interface MoveDependencies {
  readonly api: OrthancApi;
  readonly stores: Readonly<Record<MoveTarget, AttachmentStore>>;
  readonly moves: Moves;
  /** Undefined if the names in both stores differ. The stores may then share a place. */
  readonly requireTwoPlaces: RequireTwoPlaces | undefined;
  /** Milliseconds before the second, third, … attempt at an attachment. */
  readonly retryDelaysMs?: readonly number[];
  /** How long a step works before Orthanc may pause or cancel the job. */
  readonly stepMs?: number;
}

/** Throws BAD_CONFIG if both stores are one place: a move would remove what it has just copied.
 *  @param options a longer `patienceMs` gives a more reliable answer */
export type RequireTwoPlaces = (options: {
  readonly signal: AbortSignal;
  readonly patienceMs: number;
}) => Promise<void>;

const RETRY_DELAYS_MS = [1_000, 4_000];
const STEP_MS = 400;
/** So many resources are moved at once. */
const AT_ONCE = 8;
/** Larger attachments are moved one at a time: each keeps network and disk busy, and has some parts in memory. */
const LARGE_BYTES = 32 * 1024 * 1024;
/** A mount with a cache writes to the bucket later: rclone after 5 s, gateways somewhat later. */
const PLACE_PATIENCE_MS = 30_000;

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
        move = new Move(deps, parseProgress(serialized));
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

/** For jobs from a time when HybridMode was on. Orthanc has kept them. */
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

/** One job. It works in the background as soon as it is constructed. */
class Move {
  readonly #api: OrthancApi;
  readonly #stores: MoveDependencies['stores'];
  readonly #source: AttachmentStore;
  readonly #target: AttachmentStore;
  readonly #moves: Moves;
  readonly #retryDelaysMs: readonly number[];
  readonly #controller = createAbortController();
  readonly #signal = this.#controller.signal;
  readonly #large = new Semaphore(1);
  readonly #placeFailures = new PlaceFailures();
  /** Each check is made once for all attachments. */
  readonly #placeChecks: { quick(): Promise<void>; patient(): Promise<void> } | undefined;
  #progress: Progress;
  /** Of the current resource's family, from 0 to 1. */
  #fraction = 0;
  /** Resolves when all work has ended. */
  readonly #over: Promise<void>;
  #hasEnded = false;
  /** Of the step that waits. */
  #endWait: () => void = () => undefined;

  constructor(deps: MoveDependencies, begun: Progress) {
    const { stores, moves, requireTwoPlaces } = deps;
    this.#api = abortingOnShutdown(deps.api, this.#controller);
    this.#stores = stores;
    this.#source = stores[begun.target === 'file-system' ? 'object-storage' : 'file-system'];
    this.#target = stores[begun.target];
    this.#moves = moves;
    this.#retryDelaysMs = deps.retryDelaysMs ?? RETRY_DELAYS_MS;
    this.#progress = begun;
    if (requireTwoPlaces !== undefined) {
      const check = (patienceMs: number) =>
        once(
          () => requireTwoPlaces({ signal: this.#signal, patienceMs }),
          (failure) => toStorageError(failure).code === 'BAD_CONFIG',
        );
      this.#placeChecks = { quick: check(0), patient: check(PLACE_PATIENCE_MS) };
    }
    this.#over = this.#moveAll()
      .catch(() => undefined)
      .finally(() => {
        this.#hasEnded = true;
        if (this.#isOver) this.#endWait();
      });
  }

  /** Not where Orthanc has stopped before the job was done. */
  get #isOver(): boolean {
    return this.#hasEnded && !isInterrupted(this.#signal);
  }

  async wait(ms: number): Promise<StepResult> {
    if (!this.#isOver) {
      // A job takes a million steps: none of them may leave anything behind, such as a reaction to #over.
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, ms);
        this.#endWait = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    if (!this.#isOver) return { status: StepStatus.Continue, state: this.#state() };
    const { counts, resources, resourcesDone } = this.#progress;
    const isDone = counts.failed === 0 && resourcesDone === resources.length;
    return { status: isDone ? StepStatus.Success : StepStatus.Failure, state: this.#state() };
  }

  async stop(): Promise<JobState> {
    this.#controller.abort(new StorageError('ABORTED', 'the job was stopped'));
    await this.#over;
    return this.#state();
  }

  #state(): JobState {
    return stateOf(this.#progress, this.#fraction);
  }

  #count(outcome: Outcome): void {
    this.#progress = { ...this.#progress, ...addOutcomes(this.#progress, outcome) };
  }

  /** Moves several at once. The progress counts them in order, up to the first one that is not done. */
  async #moveAll(): Promise<void> {
    const done = new Map<number, { readonly member: Member; readonly outcome: Outcome }>();
    let begun = 0;
    let counted = 0;
    await forEachAtOnce(this.#members(), AT_ONCE, async (member) => {
      const number = begun;
      begun += 1;
      const { resource, failure = NOTHING } = member;
      const outcome = resource === undefined ? failure : await this.#moveResource(resource);
      done.set(number, { member, outcome });
      for (let next = done.get(counted); next !== undefined; next = done.get(counted)) {
        done.delete(counted);
        counted += 1;
        this.#count(next.outcome);
        this.#advance(next.member);
      }
    });
  }

  #advance({ resource, isLast = false, fraction = 0 }: Member): void {
    const { resourcesDone } = this.#progress;
    this.#progress = isLast
      ? { ...this.#progress, resourcesDone: resourcesDone + 1, lastDone: undefined }
      : { ...this.#progress, lastDone: resource?.id };
    this.#fraction = fraction;
  }

  /** Of all families that are not done, in their order: small ones are moved at the same time. */
  async *#members(): AsyncGenerator<Member> {
    const { resources, resourcesDone, lastDone } = this.#progress;
    /** Ids of the parents of families before: many in the list have the same study and patient. */
    const above = new Set<string>();
    for (const [index, wanted] of resources.slice(resourcesDone).entries()) {
      if (this.#signal.aborted) throw abortReason(this.#signal);
      let family: readonly Resource[] = [];
      let failure: Outcome | undefined;
      try {
        const parents = await parentsOf(this.#api, wanted);
        const unmoved = parents.filter(({ id }) => !above.has(id));
        family = [...unmoved, ...(await descendantsOf(this.#api, wanted))];
        for (const { id } of parents) above.add(id);
      } catch (error) {
        if (this.#signal.aborted) throw abortReason(this.#signal);
        failure = failedAsWhole(wanted, error);
      }
      // From the start if the last one is gone. What was moved already is then counted as such.
      const start = index === 0 ? family.findIndex(({ id }) => id === lastDone) + 1 : 0;
      for (const [position, resource] of family.slice(0, -1).entries()) {
        if (position >= start) yield { resource, fraction: (position + 1) / family.length };
      }
      yield { resource: start < family.length ? family.at(-1) : undefined, failure, isLast: true };
    }
  }

  async #moveResource(resource: Resource): Promise<Outcome> {
    let outcome = NOTHING;
    try {
      for (const attachment of await attachmentsOf(this.#api, resource)) {
        const work = () => this.#moveAttachment(attachment);
        const isLarge = attachment.contentBytes > LARGE_BYTES;
        const one = await (isLarge ? this.#large.run(this.#signal, work) : work());
        outcome = addOutcomes(outcome, one);
      }
    } catch (error) {
      if (this.#signal.aborted) throw abortReason(this.#signal);
      outcome = addOutcomes(outcome, failedAsWhole(resource, error));
    }
    return outcome;
  }

  async #moveAttachment(indexed: IndexedAttachment): Promise<Outcome> {
    const ongoing = await this.#moves.begin(indexed.uuid, { signal: this.#signal });
    try {
      for (let attempt = 0; ; attempt += 1) {
        try {
          const counts = addCounts(NO_COUNTS, await this.#moveOnce(indexed, ongoing));
          this.#placeFailures.succeeded();
          return { counts, failures: [] };
        } catch (error) {
          if (this.#signal.aborted) throw abortReason(this.#signal);
          const failure = toStorageError(error);
          const isGone = failure.code === 'NOT_FOUND' && !(await this.#isStillIndexed(indexed));
          if (isGone) return { counts: { ...NO_COUNTS, deletedMeanwhile: 1 }, failures: [] };
          this.#noteFailure(indexed.resource, failure);
          const delayMs = this.#retryDelaysMs[attempt];
          if (delayMs === undefined || failure.code === 'BAD_CONFIG') {
            return failed(indexed, failure);
          }
          await sleepUntilAborted(delayMs, this.#signal);
        }
      }
    } finally {
      ongoing.end();
    }
  }

  async #moveOnce(indexed: IndexedAttachment, ongoing: OngoingMove): Promise<Partial<Counts>> {
    const { uuid, contentType, contentBytes, md5Hex } = indexed;
    const attachment: Attachment = { uuid, contentType: contentTypeOf(contentType) };
    const options = { signal: this.#signal };
    // Orthanc has removed the attachment before the copy was complete.
    const removeCopy = async () => {
      await this.#target.remove(attachment, options);
      return { deletedMeanwhile: 1 };
    };
    if (ongoing.wasRemoved()) return await removeCopy();
    await this.#requireTwoPlaces(attachment);
    let sizeBytes: number;
    try {
      const expected = { sizeBytes: contentBytes, md5Hex };
      const copy = { attachment, from: this.#source, to: this.#target, expected };
      ({ sizeBytes } = await copyVerified(copy, options));
    } catch (error) {
      if (toStorageError(error).code !== 'NOT_FOUND') throw error;
      const found = await this.#target.find(attachment, options);
      if (found === undefined) throw error;
      if (found.isDamaged !== true) return { alreadyThere: 1 };
      throw new StorageError('INTEGRITY', `"${found.key}" was cut or altered`, { key: found.key });
    }
    if (ongoing.wasRemoved()) return await removeCopy();
    await this.#source.remove(attachment, options);
    return { moved: 1, movedBytes: sizeBytes };
  }

  /** Both stores may show an attachment because an earlier move was interrupted, or because they are one place. Only then is the patient
   *  check needed. */
  async #requireTwoPlaces(attachment: Attachment): Promise<void> {
    if (this.#placeChecks === undefined) return;
    await this.#placeChecks.quick();
    for (const side of ['file-system', 'object-storage'] as const) {
      const found = await this.#stores[side].find(attachment, { signal: this.#signal });
      if (found === undefined) return;
    }
    await this.#placeChecks.patient();
  }

  async #isStillIndexed({ resource, uuid }: IndexedAttachment): Promise<boolean> {
    const attachments = await attachmentsOf(this.#api, resource);
    return attachments.some((attachment) => attachment.uuid === uuid);
  }

  /** Too many failures in a row end the move, since the rest would fail, too. */
  #noteFailure(resource: Resource, failure: StorageError): void {
    try {
      this.#placeFailures.add(failure);
    } catch (error) {
      this.#count(failedAsWhole(resource, error));
      this.#controller.abort(error);
      throw error;
    }
  }
}

const NOTHING: Outcome = { counts: NO_COUNTS, failures: [] };

/** A resource with its parents and all below it is a family. */
interface Member {
  /** undefined: there is nothing left to be moved. */
  readonly resource: Resource | undefined;
  /** Orthanc could not tell the family. */
  readonly failure?: Outcome | undefined;
  /** Of its family. */
  readonly isLast?: boolean;
  /** Of its family, up to this one; from 0 to 1. */
  readonly fraction?: number;
}

function failedAsWhole(resource: Resource, error: unknown): Outcome {
  return failed({ resource, name: '', uuid: '' }, toStorageError(error));
}

/** Ends the move as soon as Orthanc refuses a call because it is stopping. Orthanc keeps the job as it was after its last step. When the
 *  job goes on, it finds the files that were moved or copied since. */
function abortingOnShutdown(api: OrthancApi, controller: AbortController): OrthancApi {
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

/** Whether Orthanc stopped before the job was done. */
function isInterrupted(signal: AbortSignal): boolean {
  return signal.aborted && toStorageError(signal.reason).code === 'CLOSED';
}
