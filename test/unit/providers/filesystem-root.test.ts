// SPDX-License-Identifier: GPL-3.0-or-later
// A disk that is not mounted is not a folder without files.

import { mkdir, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createFileSystemStore } from '../../../src/providers/filesystem/store.ts';
import type { ObjectStore } from '../../../src/store/object-store.ts';
import { expectFailure, makeBody, makeBytes, makeSink, never } from '../../support/bodies.ts';

const KEY = '0c/1d/0c1d7e34-9d2a-4a8f-8a0e-1f2b3c4d5e6f';
/** A mount point that every Linux has. */
const MOUNTED = '/dev/shm';

let base: string;
let root: string;
let store: ObjectStore;
const signal = never();

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  root = join(base, 'root');
  store = createFileSystemStore({ folder: root, isSynchronous: false });
});

afterEach(async () => {
  await store.close();
  await rm(base, { recursive: true });
});

async function listAll(): Promise<readonly string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('', { signal })) keys.push(key);
  return keys;
}

const OPERATIONS: readonly (readonly [string, () => Promise<unknown>])[] = [
  ['a read', () => store.get(KEY, undefined, makeSink(), { signal })],
  ['a read of a range', () => store.get(KEY, { start: 0, end: 1 }, makeSink(), { signal })],
  ['a look', () => store.head(KEY, { signal })],
  ['a removal', () => store.delete(KEY, { signal })],
  ['a write', () => store.put(KEY, makeBody(makeBytes(10)), { signal })],
  ['a listing', () => listAll()],
];

describe('a folder that is gone', () => {
  beforeEach(async () => {
    await mkdir(root);
    await store.check({ signal });
    await rm(root, { recursive: true });
  });

  test.each(OPERATIONS)('%s tells so, instead of "not there"', async (_name, operate) => {
    await expectFailure(operate(), 'UNAVAILABLE', /StorageDirectory ".+" .*is its disk mounted/);
    expect(await readdir(base)).toEqual([]);
  });
});

describe('a mount point from which the disk has gone', () => {
  beforeEach(async () => {
    await symlink(MOUNTED, root);
    await store.check({ signal });
    await rm(root);
    await mkdir(root);
  });

  test.each(OPERATIONS)('%s tells so, instead of "not there"', async (_name, operate) => {
    await expectFailure(operate(), 'UNAVAILABLE', /StorageDirectory ".+" .*mount its disk again/);
    expect(await readdir(root)).toEqual([]);
  });

  test('when it is back, all goes on', async () => {
    await expectFailure(store.head(KEY, { signal }), 'UNAVAILABLE');
    await rm(root, { recursive: true });
    await symlink(MOUNTED, root);
    expect(await store.head(KEY, { signal })).toBeUndefined();
  });
});

test('a folder that is there and empty is just that', async () => {
  await mkdir(root);
  expect(await store.head(KEY, { signal })).toBeUndefined();
  await expectFailure(store.get(KEY, undefined, makeSink(), { signal }), 'NOT_FOUND');
  await store.delete(KEY, { signal });
  expect(await listAll()).toEqual([]);
});
