// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import {
  checkNothingLeft,
  type LockFolder,
  openFolder,
  PLACE_FILE,
  requireNothingLeft,
} from '../../../src/local/folder.ts';
import { pathOf } from '../../../src/local/names.ts';
import { isLocked, lockByTool } from '../../../src/tools/cache/lock.ts';
import { expectFailure } from '../../support/bodies.ts';
import { makeLogger } from '../../support/settings.ts';

const BUCKET = 's3 eu-central-1 images (flat)';
const free: LockFolder = () => Promise.resolve(() => Promise.resolve());

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'oos-folder-'));
});

afterEach(() => rm(directory, { recursive: true, force: true }));

const file = (kind: 'pending' | 'removed' | 'cached') =>
  pathOf({ kind, hash: 'a'.repeat(40), sequence: 1, sizeBytes: 1, timeMs: 1 });

test('is made private, and noted as the bucket’s', async () => {
  const close = await openFolder(directory, BUCKET, free);
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  expect((await readdir(directory)).sort()).toEqual(['bucket.json', 'cached', 'in-use', 'pending']);
  await close();
  await (await openFolder(directory, BUCKET, free))();
});

test('must be there, and hold nothing else', async () => {
  await expectFailure(
    openFolder(join(directory, 'no'), BUCKET, free),
    'BAD_CONFIG',
    /does not exist/,
  );
  await writeFile(join(directory, 'index'), '');
  await expectFailure(
    openFolder(directory, BUCKET, free),
    'BAD_CONFIG',
    /holds other files, such as "index"/,
  );
  await expectFailure(
    openFolder(join(directory, 'index'), BUCKET, free),
    'BAD_CONFIG',
    /is no folder/,
  );
});

test('belongs to one process at a time', async () => {
  const close = await openFolder(directory, BUCKET, lockByTool);
  await expectFailure(openFolder(directory, BUCKET, lockByTool), 'BAD_CONFIG', /another Orthanc/);
  await close();
  await (await openFolder(directory, BUCKET, lockByTool))();
});

test('that cannot be locked is named', async () => {
  const denied: LockFolder = () => Promise.reject(new Error('Permission denied'));
  await expectFailure(
    openFolder(directory, BUCKET, denied),
    'BAD_CONFIG',
    /Directory: .* by its file "lock" \(.*Permission denied\)/,
  );
});

test('that nobody has used is not changed by the question who does', async () => {
  expect(await isLocked(directory)).toBe(false);
  expect(await readdir(directory)).toEqual([]);
});

test('that is gone gives its lock back all the same', async () => {
  const unlock = vi.fn(() => Promise.resolve());
  const close = await openFolder(directory, BUCKET, () => Promise.resolve(unlock));
  await rm(directory, { recursive: true });
  await close();
  expect(unlock).toHaveBeenCalledOnce();
});

test.each(['pending', 'removed'] as const)(
  'with %s objects of another bucket is refused',
  async (kind) => {
    await (await openFolder(directory, 'another', free))();
    await writeFile(join(directory, file(kind)), '');
    await expectFailure(
      openFolder(directory, BUCKET, free),
      'BAD_CONFIG',
      /holds 1 objects .*another.*cache flush/,
    );
    expect(await readdir(join(directory, 'pending'))).toHaveLength(1);
  },
);

test('with cached objects of another bucket is emptied', async () => {
  await (await openFolder(directory, 'another', free))();
  await writeFile(join(directory, file('cached')), '');
  await (await openFolder(directory, BUCKET, free))();
  expect(await readdir(join(directory, 'cached'))).toEqual([]);
});

test('after a power cut, nothing that was cached is trusted; after kill -9, all is', async () => {
  await openFolder(directory, BUCKET, free);
  await writeFile(join(directory, file('cached')), '');
  await openFolder(directory, BUCKET, free);
  expect(await readdir(join(directory, 'cached'))).toHaveLength(1);
  await writeFile(join(directory, 'in-use'), 'another boot');
  await openFolder(directory, BUCKET, free);
  expect(await readdir(join(directory, 'cached'))).toEqual([]);
});

describe('that the configuration has lost', () => {
  let storage: string;

  beforeEach(async () => {
    storage = join(directory, 'storage');
    await mkdir(storage);
  });

  async function makeUsed(name: string): Promise<string> {
    const path = join(directory, name);
    await mkdir(path, { recursive: true });
    await (await openFolder(path, BUCKET, free))();
    return path;
  }

  /** @returns the lines of the log */
  async function look(now: string | undefined, isNew = false): Promise<readonly string[]> {
    const log = makeLogger();
    await requireNothingLeft(storage, now, { lockFolder: free, log, isNew, mayMake: false });
    return log.lines;
  }

  test('is missed while something is pending in it, and forgotten afterwards', async () => {
    const first = await makeUsed('first');
    expect(await look(first)).toEqual([]);
    await writeFile(join(first, file('pending')), '');
    const second = await makeUsed('second');
    for (const now of [undefined, second]) {
      const refusal = /first", where 1 objects are still/;
      await expectFailure(look(now), 'BAD_CONFIG', refusal);
      await expectFailure(checkNothingLeft(storage, now), 'BAD_CONFIG', refusal);
    }
    await checkNothingLeft(storage, first);
    await rm(join(first, file('pending')));
    await checkNothingLeft(storage, second);
    for (const _ of [1, 2]) expect(await look(undefined)).toEqual([]);
    expect(await readdir(storage)).toEqual([]);
  });

  test('and whose disk may not be mounted, is named at each start until it is there', async () => {
    const first = await makeUsed('first');
    await look(first);
    await rm(first, { recursive: true });
    const warning = [expect.stringMatching(/warning: .*first" was used before, and is empty or/)];
    expect(await look(undefined)).toEqual(warning);
    const second = await makeUsed('second');
    expect(await look(second)).toEqual(warning);
    expect(await look(second)).toEqual(warning);
    // Mounted again, with what was pending.
    await makeUsed('first');
    await writeFile(join(first, file('pending')), '');
    await expectFailure(look(second), 'BAD_CONFIG', /first", where 1 objects/);
    await rm(join(first, file('pending')));
    expect(await look(second)).toEqual([]);
    expect(await readFile(join(storage, PLACE_FILE), 'utf8')).toBe(second);
  });
});
