// SPDX-License-Identifier: GPL-3.0-or-later
// Files on Orthanc's disk and in the bucket: read from both, moved there and back.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type Archive,
  createArchive,
  digestsIn,
  expectAll,
  makeFiles,
  move,
  patientsOf,
  store,
} from '../support/archive.ts';
import { drained } from '../support/kills.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { BUCKET, createWorld, type World } from '../support/world.ts';

let world: World;

beforeAll(async () => {
  world = await createWorld();
});

afterAll(() => world.close());

afterEach(() => {
  world.proxy.setFault(undefined);
});

test('what Orthanc itself has stored is read beside what goes to the bucket', async () => {
  const archive = createArchive(world, 'both');
  const plain = await archive.startPlain();
  const old = await store(plain, makeFiles(5, '1.2.10.1', 200_000));
  await plain.stop();

  const orthanc = await archive.start({ HybridMode: 'WriteToObjectStorage' });
  const recent = await store(orthanc, makeFiles(5, '1.2.10.2', 200_000));
  expect(await archive.files()).toHaveLength(5);
  expect(await world.objects()).toHaveLength(5);
  await expectAll(orthanc, old);
  await expectAll(orthanc, recent);

  // One request of the first side for either; of the second one more, which is no request of the bucket's.
  world.proxy.forget();
  const [first] = recent.digests.keys();
  await orthanc.get(`/instances/${first}/file`);
  expect(world.proxy.counts()).toEqual({ GET: 1 });
  world.proxy.forget();
  const [second] = old.digests.keys();
  const range = { range: 'bytes=100-199' };
  await orthanc.get(`/instances/${second}/file`);
  await orthanc.get(`/instances/${second}/attachments/dicom/data`, range);
  await orthanc.get(`/instances/${second}/tags`);
  expect(world.proxy.counts()).toEqual({ GET: 3 });
  expect(orthanc.log()).not.toMatch(/NOT_FOUND|status 404/);

  // Never a wrong 404, nor a 401, with which browsers ask for a password.
  world.proxy.setFault(() => ({ kind: 'answer', status: 403 }));
  const answer = await orthanc.request('GET', `/instances/${second}/file`);
  expect(answer.status).toBe(500);
  world.proxy.setFault(undefined);

  await archive.clear(orthanc);
  await orthanc.stop();

  // The other way round.
  const back = await archive.start({ HybridMode: 'WriteToFileSystem' });
  const mine = await store(back, makeFiles(2, '1.2.10.3'));
  expect(await archive.files()).toHaveLength(2);
  expect(await world.objects()).toEqual([]);
  world.proxy.forget();
  await expectAll(back, mine);
  expect(world.proxy.counts()).toEqual({});
  await archive.clear(back);
  await back.stop();
});

describe('moves', () => {
  let archive: Archive;
  let orthanc: Orthanc;

  beforeAll(async () => {
    archive = createArchive(world, 'moves');
    orthanc = await archive.start({ HybridMode: 'WriteToFileSystem' });
  });

  test.each([
    ['no JSON', '{'],
    ['no resources', { TargetStorage: 'file-system' }],
    [
      'an unknown resource',
      { Resources: ['f689ddd2-662f8fe1-8b18180d-ec2a2cee-937917ff'], TargetStorage: 'file-system' },
    ],
    ['an unknown target', { Resources: ['x'], TargetStorage: 'tape' }],
  ])('%s is a bad request', async (_name, body) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    const answer = await orthanc.request('POST', '/move-storage', text);
    expect(answer.status).toBe(400);
    expect(answer.body.toString()).toMatch(/"error": ".{10}/);
    expect((await orthanc.request('GET', '/move-storage')).status).toBe(405);
  });

  test("500 instances and users' attachments there and back", async () => {
    const stored = await store(orthanc, makeFiles(500, '1.2.11.1'));
    const [upload] = stored.uploads;
    if (upload === undefined) throw new Error('nothing was stored');
    const attached = [
      `/patients/${upload.ParentPatient}/attachments/1030`,
      `/studies/${upload.ParentStudy}/attachments/1031`,
      `/series/${upload.ParentSeries}/attachments/1032`,
      `/instances/${upload.ID}/attachments/1033`,
    ];
    for (const path of attached) await orthanc.request('PUT', path, `content of ${path}`);
    const before = await digestsIn(archive.folder);
    expect(before).toHaveLength(504);
    // What all others are is compared in the stores themselves, as reading them through Orthanc takes its time.
    const some = { ...stored, digests: new Map([...stored.digests].slice(0, 100)) };

    const patients = await patientsOf(orthanc);
    const there = await move(orthanc, 'object-storage', patients);
    expect(there).toMatchObject({
      status: 200,
      content: { Moved: 504, AlreadyThere: 0, Failed: 0, Failures: [] },
    });
    expect(await archive.files()).toEqual([]);
    expect(await digestsIn(join(world.folder, 'store', 'data', BUCKET))).toEqual(before);
    await expectAll(orthanc, some);
    for (const path of attached) {
      expect((await orthanc.get(`${path}/data`)).toString()).toBe(`content of ${path}`);
    }

    const again = await move(orthanc, 'object-storage', patients);
    expect(again.content).toMatchObject({ Moved: 0, AlreadyThere: 504 });
    expect(again.content.Description).toMatch(/^Nothing to move/);

    // An instance takes its parents' attachments with it.
    const one = await move(orthanc, 'file-system', [upload.ID]);
    expect(one.content).toMatchObject({ Moved: 5, Failed: 0 });

    const back = await move(orthanc, 'file-system', patients);
    expect(back.content).toMatchObject({ Moved: 499, AlreadyThere: 5, Failed: 0 });
    expect(await digestsIn(archive.folder)).toEqual(before);
    expect(await world.objects()).toEqual([]);
    await expectAll(orthanc, some);
    await archive.clear(orthanc);
  });

  test('where each attachment lies', async () => {
    const { uploads } = await store(orthanc, makeFiles(2, '1.2.11.2', 1000));
    const [first, second] = uploads;
    await move(orthanc, 'object-storage', [first?.ID ?? '']);
    const located = (await orthanc.json(
      `/object-storage/locate/instances/${first?.ID}`,
    )) as unknown[];
    expect(located).toEqual([
      {
        level: 'instances',
        resource: first?.ID,
        name: 'dicom',
        uuid: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
        contentType: 1,
        plainBytes: expect.any(Number) as number,
        stores: [
          {
            store: 's3',
            key: expect.stringMatching(/\.dcm$/) as string,
            storedBytes: expect.any(Number) as number,
            encryption: null,
          },
        ],
      },
    ]);
    expect(await orthanc.json(`/object-storage/locate/instances/${second?.ID}`)).toMatchObject([
      { stores: [{ store: 'file-system' }] },
    ]);
    for (const [level, id] of [
      ['patients', first?.ParentPatient],
      ['studies', first?.ParentStudy],
      ['series', first?.ParentSeries],
    ]) {
      expect(await orthanc.json(`/object-storage/locate/${level}/${id}`)).toContainEqual(
        located[0],
      );
    }
    for (const path of [`instances/${first?.ParentStudy}`, 'studies/x', 'images/1']) {
      expect((await orthanc.request('GET', `/object-storage/locate/${path}`)).status).toBe(404);
    }
    await archive.clear(orthanc);
  });

  test('the status and the metrics tell the same', async () => {
    const status = (await orthanc.json('/object-storage/status')) as {
      readonly operations: {
        readonly create: {
          readonly succeeded: number;
          readonly bytes: number;
          readonly latencyMs: {
            readonly last5Minutes: Readonly<Record<string, number>>;
            readonly sinceStart: Readonly<Record<string, number>>;
          };
        };
      };
    };
    expect(status).toMatchObject({
      hybrid: { writeTo: 'file-system' },
      encryption: null,
      inFlight: 0,
      errors: {},
      recentErrors: [],
    });
    const { create } = status.operations;
    const { last5Minutes, sinceStart } = create.latencyMs;
    expect(sinceStart['count']).toBe(create.succeeded);
    expect(last5Minutes['p50']).toBeGreaterThan(0);
    expect(last5Minutes['p99']).toBeGreaterThanOrEqual(last5Minutes['p50'] ?? 0);
    const metrics = (await orthanc.get('/tools/metrics-prometheus')).toString();
    const metric = (what: string) =>
      Number(new RegExp(`^orthanc_object_storage_${what} (\\S+)`, 'm').exec(metrics)?.[1]);
    expect(metric('create_count')).toBe(create.succeeded);
    expect(metric('create_bytes')).toBe(create.bytes);
    expect(metric('create_duration_p99_ms')).toBeCloseTo(last5Minutes['p99'] ?? 0, 1);
    expect(metric('create_duration_since_start_max_ms')).toBeCloseTo(sinceStart['max'] ?? 0, 1);
  });
});

test('without hybrid storage there is nothing to move', async () => {
  const orthanc = await world.start('single');
  const answer = await orthanc.request(
    'POST',
    '/move-storage',
    JSON.stringify({ Resources: ['x'], TargetStorage: 'file-system' }),
  );
  expect(answer.status).toBe(400);
  expect(answer.body.toString()).toContain('HybridMode');
});

test('objects that wait for their upload count as stored: they move there and back, and survive kill -9', async () => {
  const directory = join(world.folder, 'pending-cache');
  await mkdir(directory, { mode: 0o700 });
  const archive = createArchive(world, 'pending');
  const section = {
    HybridMode: 'WriteToFileSystem',
    RootPath: 'pending',
    MaxRetries: 0,
    LocalCache: { Directory: directory, WriteBack: true },
  };
  let orthanc = await archive.start(section);
  const stored = await store(orthanc, makeFiles(8, '1.2.12.1', 20_000));
  const [patient, ...others] = await patientsOf(orthanc);
  if (patient === undefined) throw new Error('nothing was stored');
  world.proxy.setFault(({ method, key }) =>
    method === 'PUT' && !key.includes('probe') ? { kind: 'answer', status: 503 } : undefined,
  );

  const there = await move(orthanc, 'object-storage', [patient, ...others]);
  expect(there.content).toMatchObject({ Moved: 8, Failed: 0 });
  expect(await archive.files()).toEqual([]);
  expect(await archive.objects('pending')).toEqual([]);
  await orthanc.kill();
  orthanc = await archive.start(section);
  await expectAll(orthanc, stored);

  const back = await move(orthanc, 'file-system', [patient]);
  expect(back.content).toMatchObject({ Moved: 2, Failed: 0 });
  expect(await archive.files()).toHaveLength(2);
  expect(await orthanc.json('/object-storage/status')).toMatchObject({
    localCache: { pending: { count: 6 }, removals: 2 },
  });
  world.proxy.setFault(undefined);
  await drained(orthanc);
  expect(await archive.objects('pending')).toHaveLength(6);
  await expectAll(orthanc, stored);
  await orthanc.stop();
});
