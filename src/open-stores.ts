// SPDX-License-Identifier: GPL-3.0-or-later

import type { NamingSettings, PluginSettings, ProviderSettings } from './config/settings.ts';
import type { Logger } from './log.ts';
import {
  createFileSystemStore,
  createStore,
  type ProviderDependencies,
} from './providers/index.ts';
import { insistOnTwoPlaces, mayBeOnePlace } from './same-place.ts';
import { withCheckTimeout } from './store/check-timeout.ts';
import { withDeadline } from './store/deadline.ts';
import type { ObjectStore } from './store/object-store.ts';

export interface Stores {
  readonly objects: ObjectStore;
  /** Orthanc's own folder, with hybrid storage. */
  readonly files: ObjectStore | undefined;
}

type Dependencies = Omit<ProviderDependencies, 'probePrefix' | 'readsSeveralNames'>;

/** The stores that attachments lie in, not yet tried. */
export async function openStores(
  settings: PluginSettings,
  provider: ProviderSettings,
  deps: Dependencies,
): Promise<Stores> {
  const { hybrid, requestTimeoutMs } = settings;
  return {
    objects: await openObjects(settings, provider, deps),
    files:
      hybrid === undefined
        ? undefined
        : withDeadline(createFileSystemStore(hybrid.fileSystem), requestTimeoutMs),
  };
}

/** The provider's store alone, tried.
 *  @throws as `checkStores` */
export async function openCheckedObjects(
  settings: PluginSettings,
  provider: ProviderSettings,
  deps: Dependencies,
): Promise<ObjectStore> {
  const objects = await openObjects(settings, provider, deps);
  await checkStores({ objects, files: undefined }, settings.naming, deps.log);
  return objects;
}

function openObjects(
  { naming, hybrid, encryption }: PluginSettings,
  provider: ProviderSettings,
  deps: Dependencies,
): Promise<ObjectStore> {
  return createStore(provider, {
    ...deps,
    probePrefix: naming.rootPath,
    readsSeveralNames:
      hybrid !== undefined || encryption !== undefined || naming.legacyUnknownFiles,
  });
}

/** Resolves when they can be used; else they are closed.
 *  @throws StorageError that says which setting to change */
export async function checkStores(
  stores: Stores,
  naming: NamingSettings,
  log: Logger,
): Promise<void> {
  const { objects, files } = stores;
  try {
    await objects.check({ signal: new AbortController().signal });
    if (files === undefined) return;
    await checkFolder({ files, objects }, naming);
    // Nothing tells a new folder from the mount point of a disk that is not mounted.
    if (await isEmpty(files)) {
      log.warning(
        'StorageDirectory is empty: if files of Orthanc should be in it, mount its disk and restart Orthanc, since they now read as lost',
      );
    }
  } catch (error) {
    await closeStores(stores);
    throw error;
  }
}

/** @throws StorageError where it cannot be used, or is the bucket itself */
export async function checkFolder(
  places: { readonly files: ObjectStore; readonly objects: ObjectStore },
  naming: NamingSettings,
): Promise<void> {
  // Checks of stores keep a time of their own.
  const { signal } = new AbortController();
  await places.files.check({ signal });
  if (!mayBeOnePlace(naming)) return;
  await withCheckTimeout(
    'whether StorageDirectory is the bucket itself',
    () => ({ name: 'the disk or the bucket', settings: 'StorageDirectory' }),
    signal,
    (limited) => insistOnTwoPlaces(places, naming, { signal: limited }),
  );
}

export async function closeStores({ objects, files }: Stores): Promise<void> {
  await Promise.all([objects.close(), files?.close()]);
}

async function isEmpty(store: ObjectStore): Promise<boolean> {
  for await (const _first of store.list('', { signal: new AbortController().signal })) return false;
  return true;
}
