// SPDX-License-Identifier: GPL-3.0-or-later
// What a folder of files owes its users: Orthanc's layout, nothing half written, nothing outside, and words for what a disk does.

import { execFileSync } from 'node:child_process';
import { setMaxListeners } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { StorageError } from '../../src/errors.ts';
import { toFileSystemError } from '../../src/providers/filesystem/errors.ts';
import { temporaryName } from '../../src/providers/filesystem/paths.ts';
import { createFileSystemStore } from '../../src/providers/filesystem/store.ts';
import { bodyFrom } from '../../src/store/bodies.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';

const UUID = '0c1d7e34-9d2a-4a8f-8a0e-1f2b3c4d5e6f';
const KEY = `0c/1d/${UUID}`;
/** Never aborted; many tests listen to it at once. */
const signal = never();
setMaxListeners(0, signal);

let base: string;
let root: string;
let store: ObjectStore;

beforeEach(async () => {
  base = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  root = join(base, 'root');
  await mkdir(root);
  store = createFileSystemStore({ folder: root, isSynchronous: true });
});

afterEach(async () => {
  await store.close();
  await rm(base, { recursive: true });
});

const put = (key: string, bytes = makeBytes(100)) => store.put(key, makeBody(bytes), { signal });
async function list(prefix = '') {
  const found: string[] = [];
  for await (const { key } of store.list(prefix, { signal })) found.push(key);
  return found;
}
const filesIn = async (folder: string) => (await readdir(folder, { recursive: true })).sort();

describe('layout', () => {
  test("a file lies where Orthanc's own storage has it, and what Orthanc wrote is read", async () => {
    const bytes = makeBytes(70_000);
    await put(KEY, bytes);
    expectSameBytes(await readFile(join(root, '0c', '1d', UUID)), bytes);
    await mkdir(join(root, 'ab/cd'), { recursive: true });
    await writeFile(join(root, 'ab/cd/abcd'), 'by Orthanc');
    const sink = makeSink();
    await store.get('ab/cd/abcd', undefined, sink, { signal });
    expect(Buffer.from(sink.bytes()).toString()).toBe('by Orthanc');
  });

  test('a removal leaves no empty folder, and what is not empty', async () => {
    await put(KEY);
    await put('0c/ff/other');
    await store.delete(KEY, { signal });
    expect(await filesIn(root)).toEqual(['0c', '0c/ff', '0c/ff/other']);
    await store.delete('0c/ff/other', { signal });
    expect(await filesIn(root)).toEqual([]);
  });

  describe('a link in the place of a file', () => {
    let secret: string;

    beforeEach(async () => {
      secret = join(base, 'of-root-alone');
      await writeFile(secret, 'secret');
      await mkdir(join(root, '0c/1d'), { recursive: true });
      await symlink(secret, join(root, KEY));
    });

    test('is listed, and never followed: whole, range, look-up, as a large file', async () => {
      expect(await list()).toEqual([KEY]);
      const message = /symbolic link, which is not followed/;
      const sink = makeSink();
      const range = { start: 0, end: 1 };
      await expectFailure(store.get(KEY, undefined, sink, { signal }), 'INTEGRITY', message);
      await expectFailure(store.get(KEY, range, sink, { signal }), 'INTEGRITY', message);
      await expectFailure(store.head(KEY, { signal }), 'INTEGRITY', message);
      const opening = store.files?.open(KEY, { signal });
      await expectFailure(opening ?? Promise.resolve(), 'INTEGRITY', message);
      expect(sink.begins()).toBe(0);
    });

    test('is replaced by a write, and removed by a removal, not what it leads to', async () => {
      await put(KEY, makeBytes(10));
      expectSameBytes(await readFile(join(root, KEY)), makeBytes(10));
      await rm(join(root, KEY));
      await symlink(secret, join(root, KEY));
      await store.delete(KEY, { signal });
      expect(await list()).toEqual([]);
      expect((await readFile(secret)).toString()).toBe('secret');
    });
  });

  test('a pipe in the place of a file keeps nobody waiting', async () => {
    await mkdir(join(root, '0c/1d'), { recursive: true });
    execFileSync('mkfifo', [join(root, KEY)]);
    await expectFailure(store.get(KEY, undefined, makeSink(), { signal }), 'NOT_FOUND');
  });

  test('a folder is no object', async () => {
    await put(KEY);
    await expectFailure(store.get('0c/1d', undefined, makeSink(), { signal }), 'NOT_FOUND');
    expect(await store.head('0c/1d', { signal })).toBeUndefined();
    await store.delete('0c/1d', { signal });
    expect(await list()).toEqual([KEY]);
  });

  test.each(['', '/', '/etc/passwd', '..', '../x', 'a/../../x', 'a//b', './a', 'a/.', 'a\0b'])(
    'the key %j leads nowhere',
    async (key) => {
      await expectFailure(put(key), 'INTERNAL', /StorageDirectory/);
      await expectFailure(store.get(key, undefined, makeSink(), { signal }), 'INTERNAL');
      await expectFailure(store.delete(key, { signal }), 'INTERNAL');
      await expectFailure(store.head(key, { signal }), 'INTERNAL');
      expect(await filesIn(root)).toEqual([]);
    },
  );

  test('no key leaves the folder, and each that is taken comes back in the list', async () => {
    const name = fc.oneof(
      fc.string({ unit: 'binary', minLength: 0, maxLength: 8 }),
      fc.constantFrom('..', '.', '', temporaryName('x')),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(name, { minLength: 1, maxLength: 3 }), async (names) => {
        const key = names.join('/');
        try {
          await put(key, makeBytes(3));
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(StorageError);
          return;
        }
        expect(await list()).toEqual([key]);
        await store.delete(key, { signal });
        expect(await filesIn(base)).toEqual(['root']);
      }),
    );
    expect(await filesIn(base)).toEqual(['root']);
  });
});

describe('whole or nothing', () => {
  test('a body that fails leaves neither file nor folder, and the old file as it was', async () => {
    const broken = (sizeBytes: number) =>
      bodyFrom(sizeBytes, (start, target) => {
        if (start > 0) throw new StorageError('ABORTED', 'the request is over');
        target.set(makeBytes(target.length));
      });
    await expectFailure(store.put(KEY, broken(1_000_000), { signal }), 'ABORTED');
    expect(await filesIn(root)).toEqual([]);
    await put(KEY, makeBytes(10));
    await expectFailure(store.put(KEY, broken(1_000_000), { signal }), 'ABORTED');
    expect(await filesIn(root)).toEqual(['0c', '0c/1d', KEY]);
    expect((await stat(join(root, KEY))).size).toBe(10);
  });

  test('readers of a file that is replaced get the old one or the new one', async () => {
    const [old, fresh] = [makeBytes(3_000_000, 1), makeBytes(3_000_000, 2)];
    await put(KEY, old);
    const reading = Array.from({ length: 20 }, async () => {
      const sink = makeSink();
      await store.get(KEY, undefined, sink, { signal });
      return sink.bytes();
    });
    await put(KEY, fresh);
    for (const bytes of await Promise.all(reading)) {
      expect([old, fresh].some((each) => Buffer.compare(each, bytes) === 0)).toBe(true);
    }
  });

  test('writers and removers of one folder do not disturb each other', async () => {
    const keys = Array.from({ length: 8 }, (_, index) => `0c/1d/${index}`);
    await Promise.all(
      keys.map(async (key) => {
        for (let round = 0; round < 40; round++) {
          await put(key);
          await store.delete(key, { signal });
        }
      }),
    );
    expect(await filesIn(root)).toEqual([]);
  });

  test('a file that is cut while it is read is an error', async () => {
    await put(KEY, makeBytes(3_000_000));
    const sink = makeSink();
    const cutting = {
      begin: (size: number, total: number) => {
        sink.begin(size, total);
      },
      write: (offset: number, bytes: Uint8Array) => {
        sink.write(offset, bytes);
        void writeFile(join(root, KEY), 'short');
      },
    };
    await expectFailure(store.get(KEY, undefined, cutting, { signal }), 'SHORT_BODY');
  });
});

describe('lists', () => {
  test('are in the order of object stores, without what is being written', async () => {
    for (const key of ['b', 'a.b', 'a/z', 'a/b/c', 'a-b', 'ab/c', 'a/b.c']) await put(key);
    await writeFile(join(root, 'a', temporaryName('1')), 'half');
    const all = ['a-b', 'a.b', 'a/b.c', 'a/b/c', 'a/z', 'ab/c', 'b'];
    expect(await list()).toEqual(all);
    expect(await list('a')).toEqual(all.filter((key) => key.startsWith('a')));
    expect(await list('a/b')).toEqual(['a/b.c', 'a/b/c']);
    expect(await list('a/b/')).toEqual(['a/b/c']);
    expect(await list('no/such')).toEqual([]);
    expect(await list('b/')).toEqual([]);
    await expectFailure(list('../'), 'INTERNAL');
  });

  test('go on while files come and go', async () => {
    const keys = Array.from({ length: 200 }, (_, index) => `${index % 20}/${index}`);
    for (const key of keys) await put(key, makeBytes(1));
    let removed = 0;
    const found: string[] = [];
    for await (const { key } of store.list('', { signal })) {
      found.push(key);
      const victim = keys[removed++];
      if (victim !== undefined) await store.delete(victim, { signal });
    }
    expect(new Set(found).size).toBe(found.length);
    expect(await list()).toHaveLength(keys.length - Math.min(removed, keys.length));
  });

  test('follow links to other disks, not in circles', async () => {
    const other = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    await writeFile(join(other, 'x'), 'x');
    await symlink(other, join(root, 'linked'));
    await symlink('nowhere', join(root, 'dangling'));
    expect(await list()).toEqual(['linked/x']);
    await rm(other, { recursive: true });
  });
});

describe('the check', () => {
  test('passes and leaves nothing', async () => {
    await store.check({ signal });
    expect(await filesIn(root)).toEqual([]);
  });

  test('finds a file in place of the folder', async () => {
    const file = join(root, 'file');
    await writeFile(file, '');
    const wrong = createFileSystemStore({ folder: file, isSynchronous: true });
    await expectFailure(
      wrong.check({ signal }),
      'BAD_CONFIG',
      /no folder; correct StorageDirectory/,
    );
  });

  test('a folder that is gone later is not made anew', async () => {
    await rm(root, { recursive: true });
    await expectFailure(put(KEY), 'UNAVAILABLE', /is its disk mounted/);
  });
});

test.each([
  ['ENOSPC', 'UNAVAILABLE', /full/],
  ['EDQUOT', 'UNAVAILABLE', /quota/],
  ['EACCES', 'ACCESS_DENIED', /chown/],
  ['EPERM', 'ACCESS_DENIED', /chown/],
  ['EROFS', 'ACCESS_DENIED', /read-only/],
  ['EMFILE', 'UNAVAILABLE', /LimitNOFILE/],
  ['EIO', 'UNAVAILABLE', /EIO/],
  ['ESTALE', 'UNAVAILABLE', /ESTALE/],
  ['ENOTDIR', 'INTERNAL', /a file lies where a folder must be/],
  ['EWHATEVER', 'INTERNAL', /some words/],
])('%s is explained', (code, expected, message) => {
  const cause = Object.assign(new Error('some words'), { code });
  const error = toFileSystemError(cause, { verb: 'write', key: KEY }, '/var/lib/orthanc');
  expect(error.code).toBe(expected);
  expect(error.message).toMatch(message);
  expect(error.message).toMatch(/StorageDirectory \("\/var\/lib\/orthanc"\)/);
  expect(error.cause).toBe(cause);
});
