// SPDX-License-Identifier: GPL-3.0-or-later

import { beforeEach, describe, expect, test } from 'vitest';
import {
  type AttachmentStore,
  createAttachmentStore,
} from '../../../src/attachments/attachments.ts';
import { createHybridStore, nameFailures } from '../../../src/attachments/hybrid.ts';
import { Moves } from '../../../src/attachments/moves.ts';
import { ContentType, ORTHANC_NAMING } from '../../../src/attachments/naming.ts';
import { createFileSystemStore } from '../../../src/providers/index.ts';
import { expectFailure, makeBody, makeSink, never } from '../../support/bodies.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';

const UUID = 'aabbccdd-0000-4000-8000-000000000001';
const FLAT = `${UUID}.dcm`;
const LEGACY = `aa/bb/${UUID}`;
const attachment = { uuid: UUID, contentType: ContentType.Dicom };
const bytes = Buffer.from('something');

let first: MemoryStore;
let second: MemoryStore;
let hybrid: AttachmentStore;
const options = { signal: never() };

beforeEach(() => {
  first = createMemoryStore();
  second = createMemoryStore();
  hybrid = createHybridStore(
    attachments(first, 'flat'),
    attachments(second, 'legacy'),
    new Moves(),
  );
});

const attachments = (store: MemoryStore, structure: 'flat' | 'legacy') =>
  createAttachmentStore({
    store,
    naming: { rootPath: '', structure, legacyUnknownFiles: false },
  });

async function read(range?: { start: number; end: number }): Promise<string> {
  const sink = makeSink();
  await hybrid.get(attachment, range, sink, options);
  return Buffer.from(sink.bytes()).toString();
}

test('new files go to the first store only', async () => {
  await hybrid.put(attachment, makeBody(bytes), options);
  expect([...first.objects.keys()]).toEqual([FLAT]);
  expect(second.calls()).toEqual([]);
  expect(await read()).toBe('something');
  expect(second.calls()).toEqual([]);
});

test('a failure tells which of the two failed', async () => {
  const named = (name: string, store: MemoryStore) =>
    nameFailures({ name, attachments: attachments(store, 'legacy') });
  const both = createHybridStore(named('s3', first), named('file-system', second), new Moves());
  second.failWhen(() => 'UNAVAILABLE');
  const reading = both.get(attachment, undefined, makeSink(), options);
  expect(await expectFailure(reading, 'UNAVAILABLE')).toMatchObject({ store: 'file-system' });
  const removing = both.remove(attachment, options);
  expect(await expectFailure(removing, 'UNAVAILABLE')).toMatchObject({ store: 'file-system' });
  first.failWhen(() => 'ACCESS_DENIED');
  const writing = both.put(attachment, makeBody(bytes), options);
  expect(await expectFailure(writing, 'ACCESS_DENIED')).toMatchObject({ store: 's3' });
});

describe('a file of the second store', () => {
  beforeEach(() => {
    second.objects.set(LEGACY, bytes);
  });

  test.each([
    ['a whole read', undefined, 'something'],
    ['a range', { start: 4, end: 9 }, 'thing'],
  ])('%s costs one request more', async (_name, range, expected) => {
    expect(await read(range)).toBe(expected);
    expect(first.calls()).toEqual([`get ${FLAT}`]);
    expect(second.calls()).toEqual([`get ${LEGACY}`]);
  });

  test('a failure of the first store is an error, not "not there"', async () => {
    first.failWhen(() => 'UNAVAILABLE');
    await expectFailure(read(), 'UNAVAILABLE');
    expect(second.calls()).toEqual([]);
  });

  test('so is one of the second', async () => {
    second.failWhen(() => 'ACCESS_DENIED');
    await expectFailure(read(), 'ACCESS_DENIED');
  });

  test('is found where it goes to the first between the two requests', async () => {
    second.waitAt(() => {
      first.objects.set(FLAT, bytes);
      second.objects.delete(LEGACY);
      return undefined;
    });
    expect(await read()).toBe('something');
  });

  test('is found by its key', async () => {
    expect(await hybrid.find(attachment, options)).toEqual({
      key: LEGACY,
      storedBytes: bytes.length,
    });
  });
});

test('what is in neither is not found', async () => {
  await expectFailure(read(), 'NOT_FOUND');
  expect(await hybrid.find(attachment, options)).toBeUndefined();
});

describe('a removal', () => {
  beforeEach(() => {
    first.objects.set(FLAT, bytes);
    second.objects.set(LEGACY, bytes);
  });

  test('clears both', async () => {
    await hybrid.remove(attachment, options);
    expect(first.objects.size + second.objects.size).toBe(0);
    await hybrid.remove(attachment, options);
  });

  test.each([
    ['first', () => [first, second] as const],
    ['second', () => [second, first] as const],
  ])('fails where the %s store does, and clears the other', async (_name, pick) => {
    const [broken, other] = pick();
    broken.failWhen(() => 'UNAVAILABLE');
    await expectFailure(hybrid.remove(attachment, options), 'UNAVAILABLE');
    expect(broken.objects.size).toBe(1);
    expect(other.objects.size).toBe(0);
  });
});

describe("a disk that isn't there", () => {
  const files = () =>
    createAttachmentStore({
      store: createFileSystemStore({ folder: '/nowhere/storage', isSynchronous: false }),
      naming: ORTHANC_NAMING,
    });

  test.each([
    ['first', () => createHybridStore(files(), attachments(second, 'flat'), new Moves())],
    ['second', () => createHybridStore(attachments(first, 'flat'), files(), new Moves())],
  ])('as the %s store: a read is an error, never "not there"', async (_name, make) => {
    hybrid = make();
    await expectFailure(read(), 'UNAVAILABLE', /StorageDirectory/);
    await expectFailure(hybrid.find(attachment, options), 'UNAVAILABLE');
  });

  test('a removal clears the bucket, and says that the file may be left', async () => {
    first.objects.set(FLAT, bytes);
    hybrid = createHybridStore(attachments(first, 'flat'), files(), new Moves());
    await expectFailure(hybrid.remove(attachment, options), 'UNAVAILABLE', /StorageDirectory/);
    expect(first.objects.size).toBe(0);
  });
});
