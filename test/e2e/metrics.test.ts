// SPDX-License-Identifier: GPL-3.0-or-later
// The table that docs/metrics.md is made of, beside what a real Orthanc gives.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { METRIC_GROUPS, METRIC_PREFIX } from '../../src/plugin/metrics.ts';
import { makeBytes } from '../support/bodies.ts';
import { makeDicom } from '../support/dicom.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;

beforeAll(async () => {
  world = await createWorld();
});

afterAll(() => world.close());

test('Orthanc gives each metric of the table, and no other', async () => {
  const directory = join(world.folder, 'cache');
  const keyFile = join(world.folder, 'master.key');
  await mkdir(directory, { mode: 0o700 });
  await writeFile(keyFile, Buffer.from(makeBytes(32)).toString('base64'), { mode: 0o600 });
  const orthanc = await world.start('all', {
    // All that has metrics of its own.
    configuration: world.configure({
      LocalCache: { Directory: directory, WriteBack: true },
      DeleteInBackground: true,
      StorageEncryption: { MasterKey: [1, keyFile], Format: 'A2' },
    }),
  });
  const { ID } = await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3', pixelBytes: 1000 }));
  await orthanc.get(`/instances/${ID}/file`);
  await orthanc.request('DELETE', `/instances/${ID}`);
  const text = (await orthanc.get('/tools/metrics-prometheus')).toString();
  const given = text.split('\n').flatMap((line) => line.match(/^orthanc_object_storage_\w+/) ?? []);
  const table = METRIC_GROUPS.flatMap(({ metrics }) => metrics);
  const names = table.map(({ name }) => `${METRIC_PREFIX}${name}`);
  expect(given.toSorted()).toEqual(names.toSorted());
});
