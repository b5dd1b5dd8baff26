// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from './errors.ts';
import type { ObjectStore } from './store/object-store.ts';

// How long a start may take to find out that the store is not to be had: Orthanc's users wait for it. Providers keep a shorter limit
// of their own (9 s), since they know which setting to name.
const CHECK_TIMEOUT_MS = 9_500;

/** Resolves when the store can be used.
 *  @throws StorageError that says which setting to change */
export async function checkStore(store: ObjectStore): Promise<void> {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(
      new StorageError(
        'TIMEOUT',
        `The store did not answer within ${CHECK_TIMEOUT_MS / 1000} s: check the endpoint, the region, proxies and firewalls`,
      ),
    );
  }, CHECK_TIMEOUT_MS);
  try {
    await store.check({ signal: controller.signal });
  } finally {
    clearTimeout(timer);
  }
}
