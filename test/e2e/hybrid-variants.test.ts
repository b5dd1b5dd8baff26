// SPDX-License-Identifier: GPL-3.0-or-later
// Hybrid storage with each provider, structure and encryption: there, back, and nothing left. What happens on the way is in hybrid.test.ts.

import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type Archive,
  createArchive,
  expectAll,
  makeFiles,
  move,
  patientsOf,
  type Stored,
  store,
} from '../support/archive.ts';
import type { Orthanc } from '../support/orthanc.ts';
import {
  createWorlds,
  describeProviders,
  type Provider,
  type World,
  type Worlds,
} from '../support/world.ts';

const HYBRID = { HybridMode: 'WriteToObjectStorage' };
const MIGRATION = { MigrationFromFileSystemEnabled: true };
const VARIANTS: Readonly<
  Record<Provider, readonly (readonly ['flat' | 'legacy', 'plain' | 'A1' | 'A2', object])[]>
> = {
  // Flat and plain is in hybrid.test.ts.
  s3: [
    ['flat', 'A1', HYBRID],
    ['legacy', 'A2', HYBRID],
    ['legacy', 'plain', MIGRATION],
  ],
  azure: [
    ['flat', 'plain', HYBRID],
    ['legacy', 'A1', HYBRID],
    ['flat', 'A2', HYBRID],
  ],
  google: [
    ['legacy', 'plain', HYBRID],
    ['flat', 'A1', HYBRID],
    ['legacy', 'A2', HYBRID],
  ],
};
const INSTANCES = 4;
const PIXEL_BYTES = 200_000;
/** They look as if they were encrypted; on the disk nothing is. */
const ATTACHED = ['A1', 'A2'].map((magic) => Buffer.concat([Buffer.from(magic), randomBytes(200)]));

let worlds: Worlds;
let keyFile: string;

beforeAll(async () => {
  worlds = await createWorlds();
  keyFile = join(worlds.of('s3').folder, 'master.key');
  await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
});

afterAll(() => worlds.close());

async function attach(orthanc: Orthanc, { uploads }: Stored): Promise<void> {
  for (const [index, content] of ATTACHED.entries()) {
    const path = `/instances/${uploads[index]?.ID}/attachments/1030`;
    expect((await orthanc.request('PUT', path, content)).status).toBe(200);
  }
}

/** Whole contents, ranges, tags, and what users attached. */
async function expectReadable(orthanc: Orthanc, stored: Stored): Promise<void> {
  await expectAll(orthanc, stored);
  for (const [index, content] of ATTACHED.entries()) {
    const path = `/instances/${stored.uploads[index]?.ID}/attachments/1030/data`;
    expect((await orthanc.get(path)).equals(content)).toBe(true);
  }
  const [first] = stored.digests.keys();
  const tags = (await orthanc.json(`/instances/${first}/simplified-tags`)) as object;
  expect(tags).toHaveProperty('PatientName', 'Doe^Jane');
  const range = { range: 'bytes=128-131' };
  const magic = await orthanc.get(`/instances/${first}/attachments/dicom/data`, range);
  expect(magic.toString()).toBe('DICM');
}

async function expectPlainFiles(archive: Archive): Promise<void> {
  const contents = await Promise.all(
    (await archive.files()).map((uuid) =>
      readFile(join(archive.folder, uuid.slice(0, 2), uuid.slice(2, 4), uuid)),
    ),
  );
  // With A1, Orthanc keeps their headers besides.
  const whole = contents.filter(({ length }) => length > PIXEL_BYTES);
  expect(whole).toHaveLength(2 * INSTANCES);
  expect(whole.every((content) => content.includes('DICM'))).toBe(true);
}

async function expectObjects(
  { store: bucket }: World,
  keys: readonly string[],
  structure: string,
  format: string,
): Promise<void> {
  for (const key of keys) {
    const content = await bucket.read(key);
    if (structure === 'legacy') expect(key).toMatch(/\/[0-9a-f]{2}\/[0-9a-f]{2}\/[0-9a-f-]{36}$/);
    else expect(key.endsWith('.enc')).toBe(format !== 'plain');
    if (format === 'plain') continue;
    expect(content.subarray(0, 2).toString()).toBe(format);
    // Where it is tells chance (once in 4 GB of noise) from a content in the clear, which has it at 128.
    expect([key, content.indexOf('DICM')]).toEqual([key, -1]);
  }
}

describeProviders('hybrid storage', (provider) => {
  test.each(VARIANTS[provider])('%s, %s', async (structure, format, mode) => {
    const world = worlds.of(provider);
    const name = `${structure}-${format}`;
    const archive = createArchive(world, name);
    const objects = () => world.objects(name);

    const plain = await archive.startPlain();
    const old = await store(plain, makeFiles(INSTANCES, '1.2.12.1', PIXEL_BYTES));
    await attach(plain, old);
    await plain.stop();
    const oldFiles = await archive.files();

    const encryption =
      format === 'plain'
        ? {}
        : { StorageEncryption: { Enable: true, MasterKey: [3, keyFile], Format: format } };
    const orthanc = await archive.start({
      ...mode,
      ...encryption,
      RootPath: name,
      StorageStructure: structure,
    });
    const recent = await store(orthanc, makeFiles(INSTANCES, '1.2.12.2', PIXEL_BYTES));
    await attach(orthanc, recent);
    expect(await archive.files()).toEqual(oldFiles);
    const recentObjects = await objects();
    expect(recentObjects.length).toBeGreaterThanOrEqual(INSTANCES + ATTACHED.length);
    await expectObjects(world, recentObjects, structure, format);
    for (const stored of [old, recent]) await expectReadable(orthanc, stored);

    const there = await move(orthanc, 'object-storage', await patientsOf(orthanc));
    expect(there.content).toMatchObject({ Failed: 0, Failures: [] });
    expect(await archive.files()).toEqual([]);
    const all = await objects();
    await expectObjects(world, all, structure, format);
    for (const stored of [old, recent]) await expectReadable(orthanc, stored);

    const back = await move(orthanc, 'file-system', await patientsOf(orthanc));
    expect(back.content).toMatchObject({ Moved: all.length, Failed: 0 });
    expect(await objects()).toEqual([]);
    await expectPlainFiles(archive);
    for (const stored of [old, recent]) await expectReadable(orthanc, stored);

    for (const id of await patientsOf(orthanc)) await orthanc.request('DELETE', `/patients/${id}`);
    expect(await archive.files()).toEqual([]);
    expect(await objects()).toEqual([]);
    expect(orthanc.pluginLines().filter((line) => line.startsWith('E'))).toEqual([]);
    await orthanc.stop();
  });
});
