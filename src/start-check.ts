// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from './errors.ts';

// How long a start may take to find out that the store is not to be had: Orthanc's users wait for it. Checks of providers keep a shorter
// limit of their own (9 s), since they know which setting to name.
const START_TIMEOUT_MS = 9_500;

/** Bounds one of the questions at start. */
export async function withStartTimeout(ask: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(
      new StorageError(
        'TIMEOUT',
        `The store did not answer within ${START_TIMEOUT_MS / 1000} s: check the endpoint, the region, proxies and firewalls`,
      ),
    );
  }, START_TIMEOUT_MS);
  try {
    await ask(controller.signal);
  } finally {
    clearTimeout(timer);
  }
}
