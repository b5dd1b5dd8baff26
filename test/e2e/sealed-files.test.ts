// SPDX-License-Identifier: GPL-3.0-or-later
// Where first bytes tell what is encrypted: files that the C++ plugins have encrypted in Orthanc's folder are read by whoever goes over
// from them; what a client stores is what he reads, whatever it begins with.

import { createSecretKey, randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ContentType } from '../../src/attachments/naming.ts';
import { Envelope } from '../../src/encryption/envelope.ts';
import { Keyring } from '../../src/encryption/keyring.ts';
import { createAes } from '../support/aes.ts';
import {
  createArchive,
  expectAll,
  makeFiles,
  move,
  patientsOf,
  store,
} from '../support/archive.ts';
import { expectSameBytes, makeBody, makeBytes, never } from '../support/bodies.ts';
import { makeDicom } from '../support/dicom.ts';
import { createMemoryStore } from '../support/memory-store.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { createWorld, type World } from '../support/world.ts';

const KEY_ID = 3;

let world: World;
let keyFile: string;
let envelope: Envelope;

beforeAll(async () => {
  world = await createWorld();
  const key = randomBytes(32);
  keyFile = join(world.folder, 'master.key');
  await writeFile(keyFile, key.toString('base64'), { mode: 0o600 });
  envelope = new Envelope({
    keyring: new Keyring([{ id: KEY_ID, key: createSecretKey(key) }], KEY_ID),
    createAes,
    format: 'A1',
    maxInputBytes: 2 ** 30,
  });
});

afterAll(() => world.close());

test('they are read, moved into the bucket, and come back plain', async () => {
  const archive = createArchive(world, 'sealed');
  const orthanc = await archive.start({
    HybridMode: 'WriteToFileSystem',
    StorageEncryption: { Enable: true, MasterKey: [KEY_ID, keyFile], Format: 'A2' },
  });
  expect(orthanc.log()).toMatch(
    /W.*AwsS3Storage\.HybridMode: "WriteToFileSystem" leaves files in the clear in StorageDirectory/,
  );
  const stored = await store(orthanc, makeFiles(3, '1.2.31.1', 200_000));
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

/** What somebody may have got hold of in the bucket. */
async function encryptStrangers(format: 'A1' | 'A2', content: Uint8Array): Promise<Buffer> {
  const store = createMemoryStore();
  const identity = { uuid: 'e1f2a3b4-0000-4000-8000-0123456789ab', contentType: 1 };
  const options = { signal: never(), format };
  await envelope.put(store, 'theirs', makeBody(content), identity, options);
  return Buffer.from(store.objects.get('theirs') ?? '');
}

const MB = 1024 * 1024;
const withHead = (bytes: Uint8Array) => {
  const content = Buffer.from(bytes);
  content.write(`A1${String.fromCharCode(KEY_ID)}\0\0\0`, 'latin1');
  return content;
};

/** By the numbers of attachments. @returns what expects them all to be as they were stored */
async function attachHostile(orthanc: Orthanc, id: string, isCompressed: boolean) {
  const strangers = makeDicom({ sopInstanceUid: '1.2.31.9', pixelBytes: 5000 });
  const contents = new Map<number, Uint8Array>([
    [1025, await encryptStrangers('A1', strangers)],
    [1026, await encryptStrangers('A2', strangers)],
    [1027, withHead(makeBytes(85))],
    [1028, withHead(makeBytes(86))],
    [1029, Buffer.from('A1')],
    [1030, withHead(makeBytes(5 * MB + 1))],
    // With StorageCompression a content begins with its size, that is with "A1" and "A2" and the key id 1.
    ...[78_144, 78_145, 78_146, 78_401].map(
      (sizeBytes, index) => [1031 + index, makeBytes(sizeBytes)] as const,
    ),
    // The same, with the key that is configured.
    [1035, makeBytes(0x3141 + KEY_ID * 65_536)],
    [1036, makeBytes(0x3241 + KEY_ID * 65_536)],
  ]);
  const path = `/instances/${id}/attachments`;
  for (const [number, bytes] of contents) {
    const { status } = await orthanc.request('PUT', `${path}/${number}`, bytes);
    expect(status).toBe(200);
  }
  return async () => {
    for (const [number, bytes] of contents) {
      expectSameBytes(await orthanc.get(`${path}/${number}/data`), bytes);
      const range = { range: 'bytes=1-1' };
      const part = await orthanc.request('GET', `${path}/${number}/data`, undefined, range);
      if (!isCompressed) expect(part.body).toEqual(Buffer.from(bytes.subarray(1, 2)));
    }
  };
}

/** One for a key that is configured, one for another. */
function makeHostileDicom(prefix: string): readonly Buffer[] {
  return ['A1\x03\0\0\0', 'A2\x03\0\0\0', 'A1\x07\0\0\0'].map((head, index) => {
    const file = makeDicom({ sopInstanceUid: `${prefix}.${index}`, pixelBytes: 300_000 });
    // Any preamble is allowed; behind the key id something else than zeros.
    file.write(`${head}hello`, 'latin1');
    return file;
  });
}

test.each([false, true])(
  'on the disk, whatever a client stores comes back as it was, there and from the bucket; StorageCompression %s',
  async (isCompressed) => {
    const name = `hostile-${isCompressed}`;
    const archive = createArchive(world, name);
    const changes = {
      HybridMode: 'WriteToFileSystem',
      StorageEncryption: { Enable: true, MasterKey: [KEY_ID, keyFile], Format: 'A2' },
    };
    const orthanc = await archive.start(changes, { StorageCompression: isCompressed });
    const stored = await store(orthanc, makeHostileDicom(`1.2.32.${Number(isCompressed)}`));
    const [id = ''] = stored.digests.keys();
    const expectAttached = await attachHostile(orthanc, id, isCompressed);
    const patients = await patientsOf(orthanc);
    const expectEverything = async () => {
      await expectAll(orthanc, stored);
      await expectAttached();
    };
    await expectEverything();
    for (const target of ['object-storage', 'file-system']) {
      const { content } = await move(orthanc, target, patients);
      expect(content).toMatchObject({ Failed: 0, Failures: [] });
      expect(await (target === 'file-system' ? archive.objects() : archive.files())).toEqual([]);
      await expectEverything();
    }
    expect(orthanc.errorsSince(0)).toEqual([]);
    await archive.clear(orthanc);
    await orthanc.stop();
  },
);

test.each([false, true])(
  'in the legacy structure, with keys kept and Enable false, too; StorageCompression %s',
  async (isCompressed) => {
    const archive = createArchive(world, `legacy-${isCompressed}`);
    const changes = {
      StorageStructure: 'legacy',
      StorageEncryption: { Enable: false, PreviousMasterKeys: [[KEY_ID, keyFile]] },
    };
    const orthanc = await archive.start(changes, { StorageCompression: isCompressed });
    const stored = await store(orthanc, makeHostileDicom(`1.2.33.${Number(isCompressed)}`));
    const [id = ''] = stored.digests.keys();
    const expectAttached = await attachHostile(orthanc, id, isCompressed);
    await expectAll(orthanc, stored);
    await expectAttached();
    expect(orthanc.errorsSince(0)).toEqual([]);
    await archive.clear(orthanc);
    await orthanc.stop();
  },
);
