// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import { linkSignals } from './abort.ts';

/** Orthanc waits for the check at its start. */
const CHECK_TIMEOUT_MS = 9_000;

/** @param subject such as `S3 bucket "images"`
 *  @param target whom no answer came from, and what to correct then */
export async function withCheckTimeout(
  subject: string,
  target: { readonly name: string; readonly settings: string },
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const link = linkSignals(signal);
  const timer = setTimeout(() => {
    link.controller.abort(
      new StorageError(
        'TIMEOUT',
        `cannot check ${subject}: no answer from ${target.name} within ${CHECK_TIMEOUT_MS / 1000} s; correct ${target.settings}, or look for a firewall or proxy between`,
      ),
    );
  }, CHECK_TIMEOUT_MS);
  try {
    await work(link.controller.signal);
  } finally {
    clearTimeout(timer);
    link.release();
  }
}
