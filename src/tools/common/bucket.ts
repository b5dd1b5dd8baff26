// SPDX-License-Identifier: GPL-3.0-or-later
// The bucket, for commands that are told of single objects in it.

import { type ProviderSettings, withNetwork } from '../../config/settings.ts';
import { createStore } from '../../providers/index.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { createCliLogger } from './settings.ts';

/** Somebody waits: half a second of patience, where the plugin has half a minute. */
const RETRIES = 3;

/** Nothing is tried beforehand: the first request tells what is wrong. */
export async function openBucket(provider: ProviderSettings): Promise<ObjectStore> {
  const impatient = withNetwork(provider, { maxRetries: RETRIES });
  return await createStore(impatient, { log: createCliLogger() });
}
