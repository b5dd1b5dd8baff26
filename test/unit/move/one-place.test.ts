// SPDX-License-Identifier: GPL-3.0-or-later
// Orthanc's folder may be the bucket itself, mounted: then a move would remove the one copy that there is.

import { beforeEach, expect, test } from 'vitest';
import { createAttachmentStore } from '../../../src/attachments/attachments.ts';
import { Moves } from '../../../src/attachments/moves.ts';
import { ORTHANC_NAMING } from '../../../src/attachments/naming.ts';
import { requireTwoPlaces } from '../../../src/attachments/same-place.ts';
import { StorageError } from '../../../src/errors.ts';
import { StepStatus } from '../../../src/move/job.ts';
import { createMoveRunner, type RequireTwoPlaces } from '../../../src/move/move.ts';
import { type MoveTarget, newMove } from '../../../src/move/progress.ts';
import { never } from '../../support/bodies.ts';
import { createFakeIndex } from '../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';

const index = createFakeIndex(5);
const keyOf = (uuid: string) => `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;

let disk: MemoryStore;
let bucket: MemoryStore;

beforeEach(() => {
  disk = createMemoryStore();
  bucket = createMemoryStore();
  for (const { uuid, bytes } of index.attachments) disk.objects.set(keyOf(uuid), bytes);
});

async function move(target: MoveTarget, objects: MemoryStore, insist: RequireTwoPlaces) {
  const runner = createMoveRunner({
    api: index.api,
    stores: {
      'file-system': createAttachmentStore({ store: disk, naming: ORTHANC_NAMING }),
      'object-storage': createAttachmentStore({ store: objects, naming: ORTHANC_NAMING }),
    },
    moves: new Moves(),
    requireTwoPlaces: insist,
    retryDelaysMs: [1, 1],
  });
  let { serialized } = newMove(target, [index.patient]);
  for (;;) {
    const { status, state } = await runner.step('job', serialized);
    serialized = state.serialized;
    if (status !== StepStatus.Continue) return JSON.parse(state.content) as object;
  }
}

test.each<MoveTarget>(['object-storage', 'file-system'])(
  'a move to the %s of what lies in one place removes nothing',
  async (target) => {
    const before = new Map(disk.objects);
    const content = await move(target, disk, (options) =>
      requireTwoPlaces({ files: disk, objects: disk }, ORTHANC_NAMING, options),
    );
    expect(content).toMatchObject({ Moved: 0, Failed: before.size });
    expect(JSON.stringify(content)).toMatch(/BAD_CONFIG: .*Leave HybridMode/);
    // Nor is the probe left.
    expect(disk.objects).toEqual(before);
  },
);

test('where a cache hides that at first, what lies on both sides waits for a surer answer', async () => {
  const before = new Map(disk.objects);
  const content = await move('object-storage', disk, ({ patienceMs }) =>
    patienceMs === 0
      ? Promise.resolve()
      : Promise.reject(new StorageError('BAD_CONFIG', 'they are one')),
  );
  expect(content).toMatchObject({ Moved: 0, Failed: before.size });
  expect(disk.objects).toEqual(before);
});

test('what an interrupted move has left on both sides is moved', async () => {
  for (const [key, bytes] of disk.objects) bucket.objects.set(key, bytes);
  const asked: number[] = [];
  const content = await move('object-storage', bucket, ({ patienceMs }) => {
    asked.push(patienceMs);
    return Promise.resolve();
  });
  expect(content).toMatchObject({ Moved: disk.objects.size + bucket.objects.size, Failed: 0 });
  expect(disk.objects.size).toBe(0);
  // Once for all of them.
  expect(asked).toHaveLength(2);
  expect(asked[0]).toBe(0);
  expect(asked[1]).toBeGreaterThan(0);
});

test('a disk that fails says so itself, not the removal of the probe', async () => {
  disk.failWhen((call) => (call.startsWith('put') ? 'TIMEOUT' : 'UNAVAILABLE'));
  const asked = requireTwoPlaces({ files: disk, objects: bucket }, ORTHANC_NAMING, {
    signal: never(),
  });
  await expect(asked).rejects.toMatchObject({ code: 'TIMEOUT' });
});

test('a file that shows in the bucket after a while is found by who waits', async () => {
  const late = {
    put: async (...args: Parameters<MemoryStore['put']>) => {
      await disk.put(...args);
      setTimeout(() => bucket.objects.set(`archive/${args[0]}`, Buffer.alloc(0)), 100);
    },
    delete: (...args: Parameters<MemoryStore['delete']>) => disk.delete(...args),
  };
  const naming = { ...ORTHANC_NAMING, rootPath: 'archive' };
  const places = { files: late, objects: bucket };
  await requireTwoPlaces(places, naming, { signal: never() });
  const patient = requireTwoPlaces(places, naming, { signal: never(), patienceMs: 5000 });
  await expect(patient).rejects.toMatchObject({ code: 'BAD_CONFIG' });
  expect(disk.objects.size).toBe(index.attachments.length);
});

test('a bucket that denies what is not there, as S3 does without s3:ListBucket, is another place', async () => {
  const denies = {
    head: () => Promise.reject(new StorageError('ACCESS_DENIED', 'denied')),
  };
  const before = new Map(disk.objects);
  await requireTwoPlaces({ files: disk, objects: denies }, ORTHANC_NAMING, { signal: never() });
  expect(disk.objects).toEqual(before);
});
