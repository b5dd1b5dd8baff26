// SPDX-License-Identifier: GPL-3.0-or-later
// The disk of LocalCache on its bad days: full, and hanging. Real file systems, on images of a few megabytes.

import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { expectAll, makeFiles, store } from '../support/archive.ts';
import { drained } from '../support/kills.ts';
import type { Configuration, Orthanc } from '../support/orthanc.ts';
import { mountSmallDisk, type SmallDisk } from '../support/small-disk.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let disk: SmallDisk | undefined;

beforeAll(async () => {
  world = await createWorld();
});
afterEach(() => {
  world.proxy.setFault(undefined);
  disk?.unmount();
  disk = undefined;
});
afterAll(() => world.close());

async function start(
  name: string,
  { path }: SmallDisk,
  changes: Configuration = { WriteBack: true, UploadConcurrency: 1 },
  others: Configuration = {},
): Promise<Orthanc> {
  const LocalCache = { Directory: path, ...changes };
  return await world.start(name, {
    configuration: {
      MaximumStorageCacheSize: 0,
      ...world.configure({ RootPath: name, MaxRetries: 0, LocalCache, ...others }),
    },
  });
}

interface CacheFigures {
  readonly localCache: {
    readonly pending: { readonly count: number };
    readonly writtenThrough: number;
  };
}

const cacheOf = async (orthanc: Orthanc) =>
  ((await orthanc.json('/object-storage/status')) as CacheFigures).localCache;

test('full, it holds what it can, and the bucket takes the rest at once', async () => {
  disk = await mountSmallDisk(join(world.folder, 'full-disk'), 16);
  const orthanc = await start('full', disk);
  world.proxy.setFault(({ method }) => (method === 'PUT' ? { kind: 'delay', ms: 300 } : undefined));
  const stored = await store(orthanc, makeFiles(40, '1.2.20.1', 500_000));
  expect(await cacheOf(orthanc)).toMatchObject({
    pending: { count: expect.toSatisfy((count: number) => count > 5) as unknown },
    writtenThrough: expect.toSatisfy((count: number) => count > 5) as unknown,
  });
  expect(orthanc.log()).toMatch(/new objects go to the bucket at once: .*its disk is full/);
  await expectAll(orthanc, stored);
  world.proxy.setFault(undefined);
  await drained(orthanc);
  expect(await world.objects('full')).toHaveLength(40);
  await expectAll(orthanc, stored);
  await orthanc.stop();
});

test('hanging, it holds up the first ones only, and goes on where it was', async () => {
  disk = await mountSmallDisk(join(world.folder, 'hanging-disk'), 64);
  const orthanc = await start('hang', disk);
  world.proxy.setFault(({ method }) =>
    method === 'PUT' ? { kind: 'answer', status: 503 } : undefined,
  );
  const pending = await store(orthanc, makeFiles(3, '1.2.20.2'));
  world.proxy.setFault(undefined);
  disk.freeze();
  const first = await store(orthanc, makeFiles(2, '1.2.20.3'));
  const startedMs = performance.now();
  const second = await store(orthanc, makeFiles(4, '1.2.20.4'));
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  for (const each of [first, second]) await expectAll(orthanc, each);
  expect(await cacheOf(orthanc)).toMatchObject({ pending: { count: 3 }, writtenThrough: 6 });
  expect(orthanc.log()).toMatch(/its disk does not answer/);
  disk.thaw();
  await drained(orthanc);
  expect(await world.objects('hang')).toHaveLength(9);
  for (const each of [pending, first, second]) await expectAll(orthanc, each);
  await orthanc.stop();
});

test('hanging, it cannot note what is removed, which goes at once', async () => {
  disk = await mountSmallDisk(join(world.folder, 'note-disk'), 64);
  const orthanc = await start('note', disk, {}, { DeleteInBackground: true });
  const stored = await store(orthanc, makeFiles(4, '1.2.20.5'));
  disk.freeze();
  const startedMs = performance.now();
  for (const id of stored.digests.keys()) await orthanc.request('DELETE', `/instances/${id}`);
  expect(performance.now() - startedMs).toBeLessThan(6_000);
  expect(await world.objects('note')).toEqual([]);
  disk.thaw();
  await orthanc.stop();
});
