// SPDX-License-Identifier: GPL-3.0-or-later
// Notes how far a rekey has come, so that it can resume after Ctrl-C or a crash.

import { rmSync } from 'node:fs';
import { badConfig } from '../../errors.ts';
import { parseJson, readStateFile, requireWritable, writeStateFile } from '../common/files.ts';
import type { RekeyedObject, RekeyOutcome } from './rekey.ts';

export interface RekeyProgress {
  /** All keys up to this one, in the order of their UTF-8 bytes, are done, except the failed ones. */
  readonly doneUpTo: string | undefined;
  readonly counts: Readonly<Record<RekeyOutcome, number>>;
  readonly bytes: number;
  readonly failures: Readonly<Record<string, string>>;
}

export type RekeyState = ReturnType<typeof openRekeyState>;

/** That are named. Where a key is missing, millions of objects may fail. */
const FAILURES_MAX = 10_000;
/** Since version 2 the task names the bucket. */
const VERSION = 2;
const NONE: RekeyProgress = {
  doneUpTo: undefined,
  counts: { foreign: 0, kept: 0, rekeyed: 0, gone: 0, failed: 0 },
  bytes: 0,
  failures: {},
};

/** @param path undefined: nothing is saved
 *  @param task what the run does; the state of another task is refused
 *  @throws StorageError BAD_CONFIG, also if the file could not be written later */
export function openRekeyState(path: string | undefined, task: object) {
  const found = path === undefined ? NONE : read(path, JSON.stringify(task));
  const counts = { ...found.counts, failed: 0 };
  const retried = new Set(Object.keys(found.failures));
  const failures: Record<string, string> = {};
  let { doneUpTo, bytes } = found;
  /** The last key of the earlier run. */
  let position = doneUpTo;
  let isOrdered = true;

  /** S3's directory buckets list in no order. A key then tells nothing about others, and each header is read again. */
  function noteDisorder(): void {
    isOrdered = false;
    position = undefined;
    doneUpTo = undefined;
  }

  function progress(): RekeyProgress {
    return { doneUpTo, counts, bytes, failures };
  }

  const state = {
    progress,
    /** @returns whether an object can be skipped; call it with each key of a listing, in its order */
    beginListing(): (key: string) => boolean {
      let last: string | undefined;
      return (key) => {
        if (last !== undefined && compare(key, last) < 0) noteDisorder();
        last = key;
        return position !== undefined && compare(key, position) <= 0 && !retried.has(key);
      };
    },
    add({ key, sizeBytes, outcome, failure }: RekeyedObject): void {
      counts[outcome] += 1;
      if (outcome === 'rekeyed') bytes += sizeBytes;
      const isNamed = counts.failed <= FAILURES_MAX;
      if (failure !== undefined && isNamed) failures[key] = failure.message;
      if (retried.delete(key)) return;
      if (doneUpTo !== undefined && compare(key, doneUpTo) < 0) noteDisorder();
      // Otherwise, the next run begins where this one could name no more.
      if (isOrdered && isNamed) doneUpTo = key;
    },
    /** @throws StorageError BAD_CONFIG where it cannot be written */
    save(): void {
      if (path === undefined) return;
      // Keeps the failures of the earlier run that were not tried again yet.
      const untried = Object.fromEntries([...retried].map((key) => [key, found.failures[key]]));
      const saved = { ...progress(), failures: { ...untried, ...failures } };
      const text = JSON.stringify({ version: VERSION, task, progress: saved }, undefined, 1);
      writeStateFile(path, `${text}\n`);
    },
    /** Call it at the end of the bucket. Keeps the file only if objects failed. */
    finish(): void {
      if (counts.failed > 0) state.save();
      else if (path !== undefined) rmSync(path, { force: true });
    },
  };
  return state;
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function read(path: string, task: string): RekeyProgress {
  requireWritable(path);
  const text = readStateFile(path);
  if (text === undefined) return NONE;
  const state = parseJson(text) as
    | { version?: number; task?: object; progress?: Partial<RekeyProgress> }
    | null
    | undefined;
  if (state?.version === 1) {
    throw badConfig(
      `${path}: is of an earlier version of rekey, which did not note the bucket that it is of; remove it and begin anew: what is encrypted anew already is left as it is`,
    );
  }
  if (state?.version !== VERSION || JSON.stringify(state.task) !== task) {
    throw badConfig(
      `${path}: is the state of another run; remove it to begin anew, or name another file`,
    );
  }
  return { ...NONE, ...state.progress };
}
