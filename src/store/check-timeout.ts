// SPDX-License-Identifier: GPL-3.0-or-later

import { type StorageError, toStorageError } from '../errors.ts';
import type { Signal } from './abort.ts';
import { timeUp, withTimeLimit } from './deadline.ts';

/** Orthanc waits for the check at its start. */
const CHECK_TIMEOUT_MS = 9_000;

export interface AwaitedServer {
  readonly name: string;
  /** The settings that may be wrong if it does not answer. */
  readonly settings: string | undefined;
}

/** @param subject such as `S3 bucket "images"`
 *  @param describeWait called when time is up; returns the server that the check waits for
 *  @param explain makes a message of a failed attempt that is repeated */
export async function withCheckTimeout(
  subject: string,
  describeWait: () => AwaitedServer,
  signal: Signal,
  work: (signal: Signal) => Promise<void>,
  explain: (failure: unknown) => StorageError = toStorageError,
): Promise<void> {
  let last: StorageError | undefined;
  await withTimeLimit(CHECK_TIMEOUT_MS, signal, work, {
    onFailure: (failure) => {
      const error = explain(failure);
      // The message below already says that no answer came.
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
