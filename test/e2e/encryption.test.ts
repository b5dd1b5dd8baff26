// SPDX-License-Identifier: GPL-3.0-or-later
// PHI leaves Orthanc only as noise, comes back as it was, and whatever was tampered with does not come back at all.

import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeDicom } from '../support/dicom.ts';
import { type Configuration, type Orthanc, runRefusedOrthanc } from '../support/orthanc.ts';
import { rangeOf } from '../support/store-proxy.ts';
import { createWorlds, type World, type Worlds } from '../support/world.ts';

const PATIENT = 'Noise^Nobody';
const PIXELS = 500_000;
const REFUSAL_LIMIT_MS = 10_000;

let worlds: Worlds;
let keyFile: string;

const instance = (uid: string) =>
  makeDicom({ sopInstanceUid: uid, patientName: PATIENT, pixelBytes: PIXELS });

beforeAll(async () => {
  worlds = await createWorlds();
  keyFile = join(worlds.of('s3').folder, 'master.key');
  await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
});

afterAll(() => worlds.close());

function withEncryption(
  { configure }: World,
  StorageEncryption: Configuration,
  RootPath: string,
): Configuration {
  return { MaximumStorageCacheSize: 0, ...configure({ RootPath, StorageEncryption }) };
}

const sealed = (format: string) => ({ Enable: true, MasterKey: [3, keyFile], Format: format });

async function expectNoise({ store }: World, keys: readonly string[]): Promise<void> {
  expect(keys.length).toBeGreaterThan(0);
  for (const key of keys) {
    const content = await store.read(key);
    // Where it is tells chance (once in 4 GB of noise) from a content in the clear, which has it at 128.
    expect([key, content.indexOf('DICM')]).toEqual([key, -1]);
    expect(content.includes('Noise')).toBe(false);
  }
}

async function expectIntact(orthanc: Orthanc, id: string, file: Buffer): Promise<void> {
  expect((await orthanc.get(`/instances/${id}/file`)).equals(file)).toBe(true);
  const tags = (await orthanc.json(`/instances/${id}/simplified-tags`)) as Record<string, string>;
  expect(tags['PatientName']).toBe(PATIENT);
}

const PLACES = [
  ['A1', 's3'],
  ['A2', 's3'],
  ['A1', 'azure'],
  ['A2', 'azure'],
  ['A1', 'google'],
  ['A2', 'google'],
] as const;

describe.each(PLACES)('%s in %s', (format, provider) => {
  let world: World;
  let orthanc: Orthanc;

  beforeAll(async () => {
    world = worlds.of(provider);
    orthanc = await world.start(`sealed-${format}`, {
      configuration: withEncryption(world, sealed(format), format),
    });
  });

  afterAll(() => orthanc.kill());

  test('comes back as it was, and the bucket holds noise', async () => {
    const file = instance('1.2.9.1');
    world.proxy.forget();
    const { ID } = await orthanc.upload(file);
    // With A1 Orthanc keeps the header in an attachment of its own, since it cannot read a part.
    expect(world.proxy.counts()).toEqual({ [world.createMethod]: format === 'A1' ? 2 : 1 });
    await expectIntact(orthanc, ID, file);
    const keys = await world.objects(format);
    expect(keys.every((key) => key.endsWith('.enc'))).toBe(true);
    expect(keys.some((key) => key.endsWith('.dcm.head.enc'))).toBe(format === 'A1');
    await expectNoise(world, keys);
  });

  test('tags cost one request, of A2 for the first segments only', async () => {
    const { ID } = await orthanc.upload(instance('1.2.9.2'));
    world.proxy.forget();
    await orthanc.get(`/instances/${ID}/tags`);
    const requests = world.proxy.requests();
    expect(requests.map(({ method }) => method)).toEqual(['GET']);
    if (format === 'A2') {
      const [, last = ''] = /^bytes=0-(\d+)$/.exec(requests.map(rangeOf)[0] ?? '') ?? [];
      expect(Number(last)).toBeLessThan(256 * 1024);
    }
  });

  test('a whole read is one request', async () => {
    const file = instance('1.2.9.5');
    const { ID } = await orthanc.upload(file);
    world.proxy.forget();
    expect((await orthanc.get(`/instances/${ID}/file`)).equals(file)).toBe(true);
    expect(world.proxy.counts()).toEqual({ GET: 1 });
  });

  test('a flipped bit is an error, not data', async () => {
    const before = await world.objects(format);
    const { ID } = await orthanc.upload(instance('1.2.9.3'));
    const added = (await world.objects(format)).filter((key) => !before.includes(key));
    const key = added.find((name) => name.endsWith('.dcm.enc')) ?? '';
    // Stored anew, so that the store's own checksums are right.
    const object = await world.store.read(key);
    const middle = Math.floor(object.length / 2);
    object.writeUInt8(object.readUInt8(middle) ^ 1, middle);
    await world.store.write(key, object);
    const { status } = await orthanc.request('GET', `/instances/${ID}/file`);
    expect(status).toBe(500);
    expect(orthanc.pluginLines().some((line) => line.includes('code=INTEGRITY'))).toBe(true);
  });

  test('user-defined attachments of 0, 1 and 70,000 bytes', async () => {
    const { ID } = await orthanc.upload(instance('1.2.9.4'));
    for (const [index, sizeBytes] of [0, 1, 70_000].entries()) {
      const path = `/instances/${ID}/attachments/${5000 + index}`;
      const content = randomBytes(sizeBytes);
      expect((await orthanc.request('PUT', path, content)).status).toBe(200);
      expect((await orthanc.get(`${path}/data`)).equals(content)).toBe(true);
    }
  });

  test('a remove leaves nothing', async () => {
    const patients = (await orthanc.json('/patients')) as string[];
    for (const id of patients) await orthanc.request('DELETE', `/patients/${id}`);
    expect(await world.objects(format)).toEqual([]);
  });

  test('the status names format and key id', async () => {
    const status = await orthanc.json('/object-storage/status');
    expect(status).toMatchObject({ encryption: { format, masterKeyId: 3 } });
  });
});

test('objects from before it was switched on, and after it was switched off, are read and removed', async () => {
  const world = worlds.of('s3');
  const folder = 'mixed';
  const files = ['1.2.9.11', '1.2.9.12', '1.2.9.13'].map(instance);
  const settings = [
    { Enable: false },
    sealed('A1'),
    sealed('A2'),
    { ...sealed('A2'), Enable: false },
  ];
  const ids: string[] = [];
  for (const [index, StorageEncryption] of settings.entries()) {
    const orthanc = await world.start('mixed', {
      configuration: withEncryption(world, StorageEncryption, folder),
    });
    const file = files[index];
    if (file !== undefined) ids.push((await orthanc.upload(file)).ID);
    for (const [position, id] of ids.entries()) {
      await expectIntact(orthanc, id, files[position] ?? Buffer.alloc(0));
    }
    if (index === settings.length - 1) {
      for (const id of ids) await orthanc.request('DELETE', `/instances/${id}`);
      // The header that Orthanc kept beside the A1 object goes with it.
      expect(await world.objects(folder)).toEqual([]);
    }
    await orthanc.kill();
  }
});

describe('keys that are not right stop Orthanc', () => {
  test.each<[string, () => Configuration, string]>([
    ['no file', () => ({ MasterKey: [1, '/nowhere/master.key'] }), '/nowhere/master.key'],
    ['no master key', () => ({ Enable: true }), 'StorageEncryption.MasterKey: is missing'],
    ['an unknown format', () => ({ ...sealed('A3') }), 'must be one of "A1", "A2", not "A3"'],
    [
      'one key under two ids',
      () => ({ ...sealed('A1'), PreviousMasterKeys: [[4, keyFile]] }),
      'StorageEncryption.PreviousMasterKeys[0]',
    ],
  ])('%s', async (name, settings, message) => {
    const world = worlds.of('s3');
    const { status, orthanc } = await runRefusedOrthanc(
      world.options(`refused-${name.replaceAll(' ', '-')}`, {
        configuration: withEncryption(world, settings(), ''),
      }),
      REFUSAL_LIMIT_MS,
    );
    expect(status).not.toBe(0);
    expect(orthanc.log()).toContain(message);
  });
});
