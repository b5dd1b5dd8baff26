// SPDX-License-Identifier: GPL-3.0-or-later

import { createSecretKey, randomBytes } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { createAttachmentStore } from '../../../src/attachments/attachments.ts';
import { locate, type NamedStore } from '../../../src/attachments/locate.ts';
import { contentTypeOf, ORTHANC_NAMING } from '../../../src/attachments/naming.ts';
import { Envelope } from '../../../src/encryption/envelope.ts';
import { Keyring } from '../../../src/encryption/keyring.ts';
import type { Resource } from '../../../src/orthanc/api.ts';
import { createAes } from '../../support/aes.ts';
import { expectFailure, makeBody, never } from '../../support/bodies.ts';
import { createFakeIndex, type FakeAttachment, type FakeIndex } from '../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';

const KEY_ID = 7;

let index: FakeIndex;
let bucket: MemoryStore;
let files: MemoryStore;
let stores: readonly [NamedStore, NamedStore];

beforeEach(() => {
  index = createFakeIndex(3);
  bucket = createMemoryStore();
  files = createMemoryStore();
  const envelope = new Envelope({
    keyring: new Keyring([{ id: KEY_ID, key: createSecretKey(randomBytes(32)) }], KEY_ID),
    createAes,
    format: 'A2',
    maxInputBytes: 1024 * 1024,
  });
  const naming = { rootPath: 'root', structure: 'flat', legacyUnknownFiles: false } as const;
  stores = [
    { name: 's3', attachments: createAttachmentStore({ store: bucket, naming, envelope }) },
    {
      name: 'file-system',
      attachments: createAttachmentStore({ store: files, naming: ORTHANC_NAMING }),
    },
  ];
});

const find = (resource: Resource) =>
  locate({ api: index.api, stores }, resource, { signal: never() });

async function put(where: NamedStore, { uuid, contentType, bytes }: FakeAttachment) {
  const attachment = { uuid, contentType: contentTypeOf(contentType) };
  await where.attachments.put(attachment, makeBody(bytes), { signal: never() });
}

test('in either store, in both, and in none: key, sizes and encryption of each', async () => {
  const [sealed, plain, both] = index.attachments.filter(({ name }) => name === 'dicom');
  if (sealed === undefined || plain === undefined || both === undefined) throw new Error('none');
  await put(stores[0], sealed);
  await put(stores[1], plain);
  await put(stores[0], both);
  await put(stores[1], both);
  const found = await find(index.series);
  const inBucket = ({ uuid }: FakeAttachment) => ({
    store: 's3',
    key: `root/${uuid}.dcm.enc`,
    storedBytes: bucket.objects.get(`root/${uuid}.dcm.enc`)?.length,
    encryption: { format: 'A2', keyId: KEY_ID },
  });
  const onDisk = ({ uuid, bytes }: FakeAttachment) => ({
    store: 'file-system',
    key: `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`,
    storedBytes: bytes.length,
    encryption: null,
  });
  const located = (attachment: FakeAttachment, where: readonly unknown[]) => ({
    level: 'instances',
    resource: attachment.resource.id,
    name: attachment.name,
    uuid: attachment.uuid,
    contentType: attachment.contentType,
    plainBytes: attachment.bytes.length,
    stores: where,
  });
  const lost = index.attachments.find(({ name }) => name === '1024');
  if (lost === undefined) throw new Error('none');
  expect(found).toHaveLength(4);
  for (const expected of [
    located(sealed, [inBucket(sealed)]),
    located(plain, [onDisk(plain)]),
    located(both, [inBucket(both), onDisk(both)]),
    located(lost, []),
  ]) {
    expect(found).toContainEqual(expected);
  }
});

test.each([
  ['patients', 6],
  ['studies', 5],
  ['series', 4],
  ['instances', 2],
] as const)('of %s: its own attachments and those below, not those above', async (level, count) => {
  const { patient, study, series, instances } = index;
  const [first] = instances;
  const resource = [patient, study, series, first].find((one) => one?.level === level);
  expect(await find(resource ?? patient)).toHaveLength(count);
});

test('what Orthanc does not have', async () => {
  const unknown = index.study.id.replaceAll(/[0-9]/g, 'a');
  expect(await find({ level: 'studies', id: unknown })).toBeUndefined();
  expect(await find({ level: 'series', id: index.study.id })).toBeUndefined();
  expect(await find({ level: 'studies', id: '../system' })).toBeUndefined();
});

test('a store that fails is an error, never an answer that looks complete', async () => {
  files.failWhen(() => 'UNAVAILABLE');
  await expectFailure(find(index.patient), 'UNAVAILABLE');
});

test('after a failure, the others are not looked for any more', async () => {
  index = createFakeIndex(200);
  files.failWhen((_call, count) => (count === 3 ? 'UNAVAILABLE' : undefined));
  await expectFailure(find(index.patient), 'UNAVAILABLE');
  await new Promise(setImmediate);
  expect(files.calls().length).toBeLessThan(50);
});

test('one that was cut is shown as damaged, and withholds no other one', async () => {
  const [cut, empty, whole] = index.attachments.filter(({ name }) => name === 'dicom');
  if (cut === undefined || empty === undefined || whole === undefined) throw new Error('none');
  for (const each of [cut, empty, whole]) await put(stores[0], each);
  const keyOf = ({ uuid }: FakeAttachment) => `root/${uuid}.dcm.enc`;
  const bytes = bucket.objects.get(keyOf(cut));
  bucket.objects.set(keyOf(cut), bytes?.subarray(0, 60) ?? Buffer.alloc(0));
  bucket.objects.set(keyOf(empty), Buffer.alloc(0));
  const found = (await find(index.series)) ?? [];
  const damagedOf = ({ uuid }: FakeAttachment) =>
    found.find((each) => each.uuid === uuid)?.stores.map(({ damaged }) => damaged ?? false);
  expect([cut, empty, whole].map(damagedOf)).toEqual([[true], [true], [false]]);
});
