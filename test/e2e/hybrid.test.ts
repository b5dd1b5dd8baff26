// SPDX-License-Identifier: GPL-3.0-or-later
// Files on Orthanc's disk and in the bucket: read from both, moved there and back, through whatever happens meanwhile.

import { createHash } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc, Upload } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorld, type World } from '../support/world.ts';

const CLIENTS = 8;

let world: World;

beforeAll(async () => {
  world = await createWorld();
});

afterAll(() => world.close());

afterEach(() => {
  world.proxy.setFault(undefined);
});

const NO_CACHE = { MaximumStorageCacheSize: 0, OverwriteInstances: false };

type Mode = 'WriteToFileSystem' | 'WriteToObjectStorage';

async function startHybrid(name: string, mode: Mode, section: object = {}): Promise<Orthanc> {
  // Orthanc makes it only where no plugin stores; the plugin takes its absence for a disk that is not mounted.
  await mkdir(join(world.folder, name, 'storage'), { recursive: true });
  return await world.start(name, {
    configuration: {
      ...NO_CACHE,
      AwsS3Storage: { ...world.section, HybridMode: mode, ...section },
      StorageDirectory: join(world.folder, name, 'storage'),
    },
  });
}

/** What is in Orthanc's own folder. */
async function files(name: string): Promise<readonly string[]> {
  const entries = await readdir(join(world.folder, name, 'storage'), {
    recursive: true,
    withFileTypes: true,
  });
  return entries
    .filter((entry) => entry.isFile() && /^[0-9a-f-]{36}$/.test(entry.name))
    .map((entry) => entry.name)
    .sort();
}

const uuidsInBucket = async () =>
  (await world.objects()).map((key) => key.replace(/^.*\//, '').slice(0, 36)).sort();

function makeFiles(count: number, prefix: string, pixelBytes = 2000): readonly Buffer[] {
  return Array.from({ length: count }, (_, index) =>
    makeDicom({ sopInstanceUid: `${prefix}.${index}`, patientId: `P${index % 4}`, pixelBytes }),
  );
}

const md5 = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');

interface Stored {
  readonly uploads: readonly Upload[];
  /** Of each instance's file, by its id. */
  readonly digests: ReadonlyMap<string, string>;
}

async function store(orthanc: Orthanc, dicom: readonly Buffer[]): Promise<Stored> {
  const uploads = await inParallel(dicom, CLIENTS, (file) => orthanc.upload(file));
  return {
    uploads,
    digests: new Map(uploads.map(({ ID }, index) => [ID, md5(dicom[index] ?? Buffer.alloc(0))])),
  };
}

async function expectAll(orthanc: Orthanc, { digests }: Stored): Promise<void> {
  await inParallel([...digests], CLIENTS, async ([id, digest]) => {
    expect(md5(await orthanc.get(`/instances/${id}/file`))).toBe(digest);
  });
}

/** Deletes everything, and expects that nothing is left anywhere. */
async function clear(orthanc: Orthanc, name: string): Promise<void> {
  for (const id of (await orthanc.json('/patients')) as string[]) {
    await orthanc.request('DELETE', `/patients/${id}`);
  }
  expect(await files(name)).toEqual([]);
  expect(await world.objects()).toEqual([]);
}

interface MoveContent {
  readonly Moved: number;
  readonly AlreadyThere: number;
  readonly Failed: number;
  readonly Failures: readonly unknown[];
  readonly Description: string;
}

async function move(orthanc: Orthanc, target: string, resources: readonly string[]) {
  const answer = await orthanc.request(
    'POST',
    '/move-storage',
    JSON.stringify({ Resources: resources, TargetStorage: target }),
  );
  return {
    status: answer.status,
    content: JSON.parse(answer.body.toString()) as MoveContent,
  };
}

async function submit(orthanc: Orthanc, target: string, resources: readonly string[]) {
  const answer = await orthanc.request(
    'POST',
    '/move-storage',
    JSON.stringify({ Resources: resources, TargetStorage: target, Asynchronous: true }),
  );
  expect(answer.status, answer.body.toString()).toBe(200);
  return (JSON.parse(answer.body.toString()) as { readonly ID: string }).ID;
}

interface Job {
  readonly State: string;
  readonly Progress: number;
  readonly Content: MoveContent;
}

async function untilState(orthanc: Orthanc, id: string, states: readonly string[]): Promise<Job> {
  for (;;) {
    const job = (await orthanc.json(`/jobs/${id}`)) as Job;
    if (states.includes(job.State)) return job;
    await sleep(50);
  }
}

const patientsOf = async (orthanc: Orthanc) => (await orthanc.json('/patients')) as string[];

test('what Orthanc itself has stored is read beside what goes to the bucket', async () => {
  const name = 'both';
  const plain = await world.startPlain(name, {
    StorageDirectory: join(world.folder, name, 'storage'),
  });
  const old = await store(plain, makeFiles(5, '1.2.10.1', 200_000));
  await plain.stop();

  const orthanc = await startHybrid(name, 'WriteToObjectStorage');
  const recent = await store(orthanc, makeFiles(5, '1.2.10.2', 200_000));
  expect(await files(name)).toHaveLength(5);
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
  expect(orthanc.log()).not.toMatch(/NOT_FOUND|404/);

  // Never a wrong 404.
  world.proxy.setFault(() => ({ kind: 'answer', status: 403 }));
  const answer = await orthanc.request('GET', `/instances/${second}/file`);
  expect(answer.status).toBe(401);
  world.proxy.setFault(undefined);

  await clear(orthanc, name);
  await orthanc.stop();

  // The other way round.
  const back = await startHybrid(name, 'WriteToFileSystem');
  const mine = await store(back, makeFiles(2, '1.2.10.3'));
  expect(await files(name)).toHaveLength(2);
  expect(await world.objects()).toEqual([]);
  world.proxy.forget();
  await expectAll(back, mine);
  expect(world.proxy.counts()).toEqual({});
  await clear(back, name);
  await back.stop();
});

describe('moves', () => {
  const name = 'moves';
  let orthanc: Orthanc;

  beforeAll(async () => {
    orthanc = await startHybrid(name, 'WriteToFileSystem');
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

  test("2,000 instances and users' attachments there and back", async () => {
    const stored = await store(orthanc, makeFiles(2000, '1.2.11.1'));
    const [upload] = stored.uploads;
    if (upload === undefined) throw new Error('nothing was stored');
    const attached = [
      `/patients/${upload.ParentPatient}/attachments/1030`,
      `/studies/${upload.ParentStudy}/attachments/1031`,
      `/series/${upload.ParentSeries}/attachments/1032`,
      `/instances/${upload.ID}/attachments/1033`,
    ];
    for (const path of attached) await orthanc.request('PUT', path, `content of ${path}`);
    const before = await files(name);
    expect(before).toHaveLength(2004);

    const patients = await patientsOf(orthanc);
    const there = await move(orthanc, 'object-storage', patients);
    expect(there).toMatchObject({
      status: 200,
      content: { Moved: 2004, AlreadyThere: 0, Failed: 0, Failures: [] },
    });
    expect(await files(name)).toEqual([]);
    expect(await uuidsInBucket()).toEqual(before);
    await expectAll(orthanc, stored);
    for (const path of attached) {
      expect((await orthanc.get(`${path}/data`)).toString()).toBe(`content of ${path}`);
    }

    const again = await move(orthanc, 'object-storage', patients);
    expect(again.content).toMatchObject({ Moved: 0, AlreadyThere: 2004 });
    expect(again.content.Description).toMatch(/^Nothing to move/);

    // An instance takes its parents' attachments with it.
    const one = await move(orthanc, 'file-system', [upload.ID]);
    expect(one.content).toMatchObject({ Moved: 5, Failed: 0 });

    const back = await move(orthanc, 'file-system', patients);
    expect(back.content).toMatchObject({ Moved: 1999, AlreadyThere: 5, Failed: 0 });
    expect(await files(name)).toEqual(before);
    expect(await world.objects()).toEqual([]);
    await expectAll(orthanc, stored);
    await clear(orthanc, name);
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
    await clear(orthanc, name);
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

  test('a store that fails at every third request', async () => {
    const stored = await store(orthanc, makeFiles(100, '1.2.11.3'));
    let count = 0;
    world.proxy.setFault(() => {
      count += 1;
      return count % 3 === 0 ? { kind: 'answer', status: 500 } : undefined;
    });
    const { content } = await move(orthanc, 'object-storage', await patientsOf(orthanc));
    expect(content).toMatchObject({ Moved: 100, Failed: 0 });
    world.proxy.setFault(undefined);
    expect(await files(name)).toEqual([]);
    await expectAll(orthanc, stored);
    await clear(orthanc, name);
  });

  test('a store that refuses all: the job fails, lists each file with its reason, and nothing is lost', async () => {
    const stored = await store(orthanc, makeFiles(12, '1.2.11.4'));
    world.proxy.setFault(() => ({ kind: 'answer', status: 403 }));
    const { status, content } = await move(orthanc, 'object-storage', await patientsOf(orthanc));
    expect(status).toBe(500);
    expect(content).toMatchObject({ Moved: 0, Failed: 12 });
    expect(content.Failures).toHaveLength(12);
    expect(content.Failures[0]).toMatchObject({
      Level: 'instances',
      Attachment: 'dicom',
      Reason: expect.stringMatching(/^ACCESS_DENIED: /) as string,
    });
    world.proxy.setFault(undefined);
    expect(await files(name)).toHaveLength(12);
    await expectAll(orthanc, stored);
    await clear(orthanc, name);
  });

  test('paused, resumed, cancelled, resubmitted', async () => {
    const stored = await store(orthanc, makeFiles(120, '1.2.11.5'));
    const patients = await patientsOf(orthanc);
    world.proxy.setFault(() => ({ kind: 'delay', ms: 60 }));
    const id = await submit(orthanc, 'object-storage', patients);
    await untilState(orthanc, id, ['Running']);
    while ((await world.objects()).length < 10) await sleep(20);
    await orthanc.request('POST', `/jobs/${id}/pause`, '');
    const paused = await untilState(orthanc, id, ['Paused']);
    expect(paused.Progress).toBeGreaterThan(0);
    expect(paused.Progress).toBeLessThan(100);
    const moved = (await world.objects()).length;
    await sleep(500);
    expect(await world.objects()).toHaveLength(moved);
    await orthanc.request('POST', `/jobs/${id}/resume`, '');
    await untilState(orthanc, id, ['Running']);
    await orthanc.request('POST', `/jobs/${id}/cancel`, '');
    const cancelled = await untilState(orthanc, id, ['Failure']);
    expect(cancelled.Progress).toBeLessThan(100);
    await expectAll(orthanc, stored);
    world.proxy.setFault(undefined);
    await orthanc.request('POST', `/jobs/${id}/resubmit`, '');
    const done = await untilState(orthanc, id, ['Success', 'Failure']);
    expect(done).toMatchObject({ State: 'Success', Progress: 100, Content: { Failed: 0 } });
    expect(await files(name)).toEqual([]);
    await expectAll(orthanc, stored);
    await clear(orthanc, name);
  });

  test('a restart of Orthanc in the middle', async () => {
    const stored = await store(orthanc, makeFiles(120, '1.2.11.6'));
    world.proxy.setFault(() => ({ kind: 'delay', ms: 400 }));
    const id = await submit(orthanc, 'object-storage', await patientsOf(orthanc));
    while ((await world.objects()).length < 20) await sleep(20);
    // Takes Orthanc some seconds, in which the job goes on.
    expect(await orthanc.stop()).toBe(0);
    expect((await files(name)).length).toBeGreaterThan(0);
    world.proxy.setFault(undefined);
    orthanc = await startHybrid(name, 'WriteToFileSystem');
    const done = await untilState(orthanc, id, ['Success', 'Failure']);
    expect(done).toMatchObject({ State: 'Success', Content: { Failed: 0 } });
    expect(done.Content.Moved + done.Content.AlreadyThere).toBe(120);
    expect(await files(name)).toEqual([]);
    expect(await world.objects()).toHaveLength(120);
    await expectAll(orthanc, stored);
    await clear(orthanc, name);
  });

  test('kill -9 in the middle: nothing lost, nothing twice, nothing orphaned', async () => {
    const stored = await store(orthanc, makeFiles(120, '1.2.11.7'));
    const before = await files(name);
    world.proxy.setFault(() => ({ kind: 'delay', ms: 40 }));
    await submit(orthanc, 'object-storage', await patientsOf(orthanc));
    while ((await world.objects()).length < 30) await sleep(10);
    await orthanc.kill();
    const halfway = new Set([...(await files(name)), ...(await uuidsInBucket())]);
    expect([...halfway].sort()).toEqual(before);
    world.proxy.setFault(undefined);
    orthanc = await startHybrid(name, 'WriteToFileSystem');
    await expectAll(orthanc, stored);
    const { content } = await move(orthanc, 'object-storage', await patientsOf(orthanc));
    expect(content).toMatchObject({ Failed: 0 });
    expect(await files(name)).toEqual([]);
    expect(await uuidsInBucket()).toEqual(before);
    await expectAll(orthanc, stored);
    await clear(orthanc, name);
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
