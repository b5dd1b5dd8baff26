// SPDX-License-Identifier: GPL-3.0-or-later

import { type StorageError, toStorageError } from '../errors.ts';
import { timeUp, withTimeLimit } from './deadline.ts';

/** Orthanc waits for the check at its start. */
const CHECK_TIMEOUT_MS = 9_000;

/** The server that a check waits for. */
export interface AwaitedServer {
  readonly name: string;
  /** What to correct then; undefined where no setting can be wrong. */
  readonly settings: string | undefined;
}

/** @param subject such as `S3 bucket "images"`
 *  @param describeWait asked when time is up
 *  @param explain of an attempt that failed and is repeated */
export async function withCheckTimeout(
  subject: string,
  describeWait: () => AwaitedServer,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
  explain: (failure: unknown) => StorageError = toStorageError,
): Promise<void> {
  let last: StorageError | undefined;
  await withTimeLimit(CHECK_TIMEOUT_MS, signal, work, {
    hear: (failure) => {
      const error = explain(failure);
      // The message is about missing answers already.
      if (error.code !== 'TIMEOUT') last = error;
    },
    describe: () => {
      const { name, settings } = describeWait();
      const correction = settings === undefined ? '' : `correct ${settings}, or `;
      const late =
        last === undefined
          ? `no answer from ${name} within ${CHECK_TIMEOUT_MS / 1000} s; ${correction}look for a firewall or proxy between`
          : `not done within ${CHECK_TIMEOUT_MS / 1000} s`;
      return timeUp(`cannot check ${subject}: ${late}`, last);
    },
  });
}
