// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type LockFolder, openFolder } from '../../../src/local/folder.ts';
import { pathOf } from '../../../src/local/names.ts';
import { isLocked, lockByTool } from '../../../src/tools/cache/lock.ts';
import { expectFailure } from '../../support/bodies.ts';

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
