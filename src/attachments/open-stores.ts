// SPDX-License-Identifier: GPL-3.0-or-later

import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type {
  NamingSettings,
  PluginSettings,
  ProviderSettings,
  StoreDependencies,
} from '../config/settings.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { mayPass } from '../http/retry.ts';
import { FolderOnDisk } from '../local/disk.ts';
import type { RunFileSteps } from '../local/file-steps.ts';
import {
  checkDirectory,
  checkNothingLeft,
  isUsed,
  type LockFolder,
  openFolder,
  PLACE_FILE,
  requireNothingLeft,
} from '../local/folder.ts';
import { createLocalCache, type LocalCache } from '../local/local-cache.ts';
import { checkNoted, type LockFile, openRemovals } from '../local/open-removals.ts';
import { createPendingView } from '../local/pending-view.ts';
import type { Removals } from '../local/removals.ts';
import { journalPath, REMOVALS_FOLDER } from '../local/removals-journal.ts';
import { createRemovalsView } from '../local/removals-view.ts';
import type { Logger } from '../log.ts';
import { createFileSystemStore, createStore } from '../providers/index.ts';
import { withCheckTimeout } from '../store/check-timeout.ts';
import { withDeadline } from '../store/deadline.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { ORTHANC_NAMING, parseKey } from './naming.ts';
import { mayBeOnePlace, requireTwoPlaces } from './same-place.ts';

export interface Stores {
  readonly objects: ObjectStore;
  /** What `objects` works with: with DeleteInBackground, or while removals of before are left. */
  readonly removals?: Removals | undefined;
  /** With LocalCache: what `objects` works with. */
  readonly cache?: LocalCache | undefined;
  /** With LocalCache, whoever has the folder: whether an object is on this disk only. */
  readonly isPending?: ((key: string) => Promise<boolean>) | undefined;
  readonly files: ObjectStore | undefined;
}

type Dependencies = Omit<StoreDependencies, 'probePrefix' | 'readsSeveralNames'> & {
  /** Only of Orthanc, which carries out what is noted on this disk, and whose folder LocalCache.Directory is. Others look at them. */
  readonly lockFile?: LockFile;
  /** Of "cache flush", in Orthanc's place. */
  readonly lockFolder?: LockFolder;
  /** Only of Orthanc: the shim's. */
  readonly runFileSteps?: RunFileSteps;
};

export async function openStores(
  settings: PluginSettings,
  provider: ProviderSettings,
  deps: Dependencies,
): Promise<Stores> {
  const { hybrid, requestTimeoutMs } = settings;
  return {
    ...(await openObjects(settings, provider, deps)),
    files:
      hybrid === undefined
        ? undefined
        : withDeadline(createFileSystemStore(hybrid.fileSystem), requestTimeoutMs),
  };
}

/** Opens and checks the provider's store only. @throws as `checkStores` */
export async function openCheckedObjects(
  settings: PluginSettings,
  provider: ProviderSettings,
  deps: Dependencies,
): Promise<ObjectStore> {
  const { objects } = await openObjects(settings, provider, deps);
  await checkStores({ objects, files: undefined }, settings.naming, deps.log);
  return objects;
}

/** Of libuv's, for LocalCache.Directory; where StorageDirectory takes some as well, fewer. */
const THREADS = 12;
const SHARED_THREADS = 3;

/** The bucket, behind it removals in the background, and LocalCache in front of both. */
async function openObjects(
  settings: PluginSettings,
  provider: ProviderSettings,
  deps: Dependencies,
): Promise<Omit<Stores, 'files'>> {
  const { naming, hybrid, encryption, localCache, requestTimeoutMs } = settings;
  const storageDirectory = storageDirectoryOf(settings);
  const { log, lockFile, runFileSteps } = deps;
  const store = await createStore(provider, {
    ...deps,
    probePrefix: naming.rootPath,
    readsSeveralNames:
      hybrid !== undefined || encryption !== undefined || naming.legacyUnknownFiles,
  });
  const lockFolder =
    deps.lockFolder ?? (lockFile === undefined ? undefined : untilTheEnd(lockFile));
  let unlock: (() => Promise<void>) | undefined;
  const isNew = localCache !== undefined && !(await isUsed(localCache.directory));
  try {
    // Before removals are noted in the same folder.
    if (localCache !== undefined && lockFolder !== undefined) {
      unlock = await openFolder(localCache.directory, placeNameOf(provider, naming), lockFolder);
    }
    if (lockFile !== undefined && lockFolder !== undefined && storageDirectory !== undefined) {
      await requireNothingLeft(storageDirectory, localCache?.directory, {
        lockFolder,
        log,
        isNew,
        mayMake: hybrid === undefined,
      });
    }
    const { objects: bucket, removals } = await openRemoved(store, settings, provider, deps);
    if (localCache === undefined) return { objects: bucket, removals };
    if (unlock === undefined) {
      const view = createPendingView(bucket, localCache, (reason) => {
        log.warning(
          `${reason}: what is pending there counts as missing; run this on Orthanc's machine, as its user`,
        );
      });
      return { objects: view, isPending: (key) => view.isPending(key) };
    }
    const { directory } = localCache;
    const maxAtOnce = hybrid === undefined ? THREADS : SHARED_THREADS;
    const disk = new FolderOnDisk(directory, { maxAtOnce, runFileSteps });
    const cache = await createLocalCache({
      settings: localCache,
      bucket,
      disk,
      log,
      unlock,
    });
    return {
      objects: withDeadline(cache, requestTimeoutMs),
      removals,
      cache,
      isPending: (key) => Promise.resolve(cache.isPending(key)),
    };
  } catch (error) {
    await store.close();
    await unlock?.();
    throw error;
  }
}

async function openRemoved(
  store: ObjectStore,
  { removals: settings, requestTimeoutMs, lanes }: PluginSettings,
  provider: ProviderSettings,
  { log, lockFile }: Dependencies,
): Promise<Pick<Stores, 'objects' | 'removals'>> {
  const bucket = nameForRemovals(provider);
  if (lockFile === undefined) {
    const paths = settings.folders.map((folder) =>
      journalPath(join(folder, REMOVALS_FOLDER), bucket),
    );
    const objects = createRemovalsView(store, paths, (reason) => {
      // Otherwise there is hardly anything in it, and not everybody may look.
      if (!settings.isOn) return;
      log.warning(
        `${reason}: what Orthanc has removed and is still to carry out in the bucket counts as stored; run this on Orthanc's machine, as its user`,
      );
    });
    return { objects };
  }
  const limits = { requestTimeoutMs, lanes };
  const removals = await openRemovals({ settings, bucket, store, log, lockFile, ...limits });
  return { objects: removals?.store ?? store, removals };
}

/** By which journals of removals tell buckets apart. Keys have RootPath in them. */
export function nameForRemovals({ kind, place, bucket }: ProviderSettings): string {
  return [kind, place, bucket].join(' ');
}

/** Given back by the system when the process ends, and by the shim when its runtime does. */
function untilTheEnd(lockFile: LockFile): LockFolder {
  return (path) => Promise.resolve(lockFile(path) ? () => Promise.resolve() : undefined);
}

function storageDirectoryOf({ hybrid, unreadFolder }: PluginSettings): string | undefined {
  return hybrid?.fileSystem.folder ?? unreadFolder;
}

function placeNameOf(provider: ProviderSettings, naming: NamingSettings): string {
  return `${bucketNameOf(provider, naming)} (${naming.structure})`;
}

/** What only Orthanc opens: LocalCache.Directory, the one of before, and what is noted to be removed. Changes nothing.
 *  @throws StorageError BAD_CONFIG if Orthanc would refuse it */
export async function checkLocalFolders(
  settings: PluginSettings,
  provider: ProviderSettings,
): Promise<void> {
  const { localCache, naming, removals, lanes } = settings;
  if (localCache !== undefined) {
    await checkDirectory(localCache.directory, placeNameOf(provider, naming));
  }
  const storageDirectory = storageDirectoryOf(settings);
  if (storageDirectory !== undefined) {
    await checkNothingLeft(storageDirectory, localCache?.directory);
  }
  await checkNoted(removals.folders, nameForRemovals(provider), lanes);
}

/** Differs for each bucket, and holds no secret. */
export function bucketNameOf(provider: ProviderSettings, { rootPath }: NamingSettings): string {
  const parts = [provider.kind, provider.place, provider.bucket, rootPath];
  return parts.filter((part) => part !== '').join(' ');
}

/** How to wait for a store that cannot be reached. */
export interface Patience {
  /** StartTimeout; 0: does not wait. */
  readonly timeoutMs: number;
  readonly onWait: () => void;
}

/** Resolves when the stores can be used. Closes them if they cannot.
 *  @throws StorageError that names the setting to change */
export async function checkStores(
  stores: Stores,
  naming: NamingSettings,
  log: Logger,
  patience: Patience = { timeoutMs: 0, onWait: () => undefined },
): Promise<void> {
  const { objects, files } = stores;
  try {
    await checkPatiently(objects, log, patience);
    if (files === undefined) return;
    await checkFolder({ files, objects }, naming);
    // The mount point of a disk that is not mounted looks like a new folder.
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

const ATTEMPT_INTERVAL_MS = 1_000;
const WAITING_NOTICE_MS = 10_000;

/** When a machine boots, the network, the name server or the store may start later than Orthanc. */
async function checkPatiently(
  store: ObjectStore,
  log: Logger,
  { timeoutMs, onWait }: Patience,
): Promise<void> {
  const { signal } = new AbortController();
  const startMs = performance.now();
  let noticeMs = 0;
  for (;;) {
    try {
      await store.check({ signal });
      return;
    } catch (thrown) {
      const error = toStorageError(thrown);
      const waitedMs = performance.now() - startMs;
      if (timeoutMs === 0 || !mayPass(error)) throw error;
      if (waitedMs + ATTEMPT_INTERVAL_MS > timeoutMs) throw waitedInVain(error, timeoutMs);
      if (waitedMs >= noticeMs) {
        noticeMs += WAITING_NOTICE_MS;
        const soFar = `${Math.floor(waitedMs / 1000)} of ${timeoutMs / 1000} s (StartTimeout)`;
        log.warning(`Orthanc's start waits for the store, ${soFar} so far: ${error.message}`);
      }
    }
    onWait();
    await setTimeout(ATTEMPT_INTERVAL_MS);
  }
}

function waitedInVain(error: StorageError, timeoutMs: number): StorageError {
  const { code, message, key, requestId } = error;
  return new StorageError(code, `${message}; waited for ${timeoutMs / 1000} s (StartTimeout)`, {
    key,
    requestId,
    cause: error,
  });
}

/** @throws StorageError if the folder cannot be used or is the bucket itself */
export async function checkFolder(
  places: { readonly files: ObjectStore; readonly objects: ObjectStore },
  naming: NamingSettings,
): Promise<void> {
  // Stores limit the time of their checks themselves.
  const { signal } = new AbortController();
  await places.files.check({ signal });
  if (!mayBeOnePlace(naming)) return;
  await withCheckTimeout(
    'whether StorageDirectory is the bucket itself',
    () => ({ name: 'the disk or the bucket', settings: 'StorageDirectory' }),
    signal,
    (limited) => requireTwoPlaces(places, naming, { signal: limited }),
  );
}

export async function closeStores({ objects, files }: Stores): Promise<void> {
  await Promise.all([objects.close(), files?.close()]);
}

/** Orthanc's start waits for it. It is enough to find one file. */
const LOOK_TIMEOUT_MS = 1_000;

/** Finds files from before the plugin was installed: Orthanc's index lists them, but nothing reads their folder any more.
 *  @returns a warning, if there are such files */
export async function describeUnreadFiles({
  unreadFolder: folder,
  provider,
}: PluginSettings): Promise<string | undefined> {
  if (folder === undefined || provider === undefined) return undefined;
  const files = createFileSystemStore({ folder, isSynchronous: false });
  try {
    const signal = AbortSignal.timeout(LOOK_TIMEOUT_MS);
    for await (const { key } of files.list('', { signal })) {
      if (parseKey(key, ORTHANC_NAMING) === undefined) continue;
      return `StorageDirectory: "${folder}" holds attachments, such as ${key}, but ${provider.section}.HybridMode is "Disabled": images that are only there answer 404. Write "HybridMode": "WriteToObjectStorage" until "migrate" or /move-storage has brought them into the bucket. If that is done, they are copies, which a DELETE leaves there: "verify --disk" tells which are still needed, docs/migrating.md how to remove the others`;
    }
  } catch {
    // No folder, or a disk that does not answer: there is nothing to warn of.
  } finally {
    await files.close();
  }
  return undefined;
}

/** But for what the plugin itself makes there. */
async function isEmpty(store: ObjectStore): Promise<boolean> {
  for await (const { key } of store.list('', { signal: new AbortController().signal })) {
    if (!key.startsWith(PLACE_FILE) && !key.startsWith(REMOVALS_FOLDER)) return false;
  }
  return true;
}
