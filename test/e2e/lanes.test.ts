// SPDX-License-Identifier: GPL-3.0-or-later
// Several event loops in one Orthanc.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { createWorld, type World } from '../support/world.ts';

const LANES = 3;
const INSTANCES = 60;
const files = Array.from({ length: INSTANCES }, (_, index) =>
  makeDicom({ sopInstanceUid: `1.2.3.${index}`, pixelBytes: 100_000 + index }),
);

let world: World;
let orthanc: Orthanc;

beforeAll(async () => {
  world = await createWorld();
  orthanc = await world.start('lanes', {
    configuration: {
      AwsS3Storage: { ...world.section, Lanes: LANES, ConnectTimeout: 10 },
      MaximumStorageCacheSize: 0,
    },
  });
});

afterAll(() => world.close());

async function storeAndCompare(): Promise<void> {
  const uploads = await Promise.all(files.map((file) => orthanc.upload(file)));
  const read = await Promise.all(uploads.map(({ ID }) => orthanc.get(`/instances/${ID}/file`)));
  expect(read.every((bytes, index) => bytes.equals(files[index] ?? Buffer.alloc(0)))).toBe(true);
  await Promise.all(uploads.map(({ ID }) => orthanc.request('DELETE', `/instances/${ID}`)));
  expect(await world.objects()).toEqual([]);
}

test('what they store together comes back, and the figures are those of all', async () => {
  await storeAndCompare();
  const status = await orthanc.json('/object-storage/status');
  expect(status).toMatchObject({
    lanes: LANES,
    operations: { create: { succeeded: INSTANCES }, remove: { succeeded: INSTANCES } },
    errors: {},
  });
  const metrics = (await orthanc.get('/tools/metrics-prometheus')).toString();
  expect(metrics).toMatch(new RegExp(`^orthanc_object_storage_create_count ${INSTANCES}\\b`, 'm'));
});

test('warnings come once, not from each', () => {
  expect(orthanc.pluginLines().filter((line) => line.includes('ConnectTimeout'))).toHaveLength(1);
});

test('all of them come back after a reset', async () => {
  await orthanc.request('POST', '/tools/reset', '');
  await orthanc.hasStarted(2);
  await storeAndCompare();
});
