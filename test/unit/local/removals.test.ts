// SPDX-License-Identifier: GPL-3.0-or-later
// What users notice of removals in the background; removals-model.test.ts has the order of events.

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { RemovalsSettings } from '../../../src/config/settings.ts';
import { StorageError, type StorageErrorCode } from '../../../src/errors.ts';
import { openRemovals } from '../../../src/local/open-removals.ts';
import {
  createRemovals,
  type Entries,
  notedIn,
  type Removals,
} from '../../../src/local/removals.ts';
import { journalPath, openJournal, REMOVALS_FOLDER } from '../../../src/local/removals-journal.ts';
import { createRemovalsView } from '../../../src/local/removals-view.ts';
import { Cancellation } from '../../../src/store/abort.ts';
import { NOWHERE } from '../../../src/store/bodies.ts';
import type { ObjectStore } from '../../../src/store/object-store.ts';
import { expectFailure, makeBody, makeBytes } from '../../support/bodies.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';
import { makeLogger, type TestLogger } from '../../support/settings.ts';

const BUCKET = 'memory images';
const options = { signal: new Cancellation() };

let directory: string;
let folder: string;
let store: MemoryStore & { batches: string[][] };
let log: TestLogger;
/** Keys that the store does not remove, and why. */
let refusals: Map<string, StorageErrorCode>;
let opened: Removals[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'oos-removals-'));
  folder = join(directory, REMOVALS_FOLDER);
  await mkdir(folder);
  log = makeLogger();
  refusals = new Map();
  const memory = createMemoryStore();
  const batches: string[][] = [];
  store = {
    ...memory,
    batches,
    async deleteMany(keys) {
      batches.push([...keys]);
      const failures = new Map<string, StorageError>();
      for (const key of keys) {
        const code = refusals.get(key);
        if (code === undefined) memory.objects.delete(key);
        else failures.set(key, new StorageError(code, `cannot delete "${key}"`, { key }));
      }
      return failures;
    },
  };
});
afterEach(async () => {
  for (const removals of opened) await removals.store.close();
  opened = [];
  await rm(directory, { recursive: true });
});

/** As Orthanc starts. */
async function open(
  changes: Partial<RemovalsSettings> = {},
  others: { readonly lanes?: number; readonly isLocked?: boolean } = {},
): Promise<Removals | undefined> {
  const { lanes = 1, isLocked = false } = others;
  const removals = await openRemovals({
    settings: { isOn: true, folders: [directory], isSynchronous: true, ...changes },
    bucket: BUCKET,
    store,
    log,
    lockFile: () => !isLocked,
    requestTimeoutMs: 60_000,
    lanes,
  });
  if (removals !== undefined) opened.push(removals);
  return removals;
}

/** With short times, and started. */
async function start(drainMs = 1_000, batchTimeoutMs = 60_000): Promise<Removals> {
  const entries: Entries = new Map();
  const noted = () => notedIn(entries);
  const journal = await openJournal({ folder, bucket: BUCKET, isSynchronous: false, noted });
  const removals = createRemovals({
    store,
    journal,
    entries,
    log,
    notesNew: true,
    batchTimeoutMs,
    times: { lingerMs: 5, retryMs: 5, retryMaxMs: 5, refusedMs: 5, refusedMaxMs: 5, drainMs },
  });
  opened.push(removals);
  removals.start();
  return removals;
}

async function put(...keys: readonly string[]): Promise<void> {
  for (const key of keys) await store.put(key, makeBody(makeBytes(3)), options);
}

test('the names of an attachment, and what follows soon, go in one batch', async () => {
  const removals = await start();
  await put('a.dcm', 'a.dcm.head', 'b.dcm', 'c.dcm');
  await Promise.all(['a.dcm', 'a.dcm.head'].map((key) => removals.store.delete(key, options)));
  await removals.store.delete('b.dcm', options);
  await expect.poll(() => [...store.objects.keys()]).toEqual(['c.dcm']);
  expect(store.batches).toEqual([['a.dcm', 'a.dcm.head', 'b.dcm']]);
  expect(removals.status()).toMatchObject({ pending: 0, carriedOut: 3, refused: 0 });
});

test('what is noted is not there: to reads, look-ups and listings', async () => {
  const removals = await open();
  await put('a', 'b');
  await removals?.store.delete('a', options);
  const bucket = removals?.store ?? store;
  await expectFailure(bucket.get('a', undefined, NOWHERE, options), 'NOT_FOUND');
  expect(await bucket.head('a', options)).toBeUndefined();
  expect(await bucket.head('b', options)).toBeDefined();
  const listed: string[] = [];
  for await (const { key } of bucket.list('', options)) listed.push(key);
  expect(listed).toEqual(['b']);
  expect(store.objects.has('a')).toBe(true);
});

test('what the store refuses is named, asked for again, and stops nothing else', async () => {
  const removals = await start();
  await put('locked', 'a', 'b');
  refusals.set('locked', 'ACCESS_DENIED');
  await removals.store.delete('locked', options);
  await removals.store.delete('a', options);
  await expect.poll(() => store.batches.length).toBeGreaterThan(2);
  expect([...store.objects.keys()]).toEqual(['locked', 'b']);
  expect(removals.status()).toMatchObject({
    pending: 1,
    refused: 1,
    refusedObjects: [{ key: 'locked', message: 'cannot delete "locked"' }],
    lastError: { code: 'ACCESS_DENIED' },
  });
  expect(log.lines.filter((line) => /^error: .*key=locked/.test(line))).toHaveLength(1);
  refusals.clear();
  await expect.poll(() => removals.status()).toMatchObject({ pending: 0, refused: 0 });
});

test('a store that is away is asked until it is back, and the log says it once', async () => {
  const removals = await start();
  await put('a', 'b');
  refusals.set('a', 'UNAVAILABLE').set('b', 'UNAVAILABLE');
  await removals.store.delete('a', options);
  await removals.store.delete('b', options);
  await expect.poll(() => store.batches.length).toBeGreaterThan(5);
  expect(removals.status()).toMatchObject({ pending: 2, lastError: { code: 'UNAVAILABLE' } });
  refusals.clear();
  await expect.poll(() => removals.status().pending).toBe(0);
  expect(log.lines.filter((line) => line.includes('repeated until they succeed'))).toHaveLength(1);
});

test('the stop carries out what is left, without waiting for more', async () => {
  const removals = await open();
  removals?.start();
  await put('a');
  await removals?.store.delete('a', options);
  await removals?.store.close();
  expect([...store.objects.keys()]).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
});

test('what a stop leaves, because the store hangs, is carried out after the next start', async () => {
  const hanging = { ...store, deleteMany: () => new Promise<never>(() => undefined) };
  const memory = store;
  store = hanging;
  const first = await start(20);
  await put('a');
  await first.store.delete('a', options);
  await first.store.close();
  expect([...memory.objects.keys()]).toEqual(['a']);
  store = memory;
  const second = await open();
  expect(await second?.store.head('a', options)).toBeUndefined();
  expect(second?.status()).toMatchObject({ pending: 1 });
  second?.start();
  await expect.poll(() => [...store.objects.keys()]).toEqual([]);
});

test('if the disk cannot note it, a removal waits until it is carried out', async () => {
  const removals = await start();
  await put('a', 'b');
  // So that the next write is one of the whole, into a folder that is gone.
  const huge = 'x'.repeat(1_100_000);
  refusals.set(huge, 'UNAVAILABLE');
  await removals.store.delete(huge, options);
  await rm(folder, { recursive: true });
  await removals.store.delete('a', options);
  expect([...store.objects.keys()]).toEqual(['b']);
  refusals.set('b', 'ACCESS_DENIED');
  await expectFailure(removals.store.delete('b', options), 'ACCESS_DENIED');
  await mkdir(folder);
});

test('a batch that takes too long is halved, for a slow server', async () => {
  const sizes: number[] = [];
  const deleteMany: NonNullable<ObjectStore['deleteMany']> = (keys) => {
    sizes.push(keys.length);
    return keys.length > 10 ? new Promise(() => undefined) : Promise.resolve(new Map());
  };
  store = { ...store, deleteMany };
  const removals = await start(1_000, 50);
  const keys = Array.from({ length: 40 }, (_, at) => `${at}`);
  await Promise.all(keys.map((key) => removals.store.delete(key, options)));
  await expect.poll(() => removals.status().pending).toBe(0);
  expect(sizes.slice(0, 3)).toEqual([40, 20, 10]);
});

test('switched off, what was noted is still carried out, and the log says so', async () => {
  const first = await open();
  await put('a', 'b');
  await first?.store.delete('a', options);
  const second = await open({ isOn: false });
  expect(log.lines).toContainEqual(
    expect.stringMatching(/^warning: 1 removals .* although DeleteInBackground is off/),
  );
  second?.start();
  await expect.poll(() => [...store.objects.keys()]).toEqual(['b']);
  // Others are carried out at once.
  await second?.store.delete('b', options);
  expect([...store.objects.keys()]).toEqual([]);
  await second?.store.close();
  expect(await open({ isOn: false })).toBeUndefined();
});

test('switched off, several loops wait until nothing is left', async () => {
  const first = await open();
  await first?.store.delete('a', options);
  await expectFailure(open({ isOn: false }, { lanes: 2 }), 'BAD_CONFIG', /"Lanes": 1 until/);
});

test('notes in a folder of an earlier configuration come along', async () => {
  const first = await open();
  await put('a');
  await first?.store.delete('a', options);
  const other = join(directory, 'cache');
  const second = await open({ folders: [other, directory] });
  expect(second?.status()).toMatchObject({ pending: 1 });
  expect(await readdir(folder)).toEqual([]);
  expect(await readFile(journalPath(join(other, REMOVALS_FOLDER), BUCKET), 'utf8')).toMatch('"a"');
});

test('notes of another bucket are left alone, by name', async () => {
  const path = journalPath(folder, 'memory others');
  const journal = await openJournal({
    folder,
    bucket: 'memory others',
    isSynchronous: true,
    noted: () => [['a', 0]],
  });
  await journal.close(false);
  const removals = await open();
  expect(removals?.status()).toMatchObject({ pending: 0 });
  expect(log.lines).toContainEqual(
    expect.stringMatching(/^warning: ".*" holds 1 removals .* another bucket \(memory others\)/),
  );
  expect(await readdir(folder)).toContain(path.slice(folder.length + 1));
});

test('a second Orthanc is refused the folder', async () => {
  await expectFailure(open({}, { isLocked: true }), 'BAD_CONFIG', /used by another Orthanc/);
});

test('damaged notes are an error in the log, and those after the damage are carried out', async () => {
  const first = await open();
  await first?.store.delete('a', options);
  await first?.store.delete('b', options);
  const path = journalPath(folder, BUCKET);
  const [header, , ...rest] = (await readFile(path, 'utf8')).split('\n');
  await writeFile(path, [header, 'damaged', ...rest].join('\n'));
  const second = await open();
  expect(second?.status()).toMatchObject({ pending: 1 });
  await writeFile(path, [header, ...rest, 'damaged', ...rest].join('\n'));
  await open();
  expect(log.lines).toContainEqual(expect.stringMatching(/^error: ".*" is damaged: 1 removals/));
});

test('commands see the bucket as Orthanc shows it, and write nothing that it is about to remove', async () => {
  await put('a', 'b');
  const removals = await open();
  await removals?.store.delete('a', options);
  const view = createRemovalsView(store, [journalPath(folder, BUCKET)], (reason) => {
    throw new Error(reason);
  });
  expect(await view.head('a', options)).toBeUndefined();
  await expectFailure(view.get('a', undefined, NOWHERE, options), 'NOT_FOUND');
  await expectFailure(
    view.put('a', makeBody(makeBytes(3)), options),
    'UNAVAILABLE',
    /Orthanc has removed it/,
  );
  const listed: string[] = [];
  for await (const { key } of view.list('', options)) listed.push(key);
  expect(listed).toEqual(['b']);
  // Of several that ask at once, none is answered before the journal is read.
  const another = createRemovalsView(store, [journalPath(folder, BUCKET)], (reason) => {
    throw new Error(reason);
  });
  const [first, second] = await Promise.allSettled([
    another.head('b', options),
    another.put('a', makeBody(makeBytes(3)), options),
  ]);
  expect([first.status, second.status]).toEqual(['fulfilled', 'rejected']);
});

test('what a rewrite of the journal left that was killed goes at the next start', async () => {
  await writeFile(join(folder, 'f3b0.tmp'), 'half');
  const removals = await open();
  await removals?.store.close();
  expect(await readdir(folder)).not.toContain('f3b0.tmp');
});
