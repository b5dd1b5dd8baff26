// SPDX-License-Identifier: GPL-3.0-or-later
// Defects in TypeScript end a runtime at worst, never Orthanc.

import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeBytes } from '../support/bodies.ts';
import { makeDicom } from '../support/dicom.ts';
import {
  DEFECTS,
  KEPT_BYTES,
  SHORT_READ_BYTES,
  writeFaultyBundle,
} from '../support/faulty-bundle.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { bundle, createWorld, type World } from '../support/world.ts';

/** The watchdog's limit, ending the old runtime, starting the new one, and a busy machine. */
const RECOVERY_MS = 30_000;

let world: World;
let orthanc: Orthanc;
let id: string;
const file = makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 10_000 });

beforeAll(async () => {
  world = await createWorld();
  const path = join(world.folder, 'faulty.cjs');
  await writeFaultyBundle(path, bundle);
  orthanc = await world.start('runtime', {
    configuration: {
      MaximumStorageCacheSize: 0,
      UserContentType: { report: 1030 },
      AwsS3Storage: { ...world.section, RequestTimeout: 5 },
    },
    environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: path },
  });
  id = (await orthanc.upload(file)).ID;
});

afterAll(() => world.close());

const path = () => `/instances/${id}/attachments/report`;

async function trigger(defect: keyof typeof DEFECTS) {
  const position = orthanc.log().length;
  // Somebody else's request, under way when it happens.
  world.proxy.setFault(({ method }) => (method === 'GET' ? { kind: 'delay', ms: 700 } : undefined));
  const read = orthanc.request('GET', `/instances/${id}/file`);
  await sleep(200);
  const create = await orthanc.request('PUT', path(), makeBytes(DEFECTS[defect]));
  const other = await read;
  world.proxy.setFault(undefined);
  const startedMs = performance.now();
  for (;;) {
    const answer = await orthanc.request('GET', `/instances/${id}/file`);
    if (answer.status === 200) {
      expect(Buffer.compare(answer.body, file)).toBe(0);
      break;
    }
    expect(performance.now() - startedMs).toBeLessThan(RECOVERY_MS);
    await sleep(50);
  }
  // Writing works again as well.
  expect((await orthanc.request('PUT', path(), makeBytes(5))).status).toBe(200);
  expect((await orthanc.request('DELETE', path())).status).toBe(200);
  expect(await world.objects()).toHaveLength(1);
  expect(orthanc.isRunning()).toBe(true);
  return {
    create: create.status,
    other: other.status,
    errors: orthanc.errorsSince(position),
  };
}

test('that another bundle runs is said', () => {
  expect(orthanc.log()).toMatch(
    /^W.*object-storage:.*ORTHANC_OBJECT_STORAGE_BUNDLE: .*faulty\.cjs/m,
  );
});

test.each<[keyof typeof DEFECTS, RegExp]>([
  ['exit', /process\.exit\(7\)/],
  ['throw', /uncaught error: .*thrown by the test/],
  ['rejection', /uncaught error: .*rejected by the test/],
])(
  '%s ends the runtime, those who wait hear why, and a new one takes over',
  async (defect, why) => {
    const { create, other, errors } = await trigger(defect);
    expect(create).toBe(500);
    expect(other).toBe(500);
    const said = errors.filter((line) => why.test(line));
    expect(
      said.some((line) => /op=create .*failed: /.test(line)),
      errors.join('\n'),
    ).toBe(true);
    expect(
      said.some((line) => /op=read.*failed: /.test(line)),
      errors.join('\n'),
    ).toBe(true);
    expect(
      said.some((line) => /a new one starts/.test(line)),
      errors.join('\n'),
    ).toBe(true);
  },
);

test('a loop that never turns is ended by the watchdog, and meanwhile it is not up', async () => {
  const hung = trigger('loop');
  await sleep(700);
  const metrics = await orthanc.get('/tools/metrics-prometheus');
  expect(metrics.toString()).toMatch(/^orthanc_object_storage_up 0\b/m);
  const { create, other, errors } = await hung;
  expect(create).toBe(500);
  expect(other).toBe(500);
  expect(errors.join('\n')).toMatch(/event loop had not turned/);
});

test('a request that is forgotten ends at its deadline, and nothing else does', async () => {
  const position = orthanc.log().length;
  const startedMs = performance.now();
  const answer = await orthanc.request('PUT', path(), makeBytes(DEFECTS.forget));
  expect(answer.status).toBe(500);
  const ms = performance.now() - startedMs;
  expect(ms).toBeGreaterThan(1000);
  expect(ms).toBeLessThan(RECOVERY_MS);
  expect(orthanc.errorsSince(position)).toEqual([
    expect.stringMatching(/op=create uuid=.* failed: /),
  ]);
  expect((await orthanc.get(`/instances/${id}/file`)).length).toBe(file.length);
});

test('a removal that is forgotten holds up Orthanc no longer than a store that hangs', async () => {
  expect((await orthanc.request('PUT', path(), makeBytes(KEPT_BYTES))).status).toBe(200);
  const startedMs = performance.now();
  expect((await orthanc.request('DELETE', path())).status).toBe(200);
  // RequestTimeout, which is shorter here than the 8 s of removals, and 2 s; not the 6 s of all other requests.
  const ms = performance.now() - startedMs;
  expect(ms).toBeGreaterThan(6_500);
  expect(ms).toBeLessThan(11_000);
  const left = await world.objects();
  expect(left).toHaveLength(2);
  for (const key of left.filter((name) => name.endsWith('.unk'))) await world.store.remove(key);
});

test('an answer whose bytes did not all come fails, and nothing else does', async () => {
  const position = orthanc.log().length;
  expect((await orthanc.request('PUT', path(), makeBytes(SHORT_READ_BYTES + 1))).status).toBe(200);
  const range = { range: `bytes=0-${SHORT_READ_BYTES - 1}` };
  expect((await orthanc.request('GET', `${path()}/data`, undefined, range)).status).toBe(500);
  expect(orthanc.errorsSince(position)).toEqual([
    expect.stringMatching(/op=readRange uuid=.* bytes are missing from 60000 on, of 60001/),
  ]);
  expect((await orthanc.get(`${path()}/data`)).length).toBe(SHORT_READ_BYTES + 1);
  expect((await orthanc.request('DELETE', path())).status).toBe(200);
});

test('a runtime that cannot start again says so, not that the plugin does not start', async () => {
  const key = join(world.folder, 'key');
  await writeFile(key, Buffer.alloc(32, 7).toString('base64'));
  const sealed = await world.start('sealed', {
    configuration: {
      UserContentType: { report: 1030 },
      AwsS3Storage: {
        ...world.section,
        RootPath: 'sealed',
        RequestTimeout: 5,
        StorageEncryption: { Enable: true, MasterKey: [1, key] },
      },
    },
    environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: join(world.folder, 'faulty.cjs') },
  });
  const { ID } = await sealed.upload(file);
  await rm(key);
  const report = makeBytes(DEFECTS.exit);
  await sealed.request('PUT', `/instances/${ID}/attachments/report`, report);
  await expect
    .poll(() => sealed.log(), { timeout: RECOVERY_MS })
    .toMatch(/^E.*The object storage runtime does not start again/m);
  expect(sealed.log()).not.toContain('plugin does not start');
  await sealed.kill();
  for (const name of await world.objects('sealed')) await world.store.remove(name);
});

test('the sixth end within a minute is one too many, and every call says so at once', async () => {
  for (let index = 0; index < 6; index += 1) {
    await orthanc.request('PUT', path(), makeBytes(DEFECTS.exit));
  }
  const position = orthanc.log().length;
  const startedMs = performance.now();
  expect((await orthanc.request('GET', `/instances/${id}/file`)).status).toBe(500);
  expect(performance.now() - startedMs).toBeLessThan(1000);
  expect(orthanc.log().slice(position)).toMatch(
    /op=read.*failed: .*times within 60 s.*process\.exit\(7\)/,
  );
  expect(orthanc.isRunning()).toBe(true);
  expect(await orthanc.stop()).toBe(0);
});

test('a runtime whose TypeScript does not load fails its requests at once', async () => {
  const ownBundle = join(world.folder, 'half-an-upgrade.cjs');
  await writeFaultyBundle(ownBundle, bundle);
  const upgraded = await world.start('upgraded', {
    configuration: {
      MaximumStorageCacheSize: 0,
      UserContentType: { report: 1030 },
      AwsS3Storage: { ...world.section, RequestTimeout: 60 },
    },
    environment: { ORTHANC_OBJECT_STORAGE_BUNDLE: ownBundle },
  });
  const { ID } = await upgraded.upload(file);
  await writeFile(ownBundle, 'throw new Error("half an upgrade");');
  await upgraded.request('PUT', `/instances/${ID}/attachments/report`, makeBytes(DEFECTS.exit));
  const startedMs = performance.now();
  expect((await upgraded.request('GET', `/instances/${ID}/file`)).status).toBe(500);
  expect(performance.now() - startedMs).toBeLessThan(3000);
  expect(upgraded.log()).toMatch(/TypeScript does not load: Error: half an upgrade/);
  await upgraded.kill();
});
