// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type Journal,
  journalPath,
  openJournal,
  readJournal,
  readJournals,
} from '../../../src/local/removals-journal.ts';
import { expectFailure } from '../../support/bodies.ts';

const BUCKET = 's3 eu-central-1 images';
let folder: string;
let path: string;
let live: Map<string, number>;
let opened: Journal[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-journal-'));
  path = journalPath(folder, BUCKET);
  live = new Map();
});
afterEach(async () => {
  for (const journal of opened) await journal.close(false);
  opened = [];
  await rm(folder, { recursive: true });
});

async function start(): Promise<Journal> {
  const journal = await openJournal({
    folder,
    bucket: BUCKET,
    isSynchronous: true,
    noted: () => live,
  });
  opened.push(journal);
  return journal;
}

async function noted(): Promise<readonly string[] | undefined> {
  const content = await readJournal(path);
  return content && [...content.noted.keys()];
}

/** As the removals do: first in memory, then in the journal. */
function remove(journal: Journal, ...keys: readonly string[]): Promise<void> {
  for (const key of keys) live.set(key, 1_796_036_860);
  return journal.append('remove', keys);
}

function done(journal: Journal, ...keys: readonly string[]): Promise<void> {
  for (const key of keys) live.delete(key);
  return journal.append('done', keys);
}

test('what is noted is there after a crash, in its order, and what is done is not', async () => {
  const journal = await start();
  const odd = 'a "b"\n\u2028ü\\';
  await Promise.all([remove(journal, 'c', odd), remove(journal, 'b')]);
  await done(journal, 'c');
  await remove(journal, 'a');
  expect(await noted()).toEqual([odd, 'b', 'a']);
  expect(await readJournals(folder)).toMatchObject([{ path, bucket: BUCKET, lost: 0 }]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
});

test('a line that was torn by a crash is ignored', async () => {
  const journal = await start();
  await remove(journal, 'a');
  await remove(journal, 'b');
  const text = await readFile(path, 'utf8');
  for (let length = text.indexOf('"b"'); length < text.length - 1; length += 1) {
    await writeFile(path, text.slice(0, length));
    expect(await noted()).toEqual(['a']);
  }
});

test('what stands before a damaged line is not carried out, since that line may have ended it', async () => {
  const journal = await start();
  await remove(journal, 'a');
  await done(journal, 'a');
  await remove(journal, 'b');
  const text = await readFile(path, 'utf8');
  await writeFile(path, text.replace('["done"', '["dome"'));
  expect(await readJournal(path)).toMatchObject({
    noted: new Map([['b', expect.any(Number)]]),
    lost: 1,
  });
});

test('a journal of a later version, or something else, is refused by name', async () => {
  await writeFile(path, 'orthanc-object-storage removals 2 "s3 images"\n');
  await expectFailure(readJournal(path), 'BAD_CONFIG', /newer version of this plugin \(2\)/);
  await writeFile(path, '');
  await expectFailure(readJournal(path), 'BAD_CONFIG', /is no journal of removals/);
});

test('a journal that has grown is written anew, with what is left', async () => {
  const journal = await start();
  const key = 'x'.repeat(900);
  for (let round = 0; round < 3; round += 1) {
    const keys = Array.from({ length: 1_000 }, (_, at) => `${round}-${at}-${key}`);
    await remove(journal, ...keys);
    await done(journal, ...keys.slice(1));
  }
  await remove(journal, 'last');
  expect((await stat(path)).size).toBeLessThan(2_000_000);
  expect((await noted())?.map((each) => each.slice(0, 4))).toEqual([
    '0-0-',
    '1-0-',
    '2-0-',
    'last',
  ]);
  expect(await readdir(folder)).toEqual([path.slice(folder.length + 1)]);
});

test('after a write that failed, with its reason, the whole is written anew', async () => {
  const journal = await start();
  await remove(journal, 'a', 'x'.repeat(1_100_000));
  await rm(folder, { recursive: true });
  await expectFailure(
    remove(journal, 'b'),
    'UNAVAILABLE',
    /cannot be written: its folder is gone.*ENOENT/,
  );
  await mkdir(folder);
  await done(journal, 'a');
  expect((await noted())?.map((key) => key.slice(0, 3))).toEqual(['xxx', 'b']);
});

test('at the end, nothing stays of a journal with nothing in it', async () => {
  const journal = await start();
  await remove(journal, 'a');
  await done(journal, 'a');
  await journal.close(true);
  expect(await readdir(folder)).toEqual([]);
});
