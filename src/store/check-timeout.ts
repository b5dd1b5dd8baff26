// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import { linkSignals, untilAborted } from './abort.ts';

/** Orthanc waits for the check at its start. */
const CHECK_TIMEOUT_MS = 9_000;

/** Whom no answer came from. */
export interface Silent {
  readonly name: string;
  /** What to correct then; undefined: all that a user could say of it is right, or is somebody else's. */
  readonly settings: string | undefined;
}

/** @param subject such as `S3 bucket "images"`
 *  @param describeWait asked when time is up */
export async function withCheckTimeout(
  subject: string,
  describeWait: () => Silent,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const link = linkSignals(signal);
  const timer = setTimeout(() => {
    const { name, settings } = describeWait();
    const correction = settings === undefined ? '' : `correct ${settings}, or `;
    link.controller.abort(
      new StorageError(
        'TIMEOUT',
        `cannot check ${subject}: no answer from ${name} within ${CHECK_TIMEOUT_MS / 1000} s; ${correction}look for a firewall or proxy between`,
      ),
    );
  }, CHECK_TIMEOUT_MS);
  try {
    // Not all that gives out credentials listens to a signal.
    await untilAborted(work(link.controller.signal), link.controller.signal);
  } finally {
    clearTimeout(timer);
    link.release();
  }
}
