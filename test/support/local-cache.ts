// SPDX-License-Identifier: GPL-3.0-or-later
// A LocalCache over a temporary folder, in front of any store.

import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LocalCacheSettings } from '../../src/config/settings.ts';
import { FolderOnDisk, type FolderOptions } from '../../src/local/disk.ts';
import { runStepsByNode } from '../../src/local/file-steps.ts';
import { createLocalCache, type LocalCache } from '../../src/local/local-cache.ts';
import { FOLDERS } from '../../src/local/names.ts';
import type { Logger } from '../../src/log.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { once } from '../../src/store/once.ts';
import { native } from './native.ts';
import { makeLogger } from './settings.ts';

/** The shim's, where there is one. */
export const runFileSteps = native?.runFileSteps ?? runStepsByNode;

export const makeDisk = (directory: string, options: FolderOptions = {}): FolderOnDisk =>
  new FolderOnDisk(directory, { runFileSteps, ...options });

export interface TestFolder {
  readonly path: string;
  remove(): Promise<void>;
}

export async function makeFolder(): Promise<TestFolder> {
  const path = await mkdtemp(join(tmpdir(), 'oos-local-'));
  for (const folder of FOLDERS) await mkdir(join(path, folder));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

export interface CacheOptions extends Partial<LocalCacheSettings> {
  readonly log?: Logger;
}

export async function openCache(
  bucket: ObjectStore,
  directory: string,
  { log = makeLogger(), ...changes }: CacheOptions = {},
): Promise<LocalCache> {
  const settings: LocalCacheSettings = {
    directory,
    maxBytes: 1024 * 1024 * 1024,
    writeBack: true,
    uploadConcurrency: 8,
    isSynchronous: false,
    stopTimeoutMs: 0,
    ...changes,
  };
  const disk = makeDisk(directory);
  return await createLocalCache({
    settings,
    bucket,
    disk,
    log,
    unlock: () => Promise.resolve(),
  });
}

/** Opened and started when it is first used, with a folder of its own. */
export function cached(bucket: ObjectStore, options: CacheOptions = {}): ObjectStore {
  const open = once(async () => {
    const folder = await makeFolder();
    const cache = await openCache(bucket, folder.path, options);
    cache.start();
    return { cache, folder };
  });
  return {
    put: async (...request) => (await open()).cache.put(...request),
    get: async (...request) => (await open()).cache.get(...request),
    head: async (...request) => (await open()).cache.head(...request),
    delete: async (...request) => (await open()).cache.delete(...request),
    list: async function* (...request) {
      yield* (await open()).cache.list(...request);
    },
    check: async (...request) => (await open()).cache.check(...request),
    close: async () => {
      const { cache, folder } = await open();
      await cache.close();
      await folder.remove();
    },
  };
}
