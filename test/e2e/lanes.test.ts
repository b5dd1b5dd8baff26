// SPDX-License-Identifier: GPL-3.0-or-later
// Several event loops in one Orthanc.

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeBytes } from '../support/bodies.ts';
import { makeDicom } from '../support/dicom.ts';
import { COMPUTING_MS, DEFECTS, writeFaultyBundle } from '../support/faulty-bundle.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { bundle, createWorld, type World } from '../support/world.ts';

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

async function startFaulty(name: string): Promise<Orthanc> {
  const path = join(world.folder, 'faulty.cjs');
  await writeFaultyBundle(path, bundle);
  return await world.start(name, {
    configuration: {
      AwsS3Storage: { ...world.section, Lanes: LANES, RootPath: name },
      MaximumStorageCacheSize: 0,
      UserContentType: { report: 1030 },
    },
    environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: path },
  });
}

test('how busy each loop is: next to nothing where nobody asks, all the time where one computes', async () => {
  const computing = await startFaulty('computing');
  const { ID } = await computing.upload(makeDicom({ sopInstanceUid: '1.2.5.1', pixelBytes: 1000 }));
  const ask = async () =>
    (await computing.json('/object-storage/status')) as {
      readonly eventLoopBusy: readonly number[];
      readonly uptimeSeconds: number;
    };
  await sleep(1000);
  const idle = (await ask()).eventLoopBusy;
  expect(idle).toHaveLength(LANES);
  expect(Math.max(...idle)).toBeLessThan(0.3);

  const report = makeBytes(DEFECTS.compute);
  await computing.request('PUT', `/instances/${ID}/attachments/report`, report);
  const { eventLoopBusy, uptimeSeconds } = await ask();
  const [quiet = 1, , busiest = 0] = eventLoopBusy.toSorted((one, other) => one - other);
  expect(quiet).toBeLessThan(0.3);
  // Of the time since it started, which is less than the last minute.
  expect(busiest * (uptimeSeconds + 1) * 1000).toBeGreaterThan(COMPUTING_MS);
  const metrics = (await computing.get('/tools/metrics-prometheus')).toString();
  const metric = /^orthanc_object_storage_event_loop_busy ([\d.]+)/m.exec(metrics)?.[1];
  expect(Number(metric)).toBeCloseTo(busiest, 1);
  await computing.request('DELETE', `/instances/${ID}`);
  await computing.kill();
});

test('one that hangs does not hold up the figures of the others', async () => {
  const hanging = await startFaulty('hanging');
  const { ID } = await hanging.upload(makeDicom({ sopInstanceUid: '1.2.4.1', pixelBytes: 1000 }));
  // The first one answers for all, and has something to do: what comes next goes to the second.
  world.proxy.setFault(({ method }) =>
    method === 'GET' ? { kind: 'delay', ms: 1000 } : undefined,
  );
  const read = hanging.request('GET', `/instances/${ID}/file`);
  await sleep(300);
  const report = makeBytes(DEFECTS.loop);
  const hung = hanging.request('PUT', `/instances/${ID}/attachments/report`, report);
  await sleep(300);
  const startedMs = performance.now();
  const [status, metrics] = await Promise.all([
    hanging.json('/object-storage/status'),
    hanging.get('/tools/metrics-prometheus'),
  ]);
  expect(performance.now() - startedMs).toBeLessThan(2_500);
  expect(status).toMatchObject({ operations: { create: { succeeded: 1 } } });
  expect(metrics.toString()).toMatch(/^orthanc_object_storage_up 1\b/m);
  expect((await read).status).toBe(200);
  expect((await hung).status).toBe(500);
  world.proxy.setFault(undefined);
  await hanging.request('DELETE', `/instances/${ID}`);
  await hanging.kill();
});

test('all of them come back after a reset', async () => {
  await orthanc.request('POST', '/tools/reset', '');
  await orthanc.hasStarted(2);
  await storeAndCompare();
});
