// SPDX-License-Identifier: GPL-3.0-or-later
// Files that the C++ plugins have encrypted in Orthanc's folder, read by whoever goes over from them.

import { createSecretKey, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createEnvelope } from '../../src/encryption/envelope.ts';
import { createKeyring } from '../../src/encryption/keyring.ts';
import { ContentType } from '../../src/naming.ts';
import {
  createArchive,
  expectAll,
  makeFiles,
  move,
  patientsOf,
  store,
} from '../support/archive.ts';
import { makeBody, never } from '../support/bodies.ts';
import { ciphers } from '../support/ciphers.ts';
import { createMemoryStore } from '../support/memory-store.ts';
import { createWorld, type World } from '../support/world.ts';

const KEY_ID = 3;

let world: World;

beforeAll(async () => {
  world = await createWorld();
});

afterAll(() => world.close());

test('they are read, moved into the bucket, and come back plain', async () => {
  const key = randomBytes(32);
  const keyFile = join(world.folder, 'master.key');
  await writeFile(keyFile, key.toString('base64'), { mode: 0o600 });
  const archive = createArchive(world, 'sealed');
  const orthanc = await archive.start({
    HybridMode: 'WriteToFileSystem',
    StorageEncryption: { Enable: true, MasterKey: [KEY_ID, keyFile], Format: 'A2' },
  });
  expect(orthanc.log()).toMatch(
    /W.*AwsS3Storage\.HybridMode: "WriteToFileSystem" leaves files in the clear in StorageDirectory/,
  );
  const stored = await store(orthanc, makeFiles(3, '1.2.31.1', 200_000));
  const envelope = createEnvelope({
    keyring: createKeyring([{ id: KEY_ID, key: createSecretKey(key) }], KEY_ID),
    ciphers,
    format: 'A1',
    maxInputBytes: 2 ** 30,
    now: () => performance.now(),
  });
  const paths = (await archive.files()).map((uuid) => ({
    uuid,
    path: join(archive.folder, uuid.slice(0, 2), uuid.slice(2, 4), uuid),
  }));
  const sealed = createMemoryStore();
  for (const { uuid, path } of paths) {
    const identity = { uuid, contentType: ContentType.Dicom };
    const content = makeBody(await readFile(path));
    await envelope.put(sealed, path, content, identity, { signal: never() });
    await writeFile(path, sealed.objects.get(path) ?? '');
  }

  await expectAll(orthanc, stored);
  const [id] = stored.digests.keys();
  const range = { range: 'bytes=1000-1099' };
  expect(await orthanc.get(`/instances/${id}/attachments/dicom/data`, range)).toHaveLength(100);
  const located = (await orthanc.json(`/object-storage/locate/instances/${id}`)) as object;
  expect(located).toMatchObject([
    { stores: [{ store: 'file-system', encryption: { format: 'A1', keyId: KEY_ID } }] },
  ]);

  const patients = await patientsOf(orthanc);
  const there = await move(orthanc, 'object-storage', patients);
  expect(there.content).toMatchObject({ Moved: 3, Failed: 0 });
  await expectAll(orthanc, stored);
  const back = await move(orthanc, 'file-system', patients);
  expect(back.content).toMatchObject({ Moved: 3, Failed: 0 });
  await expectAll(orthanc, stored);
  for (const { path } of paths) {
    expect((await readFile(path)).toString('latin1', 128, 132)).toBe('DICM');
  }
  expect(orthanc.errorsSince(0)).toEqual([]);
  await archive.clear(orthanc);
  await orthanc.stop();
});
