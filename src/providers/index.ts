// SPDX-License-Identifier: GPL-3.0-or-later
// The providers, each a folder and a line here. Its code, and so its SDK, is loaded only when it is configured.

import type { Fields, Provider, ProviderSection } from '../config/sections.ts';
import type { NetworkSettings, ProviderSettings, StoreDependencies } from '../config/settings.ts';
import { withDeadline } from '../store/deadline.ts';
import { withLimit } from '../store/limit.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { azureSection, oldAzureSection } from './azure/settings.ts';
import { googleSection } from './google/settings.ts';
import { s3Section } from './s3/settings.ts';

export { createFileSystemStore } from './filesystem/store.ts';

const loadAzure = async () => (await import('./azure/store.ts')).createAzureStore;

export const PROVIDERS: readonly Provider[] = [
  defineProvider(s3Section, async () => (await import('./s3/store.ts')).createS3Store),
  defineProvider(azureSection, loadAzure),
  defineProvider(oldAzureSection, loadAzure),
  defineProvider(googleSection, async () => (await import('./google/store.ts')).createGoogleStore),
];

/** @param load imports what makes a store of the section's settings */
export function defineProvider<Settings extends NetworkSettings, F extends () => Fields>(
  section: ProviderSection<Settings, F>,
  load: () => Promise<(settings: Settings, deps: StoreDependencies) => ObjectStore>,
): Provider {
  return {
    ...section,
    open: async (settings: Settings, deps) => (await load())(settings, deps),
  };
}

/** The configured provider's store, under the settings' limits: at most MaxConnections operations at once beside removals, none longer
 *  than RequestTimeout, its wait for a connection included. */
export async function createStore(
  provider: ProviderSettings,
  deps: StoreDependencies,
): Promise<ObjectStore> {
  const { maxConnections, requestTimeoutMs } = provider.settings;
  const store = await provider.open(provider.settings, deps);
  return withDeadline(withLimit(store, maxConnections), requestTimeoutMs);
}
