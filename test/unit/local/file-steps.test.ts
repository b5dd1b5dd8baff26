// SPDX-License-Identifier: GPL-3.0-or-later
// By Node in "unit", and by the shim in "unit-native".

import { constants } from 'node:fs';
import { mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type FileStep, stepOf } from '../../../src/local/file-steps.ts';
import { runFileSteps } from '../../support/local-cache.ts';

const CREATE = constants.O_CREAT | constants.O_EXCL | constants.O_RDWR;
const READ = constants.O_RDONLY | constants.O_NOFOLLOW;
const HOUR_MS = 3_600_000;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-steps-'));
});
afterEach(async () => {
  await rm(folder, { recursive: true });
});

const at = (name: string) => join(folder, name);

/** Files of this test that the process has open. */
async function openFiles(): Promise<readonly string[]> {
  const targets = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => '')),
  );
  return targets.filter((target) => target.startsWith(`${folder}/`));
}

/** @returns code and name of the step that failed */
async function failureOf(steps: readonly FileStep[], timeoutMs = HOUR_MS): Promise<string> {
  try {
    await runFileSteps(undefined, steps, timeoutMs);
  } catch (error) {
    return `${stepOf(error)}: ${(error as NodeJS.ErrnoException).code}`;
  }
  return 'none';
}

test('a file is written, renamed and closed', async () => {
  const file = await runFileSteps(
    undefined,
    [
      ['open', at('a.tmp'), CREATE],
      ['write', Buffer.from('def'), 3],
      ['write', Buffer.from('abc'), 0],
      ['write', Buffer.alloc(0), 9],
      ['syncData'],
      ['rename', at('a.tmp'), at('a')],
      ['syncFolder', folder],
      ['close'],
    ],
    HOUR_MS,
  );
  expect(file).toBeUndefined();
  expect(await readFile(at('a'), 'utf8')).toBe('abcdef');
  expect(await readdir(folder)).toEqual(['a']);
  expect(await openFiles()).toEqual([]);
  const other = await runFileSteps(undefined, [['open', at('a'), READ]], HOUR_MS);
  expect(await runFileSteps(other, [['close']], 0)).toBeUndefined();
  expect(await openFiles()).toEqual([]);
});

test('a file stays open from one call to the next', async () => {
  await writeFile(at('a'), 'abcdef');
  const target = Buffer.alloc(2);
  const file = await runFileSteps(undefined, [['open', at('a'), READ]], HOUR_MS);
  expect(await openFiles()).toEqual([at('a')]);
  expect(await runFileSteps(file, [['read', target, 3]], HOUR_MS)).toBe(file);
  expect(target.toString()).toBe('de');
  expect(await runFileSteps(file, [['close']], HOUR_MS)).toBeUndefined();
  expect(await openFiles()).toEqual([]);
});

test('many at once do not mix', async () => {
  const bytes = Array.from({ length: 40 }, (_, index) => Buffer.alloc(100_000, index));
  await Promise.all(
    bytes.map((each, index) =>
      runFileSteps(
        undefined,
        [['open', at(`${index}`), CREATE], ['write', each, 0], ['close']],
        HOUR_MS,
      ),
    ),
  );
  for (const [index, each] of bytes.entries()) {
    expect((await readFile(at(`${index}`))).equals(each)).toBe(true);
  }
});

test('what fails is told, nothing follows it, and the file is closed', async () => {
  await writeFile(at('a'), 'abcdef');
  await symlink(at('a'), at('link'));
  const missing = await failureOf([
    ['open', at('b/c'), CREATE],
    ['unlink', at('a')],
  ]);
  expect(missing).toBe('open: ENOENT');
  expect(await failureOf([['open', at('a'), CREATE]])).toBe('open: EEXIST');
  expect(await failureOf([['open', at('link'), READ]])).toBe('open: ELOOP');
  const cut = await failureOf([
    ['open', at('a'), READ],
    ['read', Buffer.alloc(4), 3],
    ['unlink', at('a')],
  ]);
  expect(cut).toBe('read: EOF');
  expect(
    await failureOf([
      ['open', at('a'), READ],
      ['write', Buffer.alloc(1), 0],
    ]),
  ).toBe('write: EBADF');
  expect(await failureOf([['read', Buffer.alloc(1), 0]])).toBe('read: EBADF');
  expect(await failureOf([['syncData']])).toBe('syncData: EBADF');
  expect(await failureOf([['rename', at('b'), at('a')]])).toBe('rename: ENOENT');
  expect(await failureOf([['unlink', at('b')]])).toBe('unlink: ENOENT');
  expect(await failureOf([['syncFolder', at('b')]])).toBe('syncFolder: ENOENT');
  expect(
    await failureOf([
      ['open', at('a'), READ],
      ['open', at('b'), READ],
    ]),
  ).toBe('open: EBADF');
  expect(await readFile(at('a'), 'utf8')).toBe('abcdef');
  expect(await openFiles()).toEqual([]);
});

test('no step begins when its time is up', async () => {
  await writeFile(at('a'), '');
  expect(await failureOf([['unlink', at('a')]], 0)).toBe('unlink: ETIMEDOUT');
  const file = await runFileSteps(undefined, [['open', at('a'), READ]], HOUR_MS);
  await expect(runFileSteps(file, [['unlink', at('a')]], 0)).rejects.toMatchObject({
    code: 'ETIMEDOUT',
  });
  expect(await readdir(folder)).toEqual(['a']);
  expect(await openFiles()).toEqual([]);
  const other = await runFileSteps(undefined, [['open', at('a'), READ]], HOUR_MS);
  expect(await runFileSteps(other, [['close']], 0)).toBeUndefined();
  expect(await openFiles()).toEqual([]);
});
