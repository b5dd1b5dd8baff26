// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc kept its files in a mount of the bucket (here: the folder that the server itself serves), and goes over to the plugin.

import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectAll, makeFiles, type Stored, store } from '../support/archive.ts';
import { runRefusedOrthanc } from '../support/orthanc.ts';
import { BUCKET, createWorld, type World } from '../support/world.ts';

let world: World;
let folder: string;
let stored: Stored;

beforeAll(async () => {
  world = await createWorld();
  const inside = await readdir(world.folder, { recursive: true, withFileTypes: true });
  const bucket = inside.find((entry) => entry.isDirectory() && entry.name === BUCKET);
  if (bucket === undefined) throw new Error('the server keeps its bucket elsewhere');
  folder = join(bucket.parentPath, BUCKET, 'archive');
  await mkdir(folder);
  const plain = await world.startPlain('mounted', { StorageDirectory: folder });
  stored = await store(plain, makeFiles(5, '1.2.30.1'));
  await plain.stop();
});

afterAll(() => world.close());

const configure = (changes: object) => ({
  MaximumStorageCacheSize: 0,
  StorageDirectory: folder,
  ...world.configure({ RootPath: 'archive', StorageStructure: 'legacy', ...changes }),
});

test('hybrid storage of one place is refused, and nothing is left of the question', async () => {
  const before = await world.objects('archive');
  const configuration = configure({ HybridMode: 'WriteToObjectStorage' });
  const options = world.options('mounted', { configuration });
  const { status, orthanc } = await runRefusedOrthanc(options, 20_000);
  expect(status).not.toBe(0);
  expect(orthanc.log()).toMatch(
    /StorageDirectory and the bucket are the same place: .*"archive".*Leave HybridMode "Disabled"/,
  );
  expect(await world.objects('archive')).toEqual(before);
});

test('without HybridMode, as the message says, each file is there', async () => {
  const orthanc = await world.start('mounted', { configuration: configure({}) });
  await expectAll(orthanc, stored);
  await orthanc.stop();
});
