// SPDX-License-Identifier: GPL-3.0-or-later

import { closeSync, openSync } from 'node:fs';
import { readdir, readFile, readlink, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate, setTimeout } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { type Disk, LOCAL } from '../../../src/local/disk.ts';
import { createLocalCache, type LocalCache } from '../../../src/local/local-cache.ts';
import { createPendingView } from '../../../src/local/pending-view.ts';
import { createAbortController } from '../../../src/store/abort.ts';
import { bodyOf } from '../../../src/store/bodies.ts';
import {
  damage,
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
} from '../../support/bodies.ts';
import { makeDisk, makeFolder, openCache, type TestFolder } from '../../support/local-cache.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';
import { makeLogger, type TestLogger } from '../../support/settings.ts';

const options = { signal: createAbortController().signal };

let folder: TestFolder;
let bucket: MemoryStore;
let log: TestLogger;
const opened: LocalCache[] = [];

beforeEach(async () => {
  folder = await makeFolder();
  bucket = createMemoryStore();
  log = makeLogger();
});

afterEach(async () => {
  for (const cache of opened.splice(0)) await cache.close();
  await folder.remove();
});

async function open(
  changes: Parameters<typeof openCache>[2] = {},
  store: MemoryStore = bucket,
): Promise<LocalCache> {
  const cache = await openCache(store, folder.path, { log, ...changes });
  opened.push(cache);
  return cache;
}

async function read(
  cache: LocalCache,
  key: string,
  range?: { readonly start: number; readonly end: number },
): Promise<Uint8Array> {
  const sink = makeSink();
  await cache.get(key, range, sink, options);
  return sink.bytes();
}

const put = (cache: LocalCache, key: string, bytes: Uint8Array) =>
  cache.put(key, makeBody(bytes), options);
const drained = (cache: LocalCache) => cache.drained(AbortSignal.timeout(20_000));

describe('files', () => {
  test.each([0, 1, 65_535, 65_536, 1_048_576, 1_048_577, 3_500_000])(
    'of %i bytes hold the object, and its parts are read alone',
    async (sizeBytes) => {
      const bytes = makeBytes(sizeBytes, sizeBytes + 1);
      const cache = await open();
      await put(cache, 'a key/ä', bytes);
      const [name = ''] = await readdir(join(folder.path, 'pending'));
      const file = await readFile(join(folder.path, 'pending', name));
      expectSameBytes(file.subarray(0, sizeBytes), bytes);
      expectSameBytes(await read(cache, 'a key/ä'), bytes);
      for (const start of [0, 1, 65_536, 1_048_570]) {
        const end = Math.min(sizeBytes, start + 100_000);
        if (start >= end) continue;
        const part = await read(cache, 'a key/ä', { start, end });
        expectSameBytes(part, bytes.subarray(start, end));
      }
      cache.start();
      await drained(cache);
      expectSameBytes(bucket.objects.get('a key/ä') ?? new Uint8Array(), bytes);
      bucket.forget();
      expectSameBytes(await read(cache, 'a key/ä'), bytes);
      expect(bucket.calls()).toEqual([]);
    },
  );

  test('that come from the bucket are verified like others', async () => {
    const bytes = makeBytes(3_000_000);
    bucket.objects.set('large', bytes);
    const cache = await open();
    expectSameBytes(await read(cache, 'large'), bytes);
    await vi.waitFor(() => expect(cache.status().cached.count).toBe(1));
    bucket.forget();
    expectSameBytes(await read(cache, 'large'), bytes);
    expect(bucket.calls()).toEqual([]);
    const [name = ''] = await readdir(join(folder.path, 'cached'));
    const path = join(folder.path, 'cached', name);
    await writeFile(path, damage(await readFile(path), 2_500_000));
    // Another block.
    expectSameBytes(await read(cache, 'large', { start: 0, end: 1000 }), bytes.subarray(0, 1000));
    expect(bucket.calls()).toEqual([]);
    expectSameBytes(await read(cache, 'large'), bytes);
    expect(bucket.calls()).toEqual(['get large']);
  });

  test('of another object are not taken for it', async () => {
    const cache = await open();
    await put(cache, 'one', makeBytes(1000, 1));
    await put(cache, 'two', makeBytes(1000, 2));
    const names = (await readdir(join(folder.path, 'pending'))).sort();
    const [one = '', two = ''] = names.map((name) => join(folder.path, 'pending', name));
    await rename(one, `${one}.away`);
    await rename(two, one);
    const results = await Promise.allSettled([read(cache, 'one'), read(cache, 'two')]);
    expect(results.every(({ status }) => status === 'rejected')).toBe(true);
  });
});

describe('uploads', () => {
  test('go on after a start, the oldest first', async () => {
    const cache = await open();
    for (const key of ['c', 'a', 'b']) await put(cache, key, makeBytes(10));
    await cache.close();
    opened.splice(0);
    bucket = Object.assign(createMemoryStore(), { objects: bucket.objects });
    const next = await open({ uploadConcurrency: 1 });
    expect(next.status().pending.count).toBe(3);
    next.start();
    await drained(next);
    expect(bucket.calls()).toEqual(['put c', 'put a', 'put b']);
  });

  test('of an object that is refused, or damaged, do not stop the others', async () => {
    bucket.failWhen((call) => (call === 'put refused' ? 'ACCESS_DENIED' : undefined));
    const cache = await open();
    await put(cache, 'damaged', makeBytes(1000));
    const [name = ''] = await readdir(join(folder.path, 'pending'));
    const path = join(folder.path, 'pending', name);
    await writeFile(path, damage(await readFile(path), 500));
    await put(cache, 'refused', makeBytes(10));
    for (const key of ['a', 'b', 'c']) await put(cache, key, makeBytes(10));
    cache.start();
    await vi.waitFor(() => expect(cache.status().pending.count).toBe(2), 10_000);
    await put(cache, 'd', makeBytes(10));
    await vi.waitFor(() => {
      expect([...bucket.objects.keys()].sort()).toEqual(['a', 'b', 'c', 'd']);
      expect(cache.status().refused).toBe(2);
    }, 10_000);
    expect(
      cache
        .status()
        .refusedObjects.map(({ key }) => key)
        .sort(),
    ).toEqual(['damaged', 'refused']);
    expect(log.lines.join('\n')).toMatch(/error: LocalCache: "refused" is not uploaded: /);
    await expectFailure(read(cache, 'damaged'), 'INTEGRITY');
    expectSameBytes(await read(cache, 'refused'), makeBytes(10));
  });

  test('that fail wait before they are tried again', async () => {
    bucket.failWhen((call) => (call.startsWith('put') ? 'UNAVAILABLE' : undefined));
    const cache = await open();
    await put(cache, 'a', makeBytes(10));
    cache.start();
    await vi.waitFor(() => expect(cache.status().trouble).not.toBeNull());
    await setTimeout(100);
    expect(bucket.calls()).toEqual(['put a']);
  });

  test('that are given up, since the object was removed, do not count as successes', async () => {
    bucket.failWhen((call) => (call === 'put fails' ? 'UNAVAILABLE' : undefined));
    const hanging: MemoryStore['put'] = async (key, body, options) => {
      if (key !== 'hangs') return await bucket.put(key, body, options);
      await new Promise((_resolve, reject) => {
        options.signal.addEventListener('abort', () => {
          reject(new StorageError('ABORTED', 'given up'));
        });
      });
    };
    const cache = await open({}, { ...bucket, put: hanging });
    await put(cache, 'hangs', makeBytes(10));
    await put(cache, 'fails', makeBytes(10));
    cache.start();
    await vi.waitFor(() => expect(cache.status().trouble).not.toBeNull(), 10_000);
    await cache.delete('hangs', options);
    await setTimeout(300);
    expect(cache.status()).toMatchObject({ uploaded: 0, trouble: { code: 'UNAVAILABLE' } });
  });

  test('wait for new credentials, and say so once', async () => {
    let isDenied = true;
    bucket.failWhen((call) => (isDenied && call.startsWith('put') ? 'ACCESS_DENIED' : undefined));
    const cache = await open();
    for (let index = 0; index < 50; index++) await put(cache, `key-${index}`, makeBytes(10));
    cache.start();
    await vi.waitFor(() => expect(cache.status().failed).toBeGreaterThan(1), 10_000);
    expect(cache.status().trouble).toMatchObject({ code: 'ACCESS_DENIED' });
    isDenied = false;
    await drained(cache);
    expect(bucket.objects.size).toBe(50);
    expect(cache.status()).toMatchObject({ trouble: null, refused: 0 });
    expect(log.lines.filter((line) => line.startsWith('warning'))).toHaveLength(1);
  });

  test('that wait for five minutes make a warning', async () => {
    bucket.failWhen((call) => (call.startsWith('put') ? 'UNAVAILABLE' : undefined));
    const cache = await open();
    await put(cache, 'a', makeBytes(10));
    vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] });
    try {
      cache.start();
      vi.setSystemTime(Date.now() + 301_000);
      vi.advanceTimersByTime(20_000);
      expect(cache.status().pending.oldestSeconds).toBeGreaterThan(300);
      const warnings = log.lines.filter((line) => line.includes('has waited for'));
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/warning: LocalCache: the oldest of 1 pending objects/);
    } finally {
      vi.useRealTimers();
    }
  });

  test('that are under way end with the object, and leave nothing in the bucket', async () => {
    let arrive: () => void = () => undefined;
    const arrived = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    bucket.waitAt((call) => (call === 'put a' ? arrived : undefined));
    const cache = await open();
    await put(cache, 'a', makeBytes(10));
    cache.start();
    await vi.waitFor(() => expect(bucket.calls()).toEqual(['put a']));
    await cache.delete('a', options);
    await expectFailure(read(cache, 'a'), 'NOT_FOUND');
    expect(await cache.head('a', options)).toBeUndefined();
    arrive();
    await drained(cache);
    expect(bucket.calls()).toEqual(['put a', 'delete a']);
    expect(await readdir(join(folder.path, 'pending'))).toEqual([]);
  });
});

describe('on a bad day of the disk', () => {
  /** Of the folder. */
  async function openFiles(): Promise<readonly string[]> {
    const links = (await readdir('/proc/self/fd')).map((name) =>
      readlink(`/proc/self/fd/${name}`).catch(() => ''),
    );
    return (await Promise.all(links)).filter((target) => target.startsWith(`${folder.path}/`));
  }

  const SETTINGS = {
    maxBytes: 1_000_000,
    writeBack: true,
    uploadConcurrency: 8,
    isSynchronous: true,
    stopTimeoutMs: 0,
  };

  /** @param changes what is bad */
  async function openBad(changes: Partial<Disk>, hangs = false): Promise<LocalCache> {
    const disk = Object.assign(makeDisk(folder.path), changes);
    const cache = await createLocalCache({
      settings: { ...SETTINGS, directory: folder.path },
      bucket,
      disk,
      log,
      unlock: () => Promise.resolve(),
    });
    opened.push(cache);
    if (hangs) Object.defineProperty(disk, 'isResponsive', { value: false });
    return cache;
  }

  test('that is full, a new object goes to the bucket', async () => {
    const cache = await openBad({
      write: () => Promise.reject(new StorageError('UNAVAILABLE', 'it is full', { store: LOCAL })),
    });
    await put(cache, 'a', makeBytes(10));
    await put(cache, 'b', makeBytes(10));
    expect([...bucket.objects.keys()]).toEqual(['a', 'b']);
    const line = 'warning: LocalCache: new objects go to the bucket at once: it is full';
    expect(log.lines).toEqual([line]);
    expect(cache.status()).toMatchObject({ writtenThrough: 2, pending: { count: 0 } });
    vi.useFakeTimers({ toFake: ['performance'], now: Date.now() + 3_600_000 });
    try {
      vi.advanceTimersByTime(3_600_000);
      await put(cache, 'c', makeBytes(10));
    } finally {
      vi.useRealTimers();
    }
    expect(log.lines).toEqual([line, line]);
  });

  test('has no room within MaxSize for more that is pending, it goes to the bucket', async () => {
    const cache = await openBad({});
    await put(cache, 'a', makeBytes(SETTINGS.maxBytes - 5000));
    await put(cache, 'b', makeBytes(10_000));
    expect([...bucket.objects.keys()]).toEqual(['b']);
    expect(log.lines).toEqual([
      'warning: LocalCache: new objects go to the bucket at once: what is pending takes all of MaxSize',
    ]);
    expect(cache.status()).toMatchObject({ writtenThrough: 1, pending: { count: 1 } });
  });

  test('whose folder of cached files was removed, an upload leaves nothing behind that could come back', async () => {
    const cache = await openBad({});
    await rm(join(folder.path, 'cached'), { recursive: true });
    cache.start();
    await put(cache, 'a', makeBytes(10));
    await vi.waitFor(() => expect(cache.status()).toMatchObject({ uploaded: 1 }), 10_000);
    await vi.waitFor(() => expect(cache.status().pending.count).toBe(0), 10_000);
    expect(await readdir(join(folder.path, 'pending'))).toEqual([]);
  });

  test('that fails once the object has its name, it goes to the bucket', async () => {
    const disk = makeDisk(folder.path);
    const cache = await openBad({
      async write(...request) {
        await disk.write(...request);
        throw new StorageError('UNAVAILABLE', 'it fails', { store: LOCAL });
      },
    });
    await put(cache, 'a', makeBytes(10));
    expect([...bucket.objects.keys()]).toEqual(['a']);
    expect(cache.status()).toMatchObject({ writtenThrough: 1, pending: { count: 0 } });
    expect(await readdir(join(folder.path, 'pending'))).toEqual([]);
  });

  test('that may not take a large object, nothing of it is written', async () => {
    const bytes = makeBytes(3_000_000);
    bucket.objects.set('large', bytes);
    const received: string[] = [];
    const disk = makeDisk(folder.path);
    const cache = await openBad({
      receive: (path) => {
        received.push(path);
        return disk.receive(path);
      },
    });
    expectSameBytes(await read(cache, 'large'), bytes);
    expect(received).toEqual([]);
  });

  test('with more pending than MaxSize, a new object goes to the bucket', async () => {
    const cache = await openBad({});
    await put(cache, 'a', makeBytes(900_000));
    await put(cache, 'b', makeBytes(200_000));
    expect([...bucket.objects.keys()]).toEqual(['b']);
    expect(cache.status().pending.count).toBe(1);
  });

  test('that hangs, new objects and cached ones are those of the bucket', async () => {
    const before = await openBad({});
    before.start();
    await put(before, 'cached', makeBytes(10, 1));
    await drained(before);
    await before.close();
    opened.splice(0);
    const cache = await openBad({}, true);
    expectSameBytes(await read(cache, 'cached'), makeBytes(10, 1));
    await put(cache, 'new', makeBytes(10, 2));
    expect([...bucket.objects.keys()]).toEqual(['cached', 'new']);
  });

  test('that has lost its folder, large objects come from the bucket', async () => {
    const bytes = makeBytes(3_000_000);
    bucket.objects.set('large', bytes);
    const disk = makeDisk(folder.path, { maxAtOnce: 1 });
    const get: MemoryStore['get'] = async (key, range, sink, request) => {
      sink.begin(bytes.length, bytes.length);
      // The disk has failed before the first byte arrives.
      await disk.list('pending');
      await setImmediate();
      await bucket.get(key, range, sink, request);
    };
    const cache = await createLocalCache({
      settings: { ...SETTINGS, maxBytes: 10_000_000, directory: folder.path },
      bucket: { ...bucket, get },
      disk,
      log,
      unlock: () => Promise.resolve(),
    });
    opened.push(cache);
    await rename(join(folder.path, 'cached'), join(folder.path, 'away'));
    expectSameBytes(await read(cache, 'large'), bytes);
  });

  test('that hangs while an object is written, it goes to the bucket, and a removal is not undone', async () => {
    const cache = await openBad({});
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const stored = put(cache, 'a', makeBytes(10));
      // Now it is being written.
      for (let turn = 0; turn < 50; turn++) await Promise.resolve();
      vi.advanceTimersByTime(15_000);
      await stored;
      expect([...bucket.objects.keys()]).toEqual(['a']);
      // The disk has got the file nevertheless.
      vi.useRealTimers();
      const names = () => readdir(join(folder.path, 'pending'));
      await vi.waitFor(async () =>
        expect(await names()).toEqual([expect.stringMatching(/pending$/)]),
      );
      vi.useFakeTimers({ toFake: ['performance'], now: Date.now() + 3_600_000 });
      vi.advanceTimersByTime(3_600_000);
      await cache.delete('a', options);
      expect(bucket.objects.size).toBe(0);
      expect(await names()).toEqual([]);
    } finally {
      vi.useRealTimers();
    }
  });

  test('that hangs while a file is opened, the file is closed when it comes back', async () => {
    const disk = makeDisk(folder.path);
    const object = { path: 'cached/a', key: 'a', sizeBytes: 3_000_000 };
    await disk.write(object, bodyOf(makeBytes(object.sizeBytes)), { isDurable: false, ...options });
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const opened = disk.open(object);
      for (let turn = 0; turn < 50; turn++) await Promise.resolve();
      vi.advanceTimersByTime(15_000);
      await expectFailure(opened, 'TIMEOUT', /does not answer/);
    } finally {
      vi.useRealTimers();
    }
    await vi.waitFor(async () => expect(await openFiles()).toEqual([]));
    await setTimeout(100);
    expect(await openFiles()).toEqual([]);
  });

  test('that hangs before a large object is whole, nothing is left of it', async () => {
    const disk = makeDisk(folder.path);
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const object = { path: 'pending/a', key: 'a' };
      const written = disk.write(object, bodyOf(makeBytes(3_000_000)), {
        isDurable: true,
        ...options,
      });
      for (let turn = 0; turn < 50; turn++) await Promise.resolve();
      vi.advanceTimersByTime(15_000);
      await expectFailure(written, 'TIMEOUT', /does not answer/);
    } finally {
      vi.useRealTimers();
    }
    const names = () => readdir(join(folder.path, 'pending'));
    await vi.waitFor(async () => expect(await names()).toEqual([]));
    expect(await openFiles()).toEqual([]);
  });

  test('that cannot keep a large object, no other file is closed', async () => {
    const disk = makeDisk(folder.path);
    const receiving = disk.receive('cached');
    receiving.write(0, makeBytes(10));
    await receiving.finish({ path: 'cached/a', key: 'a', sizeBytes: 10 });
    await vi.waitFor(async () => expect(await openFiles()).toEqual([]));
    // They get the number of the one that was closed.
    const others = Array.from({ length: 50 }, () => openSync(folder.path, 'r'));
    // As after its object has changed meanwhile.
    await receiving.giveUp();
    await disk.list('cached');
    await setTimeout(100);
    for (const other of others) closeSync(other);
  });

  test('that is slow, a listing has what is uploaded meanwhile', async () => {
    const before = await openBad({});
    for (const key of ['a', 'b']) await put(before, key, makeBytes(2));
    await before.close();
    opened.splice(0);
    const disk = makeDisk(folder.path);
    let isListing = true;
    const cache = await openBad({
      async keyOf(path) {
        if (isListing) {
          isListing = false;
          cache.start();
          await drained(cache);
        }
        return await disk.keyOf(path);
      },
    });
    const keys: string[] = [];
    for await (const { key } of cache.list('', options)) keys.push(key);
    expect(keys).toEqual(['a', 'b']);
  });

  test('that has lost a pending file, the read says so', async () => {
    const cache = await openBad({});
    await put(cache, 'a', makeBytes(10));
    await rename(join(folder.path, 'pending'), join(folder.path, 'away'));
    await expectFailure(read(cache, 'a'), 'UNAVAILABLE', /is its disk mounted/);
    await put(cache, 'b', makeBytes(10));
    expect([...bucket.objects.keys()]).toEqual(['b']);
  });
});

test('the least recently used objects go first', async () => {
  for (const key of ['a', 'b', 'c']) bucket.objects.set(key, makeBytes(300_000));
  const cache = await open({ writeBack: false, maxBytes: 700_000 });
  for (const key of ['a', 'b']) {
    await read(cache, key);
    await vi.waitFor(() => expect(cache.status().cached.count).toBe(key === 'a' ? 1 : 2));
  }
  await read(cache, 'a');
  await vi.waitFor(async () => {
    bucket.forget();
    await read(cache, 'c');
    expect(bucket.calls()).toEqual([]);
  });
  await read(cache, 'a');
  expect(bucket.calls()).toEqual([]);
  await read(cache, 'b');
  expect(bucket.calls()).toEqual(['get b']);
});

test('sixteen readers of a cold object make one request', async () => {
  bucket.objects.set('cold', makeBytes(500_000));
  const cache = await open({ writeBack: false });
  const all = await Promise.all(Array.from({ length: 16 }, () => read(cache, 'cold')));
  for (const bytes of all) expectSameBytes(bytes, makeBytes(500_000));
  expect(bucket.calls()).toEqual(['get cold']);
});

test('commands see what is pending, and write nothing that is to be removed', async () => {
  // Nothing is carried out before it starts.
  const cache = await open();
  await put(cache, 'stored', makeBytes(10));
  await put(cache, 'removed', makeBytes(10));
  await cache.delete('removed', options);
  // An upload of before may have reached it.
  bucket.objects.set('removed', makeBytes(10));
  const view = createPendingView(bucket, { directory: folder.path }, (reason) => {
    throw new Error(reason);
  });
  expect(await view.isPending('stored')).toBe(true);
  expect(await view.head('removed', options)).toBeUndefined();
  await expectFailure(view.get('removed', undefined, makeSink(), options), 'NOT_FOUND');
  await expectFailure(
    view.put('removed', makeBody(makeBytes(5)), options),
    'UNAVAILABLE',
    /Orthanc has removed it/,
  );
  const range = { start: 20, end: 30, mayEndEarly: true } as const;
  await expectFailure(view.get('stored', range, makeSink(), options), 'BAD_RANGE');
  const listed: string[] = [];
  for await (const { key } of view.list('', options)) listed.push(key);
  expect(listed).toEqual([]);
});

test('a disk that is slower than the network keeps no more than it can take', async () => {
  const disk = makeDisk(folder.path);
  let writes = 0;
  const cache = await createLocalCache({
    settings: {
      directory: folder.path,
      maxBytes: 1e9,
      writeBack: false,
      uploadConcurrency: 1,
      isSynchronous: false,
      stopTimeoutMs: 0,
    },
    bucket,
    disk: Object.assign(disk, {
      write: () => {
        writes += 1;
        return new Promise(() => undefined);
      },
    }),
    log,
    unlock: () => Promise.resolve(),
  });
  for (let at = 0; at < 100; at++) {
    bucket.objects.set(`cold-${at}`, makeBytes(1000));
    expectSameBytes(await read(cache, `cold-${at}`), makeBytes(1000));
  }
  expect(writes).toBeLessThan(20);
});

test('a listing has what is pending, and not what is removed', async () => {
  for (const key of ['a', 'c']) bucket.objects.set(key, makeBytes(1));
  const cache = await open();
  for (const key of ['b', 'd', 'e']) await put(cache, key, makeBytes(2));
  await cache.delete('e', options);
  const keys: string[] = [];
  for await (const { key } of cache.list('', options)) keys.push(key);
  expect(keys).toEqual(['a', 'b', 'c', 'd']);
});
