// SPDX-License-Identifier: GPL-3.0-or-later
// From settings to a store. Each provider's folder, and so its SDK, is loaded only when it is configured.

import type { ProviderSettings } from '../config/settings.ts';
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
  readonly verifyMd5?: boolean;
}

/** The configured provider's store, under the settings' limits: at most MaxConnections operations at once beside removals, none longer
 *  than RequestTimeout, its wait for a connection included. */
export async function createStore(
  provider: ProviderSettings,
  deps: ProviderDependencies,
): Promise<ObjectStore> {
  const { maxConnections, requestTimeoutMs } = provider.settings;
  const store = await createBareStore(provider, deps);
  return withDeadline(withLimit(store, maxConnections), requestTimeoutMs);
}

async function createBareStore(
  { kind, settings }: ProviderSettings,
  deps: ProviderDependencies,
): Promise<ObjectStore> {
  switch (kind) {
    case 's3':
      return (await import('./s3/store.ts')).createS3Store(settings, deps);
    case 'azure':
      return (await import('./azure/store.ts')).createAzureStore(settings, deps);
    case 'google':
      return (await import('./google/store.ts')).createGoogleStore(settings, deps);
    default:
      return kind satisfies never;
  }
}
