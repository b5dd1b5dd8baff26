// SPDX-License-Identifier: GPL-3.0-or-later
// From settings to a store. Each provider's folder, and so its SDK, is loaded only when it is configured.

import type { NetworkSettings, ProviderSettings } from '../config/settings.ts';
import type { Logger } from '../log.ts';
import { withDeadline } from '../store/deadline.ts';
import { withLimit } from '../store/limit.ts';
import type { ObjectStore } from '../store/object-store.ts';

export { createFileSystemStore } from './filesystem/store.ts';

export interface ProviderDependencies {
  readonly log: Logger;
  /** The RootPath: where the check at start may write a probe object. */
  readonly probePrefix?: string;
  /** A file that is not where it is looked for first may be under another name or in another store. */
  readonly readsSeveralNames?: boolean;
  /** True where Orthanc does not verify the MD5 of what it reads. */
  readonly verifyEtag?: boolean;
}

/** The configured provider's store, under the settings' limits: at most MaxConnections operations at once, none longer than
 *  RequestTimeout, its wait for a connection included. */
export async function createStore(
  provider: ProviderSettings,
  deps: ProviderDependencies,
): Promise<ObjectStore> {
  switch (provider.kind) {
    case 's3': {
      const { createS3Store } = await import('./s3/store.ts');
      return withLimits(createS3Store(provider.s3, deps), provider.s3);
    }
    case 'azure': {
      const { createAzureStore } = await import('./azure/store.ts');
      return withLimits(createAzureStore(provider.azure, deps), provider.azure);
    }
    case 'google': {
      const { createGoogleStore } = await import('./google/store.ts');
      return withLimits(createGoogleStore(provider.google, deps), provider.google);
    }
    default:
      return provider satisfies never;
  }
}

function withLimits(store: ObjectStore, settings: NetworkSettings): ObjectStore {
  return withDeadline(withLimit(store, settings.maxConnections), settings.requestTimeoutMs);
}
