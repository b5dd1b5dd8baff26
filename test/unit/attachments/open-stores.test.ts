// SPDX-License-Identifier: GPL-3.0-or-later
// LocalCache and DeleteInBackground, as Orthanc and "cache flush" open them.

import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { openConfiguration } from '../../../src/attachments/open-configuration.ts';
import { closeStores, openStores, type Stores } from '../../../src/attachments/open-stores.ts';
import type { LockFolder } from '../../../src/local/folder.ts';
import { defineProvider } from '../../../src/providers/index.ts';
import { createAbortController } from '../../../src/store/abort.ts';
import { expectFailure, makeBody, makeBytes } from '../../support/bodies.ts';
import { memorySection } from '../../support/memory-provider/settings.ts';
import { makeLogger, type TestLogger } from '../../support/settings.ts';

const providers = [
  defineProvider(
    memorySection,
    async () => (await import('../../support/memory-provider/store.ts')).createShelf,
  ),
];
const options = { signal: createAbortController().signal };
const ORTHANC = { lockFile: () => true };
const lockFolder: LockFolder = () => Promise.resolve(() => Promise.resolve());

let root: string;
let directory: string;
let log: TestLogger;

beforeEach(async () => {
  log = makeLogger();
  root = await mkdtemp(join(tmpdir(), 'oos-stores-'));
  directory = join(root, 'cache');
  await mkdir(directory);
});

afterEach(() => rm(root, { recursive: true, force: true }));

function open(
  section: object,
  deps: {
    readonly lockFile?: (path: string) => boolean;
    readonly lockFolder?: LockFolder;
  } = ORTHANC,
): Promise<Stores> {
  const { settings } = openConfiguration(
    JSON.stringify({
      StorageDirectory: join(root, 'storage'),
      MemoryStorage: { Shelf: 'top', StopTimeout: 0, ...section },
    }),
    { orthancVersion: '1.12.7', environmentVariables: {} },
    { providers },
  );
  if (settings.provider === undefined) throw new Error('no provider');
  return openStores(settings, settings.provider, { log, ...deps });
}

const cacheIn = (folder: string) => ({ LocalCache: { Directory: folder, WriteBack: true } });

test.each([
  ['without LocalCache', async () => ({})],
  [
    'with another folder',
    async () => {
      await mkdir(join(root, 'other'));
      return cacheIn(join(root, 'other'));
    },
  ],
])('what is pending is not forgotten by a configuration %s', async (_what, other) => {
  const before = await open(cacheIn(directory));
  await before.objects.put('key', makeBody(makeBytes(10)), options);
  await closeStores(before);
  const section = await other();
  await expectFailure(open(section), 'BAD_CONFIG', /Directory was ".*cache", where 1 objects are/);
  const again = await open(cacheIn(directory));
  again.cache?.start();
  await again.cache?.drained(options.signal);
  await closeStores(again);
  await closeStores(await open(section));
});

test('what is pending may be that of another Orthanc with the same StorageDirectory', async () => {
  const other = await open(cacheIn(directory));
  await other.objects.put('key', makeBody(makeBytes(10)), options);
  await closeStores(await open({}, { lockFile: (path) => !path.startsWith(directory) }));
  await closeStores(other);
});

test('an empty folder that was used before may be a disk that is not mounted', async () => {
  await closeStores(await open(cacheIn(directory)));
  await closeStores(await open(cacheIn(directory)));
  expect(log.lines).toEqual([]);
  await rm(directory, { recursive: true });
  await mkdir(directory);
  await closeStores(await open(cacheIn(directory)));
  expect(log.lines.join()).toMatch(/warning: LocalCache.Directory: ".*" was used before/);
});

test('with HybridMode, StorageDirectory is not made: its disk may not be mounted', async () => {
  const stores = await open({ ...cacheIn(directory), HybridMode: 'WriteToObjectStorage' });
  expect(await readdir(root)).toEqual(['cache']);
  await closeStores(stores);
});

test('a removal in the background is not forgotten either', async () => {
  const before = await open({ ...cacheIn(directory), DeleteInBackground: true });
  await before.objects.delete('key', options);
  await closeStores(before);
  await expectFailure(open({ DeleteInBackground: true }), 'BAD_CONFIG', /where 1 objects are/);
});

test('the folder may be moved with what is pending', async () => {
  const before = await open(cacheIn(directory));
  await before.objects.put('key', makeBody(makeBytes(10)), options);
  await closeStores(before);
  await rename(directory, join(root, 'moved'));
  const after = await open(cacheIn(join(root, 'moved')));
  expect(after.cache?.status().pending.count).toBe(1);
  await closeStores(after);
});

test('"cache flush" uploads nothing that a noted removal would remove later', async () => {
  const section = { ...cacheIn(directory), DeleteInBackground: true };
  const orthanc = await open(section);
  await orthanc.objects.delete('key', options);
  await orthanc.objects.put('key', makeBody(makeBytes(10)), options);
  await closeStores(orthanc);
  const { cache, objects } = await open(section, { lockFolder });
  cache?.start();
  // After 10 s: a request of the process before may still arrive.
  await vi.waitFor(() => expect(cache?.status().trouble).not.toBeNull(), 20_000);
  expect(cache?.status()).toMatchObject({
    pending: { count: 1 },
    trouble: { message: expect.stringMatching(/let it run until/) },
  });
  await objects.close();
  expect(await readdir(join(directory, 'pending'))).toHaveLength(1);
});
