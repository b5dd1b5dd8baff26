// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { beforeEach, describe, expect, test } from 'vitest';
import { createAttachmentStore } from '../../../src/attachments/attachments.ts';
import { createHybridStore } from '../../../src/attachments/hybrid.ts';
import { Moves } from '../../../src/attachments/moves.ts';
import { contentTypeOf } from '../../../src/attachments/naming.ts';
import { type JobState, StepStatus } from '../../../src/move/job.ts';
import { createMoveRunner } from '../../../src/move/move.ts';
import { type MoveTarget, newMove } from '../../../src/move/progress.ts';
import { parseMoveRequest } from '../../../src/move/request.ts';
import { orthancIsStopping, type Resource } from '../../../src/orthanc/api.ts';
import { never } from '../../support/bodies.ts';
import { createFakeIndex, type FakeIndex } from '../../support/fake-index.ts';
import { createMemoryStore, type MemoryStore } from '../../support/memory-store.ts';

const INSTANCES = 30;
/** Those, and three of users'. */
const ALL = INSTANCES + 3;

let index: FakeIndex;
let files: MemoryStore;
let bucket: MemoryStore;
let world: ReturnType<typeof createStores>;
/** As Orthanc's API is from then on. */
let isStopping: boolean;

beforeEach(() => {
  index = createFakeIndex(INSTANCES);
  isStopping = false;
  files = createMemoryStore();
  bucket = createMemoryStore();
  world = createStores();
  for (const { uuid, bytes } of index.attachments) files.objects.set(legacyKey(uuid), bytes);
});

const legacyKey = (uuid: string) => `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;

function createStores() {
  const naming = { rootPath: '', structure: 'legacy', legacyUnknownFiles: false } as const;
  const stores = {
    'file-system': createAttachmentStore({ store: files, naming }),
    'object-storage': createAttachmentStore({
      store: bucket,
      naming: { ...naming, structure: 'flat' },
    }),
  };
  const moves = new Moves();
  return {
    hybrid: createHybridStore(stores['object-storage'], stores['file-system'], moves),
    runner: createMoveRunner({
      api: {
        get: (path) => (isStopping ? Promise.reject(orthancIsStopping()) : index.api.get(path)),
      },
      stores,
      moves,
      requireTwoPlaces: undefined,
      retryDelaysMs: [1, 1, 1, 1],
      stepMs: 20,
    }),
  };
}

interface Content {
  readonly Moved: number;
  readonly MovedBytes: number;
  readonly AlreadyThere: number;
  readonly DeletedMeanwhile: number;
  readonly Failed: number;
  readonly Failures: readonly { readonly Uuid: string; readonly Reason: string }[];
  readonly Description: string;
}

/** Steps until the job is over. */
async function run(handle: string, begun: JobState) {
  let { serialized } = begun;
  for (;;) {
    const { status, state } = await world.runner.step(handle, serialized);
    serialized = state.serialized;
    if (status === StepStatus.Continue) continue;
    await world.runner.stop(handle);
    return { status, state, content: JSON.parse(state.content) as Content };
  }
}

const move = (target: MoveTarget, ...resources: readonly Resource[]) =>
  run(`${target} ${resources.length}`, newMove(target, resources));

const names = () =>
  index.attachments.map(({ uuid, contentType }) => `${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`);

test('a study goes with its parents, its instances and all that users attached', async () => {
  const { status, state, content } = await move('object-storage', index.study);
  expect(status).toBe(StepStatus.Success);
  expect(state.progress).toBe(1);
  expect(content).toMatchObject({ Moved: ALL, AlreadyThere: 0, Failed: 0, DeletedMeanwhile: 0 });
  expect(files.objects.size).toBe(0);
  expect([...bucket.objects.keys()].sort()).toEqual([...names()].sort());
  for (const { uuid, bytes, contentType } of index.attachments) {
    const key = `${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`;
    expect(Buffer.compare(bucket.objects.get(key) ?? Buffer.alloc(0), bytes)).toBe(0);
  }
});

test('an instance goes with its parents, and nothing else', async () => {
  const [instance] = index.instances;
  if (instance === undefined) throw new Error('no instance');
  const { content } = await move('object-storage', instance, instance);
  // The file, and an attachment each of the instance, the study and the patient.
  expect(content).toMatchObject({ Moved: 4, Failed: 0 });
  expect(files.objects.size).toBe(ALL - 4);
});

test('run twice it moves nothing and says so; there and back it is as before', async () => {
  const before = new Map(files.objects);
  await move('object-storage', index.patient);
  const again = await move('object-storage', index.patient);
  expect(again.content).toMatchObject({ Moved: 0, MovedBytes: 0, AlreadyThere: ALL, Failed: 0 });
  expect(again.content.Description).toMatch(/^Nothing to move/);
  await move('file-system', index.patient);
  expect(bucket.objects.size).toBe(0);
  expect(files.objects.size).toBe(before.size);
  for (const [key, bytes] of before) {
    expect(Buffer.compare(files.objects.get(key) ?? Buffer.alloc(0), bytes)).toBe(0);
  }
});

test('no source is deleted before its copy was read back', async () => {
  const verified = new Set<string>();
  bucket.waitAt((call) => {
    if (call.startsWith('get ')) verified.add(call.slice(4, 40));
    return undefined;
  });
  files.waitAt((call) => {
    if (call.startsWith('delete ')) expect(verified).toContain(call.slice(-36));
    return undefined;
  });
  expect((await move('object-storage', index.study)).content.Moved).toBe(ALL);
});

test('a copy that reads back wrong leaves the source and is listed', async () => {
  const [damaged] = index.attachments;
  if (damaged === undefined) throw new Error('no attachment');
  bucket.waitAt((call) => {
    if (call === `get ${damaged.uuid}.dcm`) bucket.objects.set(call.slice(4), Buffer.from('?'));
    return undefined;
  });
  const { status, content } = await move('object-storage', index.study);
  expect(status).toBe(StepStatus.Failure);
  expect(content).toMatchObject({ Moved: ALL - 1, Failed: 1 });
  expect(content.Failures).toMatchObject([
    { Uuid: damaged.uuid, Reason: expect.stringMatching(/^INTEGRITY: the copy/) as string },
  ]);
  expect([...files.objects.keys()]).toEqual([legacyKey(damaged.uuid)]);
  expect([...bucket.objects.keys()]).not.toContain(`${damaged.uuid}.dcm`);
});

test("a source that isn't what the index says is not moved", async () => {
  const [damaged] = index.attachments;
  if (damaged === undefined) throw new Error('no attachment');
  const rotten = Buffer.from(damaged.bytes);
  rotten[3] = (rotten[3] ?? 0) ^ 1;
  files.objects.set(legacyKey(damaged.uuid), rotten);
  const { content } = await move('object-storage', index.study);
  expect(content).toMatchObject({ Moved: ALL - 1, Failed: 1 });
  expect(content.Failures[0]?.Reason).toMatch(/^INTEGRITY: the source has the MD5/);
  expect([...bucket.objects.keys()]).not.toContain(`${damaged.uuid}.dcm`);
});

test('a store that fails at every fifth request', async () => {
  for (const store of [files, bucket]) {
    store.failWhen((_call, count) => (count % 5 === 0 ? 'UNAVAILABLE' : undefined));
  }
  const { content } = await move('object-storage', index.study);
  expect(content.Failed + content.Moved).toBe(ALL);
  // Each is in one place at least, and where it failed still at the source.
  for (const { uuid, bytes, contentType } of index.attachments) {
    const copies = [
      files.objects.get(legacyKey(uuid)),
      bucket.objects.get(`${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`),
    ];
    expect(copies.some((copy) => copy !== undefined && Buffer.compare(copy, bytes) === 0)).toBe(
      true,
    );
  }
  files.failWhen(() => undefined);
  bucket.failWhen(() => undefined);
  const again = await move('object-storage', index.study);
  expect(again.content.Failed).toBe(0);
  expect(files.objects.size).toBe(0);
  expect(bucket.objects.size).toBe(ALL);
});

test('a store that stays down ends the job, which says why and has touched nothing', async () => {
  bucket.failWhen(() => 'UNAVAILABLE');
  const { status, content } = await move('object-storage', index.study);
  expect(status).toBe(StepStatus.Failure);
  expect(content.Moved).toBe(0);
  const reasons = content.Failures.map(({ Reason }) => Reason);
  expect(reasons).toContainEqual(
    expect.stringMatching(
      /^UNAVAILABLE: ended after 50 failures in a row, .*: put .* run it again/,
    ),
  );
  // Of five attempts each.
  expect(bucket.calls().filter((call) => call.startsWith('put')).length).toBeLessThan(60);
  expect(files.objects.size).toBe(ALL);
  bucket.failWhen(() => undefined);
  expect((await move('object-storage', index.study)).content).toMatchObject({ Moved: ALL });
});

const WANTED: readonly (readonly [string, () => readonly Resource[]])[] = [
  ['a study', () => [index.study]],
  ['all of its instances', () => index.instances],
];

test.each(WANTED)('%s: several are moved at once', async (_name, wanted) => {
  let active = 0;
  let most = 0;
  bucket.waitAt(async () => {
    active += 1;
    most = Math.max(most, active);
    await sleep(2);
    active -= 1;
  });
  const { content, state } = await move('object-storage', ...wanted());
  expect(content).toMatchObject({ Moved: ALL, AlreadyThere: 0, Failed: 0 });
  expect(state.progress).toBe(1);
  expect(most).toBeGreaterThanOrEqual(6);
});

test.each(WANTED)(
  '%s: stopped and taken up again from what Orthanc kept, also by another runtime',
  async (_name, wanted) => {
    let gets = 0;
    let reached: () => void = () => undefined;
    const halfway = new Promise<void>((resolve) => {
      reached = resolve;
    });
    files.waitAt((call) => {
      if (!call.startsWith('get')) return undefined;
      gets += 1;
      if (gets !== ALL / 3) return undefined;
      reached();
      return undefined;
    });
    bucket.waitAt(() => new Promise((resolve) => setTimeout(resolve, 2)));
    const begun = newMove('object-storage', wanted());
    const { state } = await world.runner.step('1', begun.serialized);
    await halfway;
    const paused = await world.runner.stop('1');
    const calls = bucket.calls().length;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(bucket.calls()).toHaveLength(calls);
    expect(paused?.progress).toBeLessThan(1);
    world = createStores();
    const { content } = await run('2', paused ?? state);
    // The patient's and the study's own may be looked at again.
    expect(content.Moved + content.AlreadyThere - ALL).toBeOneOf([0, 2]);
    // At most those that were under way count as already there.
    expect(content.AlreadyThere).toBeLessThanOrEqual(9);
    expect(files.objects.size).toBe(0);
    expect(bucket.objects.size).toBe(ALL);
  },
);

describe('Orthanc stops', () => {
  test.each([
    ['put', 'object-storage'],
    ['get', 'object-storage'],
    ['delete', 'object-storage'],
    ['put', 'file-system'],
    ['get', 'file-system'],
    ['delete', 'file-system'],
  ] as const)(
    'during a %s on the way to the %s: the move ends at once, does not fail, and goes on at the next start',
    async (verb, target) => {
      if (target === 'file-system') await move('object-storage', index.study);
      const [to, from] = target === 'object-storage' ? [bucket, files] : [files, bucket];
      let reached: () => void = () => undefined;
      const halfway = new Promise<void>((resolve) => {
        reached = resolve;
      });
      let count = 0;
      const stopHalfway = (call: string) => {
        if (call.startsWith(`${verb} `) && ++count === ALL / 3) {
          isStopping = true;
          reached();
        }
        return sleep(2);
      };
      (verb === 'delete' ? from : to).waitAt(stopHalfway);
      let { serialized } = newMove(target, [index.study]);
      const step = async () => {
        const result = await world.runner.step('1', serialized);
        serialized = result.state.serialized;
        expect(result.status).toBe(StepStatus.Continue);
        expect(JSON.parse(result.state.content)).toMatchObject({ Failed: 0, Failures: [] });
      };
      await step();
      await halfway;
      await sleep(20);
      const calls = bucket.calls().length + files.calls().length;
      const beganMs = performance.now();
      // Orthanc takes one step after another until it ends: each of them waits, lest it spin.
      await step();
      await step();
      expect(performance.now() - beganMs).toBeGreaterThan(30);
      expect(bucket.calls().length + files.calls().length).toBe(calls);
      await world.runner.stop('1');

      isStopping = false;
      for (const store of [bucket, files]) store.waitAt(() => undefined);
      world = createStores();
      const { status, content } = await run('2', { progress: 0, content: '{}', serialized });
      expect(status).toBe(StepStatus.Success);
      expect(content.Failed).toBe(0);
      expect(content.Moved + content.AlreadyThere).toBe(ALL);
      expect(from.objects.size).toBe(0);
      expect(to.objects.size).toBe(ALL);
    },
  );

  test('before a move has begun, it waits for the next start', async () => {
    isStopping = true;
    const { status, state } = await world.runner.step(
      '1',
      newMove('object-storage', [index.study]).serialized,
    );
    expect(status).toBe(StepStatus.Continue);
    expect(JSON.parse(state.content)).toMatchObject({ Failed: 0, ResourcesDone: 0 });
    expect(bucket.calls()).toEqual([]);
  });
});

describe('what happens meanwhile', () => {
  test.each(['put', 'get'])('a removal during a %s leaves no orphan', async (verb) => {
    const [gone] = index.attachments;
    if (gone === undefined) throw new Error('no attachment');
    bucket.waitAt((call) => {
      if (call !== `${verb} ${gone.uuid}.dcm`) return undefined;
      index.forget(gone.uuid);
      return world.hybrid
        .remove(
          { uuid: gone.uuid, contentType: contentTypeOf(gone.contentType) },
          { signal: never() },
        )
        .then(() => undefined);
    });
    const { status, content } = await move('object-storage', index.study);
    expect(status).toBe(StepStatus.Success);
    expect(content).toMatchObject({ Moved: ALL - 1, DeletedMeanwhile: 1, Failed: 0 });
    expect(files.objects.size).toBe(0);
    expect(bucket.objects.size).toBe(ALL - 1);
  });

  test.each([
    ['the disk', legacyKey],
    ['the bucket', (uuid: string) => `${uuid}.dcm`],
  ] as const)(
    'a removal that began before, and whose %s is slow, leaves no orphan',
    async (place, keyOf) => {
      const [gone] = index.attachments;
      if (gone === undefined) throw new Error('no attachment');
      let letGo: () => void = () => undefined;
      const held = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      (place === 'the disk' ? files : bucket).waitAt((call) =>
        call === `delete ${keyOf(gone.uuid)}` ? held : undefined,
      );
      const attachment = { uuid: gone.uuid, contentType: contentTypeOf(gone.contentType) };
      const removal = world.hybrid.remove(attachment, { signal: never() });
      setTimeout(letGo, 100);
      const { content } = await move('object-storage', index.study);
      await removal;
      expect(content).toMatchObject({ Moved: ALL - 1, DeletedMeanwhile: 1, Failed: 0 });
      expect(files.objects.size).toBe(0);
      expect(bucket.objects.size).toBe(ALL - 1);
    },
  );

  test('a copy that could not be removed at once is removed by the next attempt', async () => {
    const [gone] = index.attachments;
    if (gone === undefined) throw new Error('no attachment');
    const attachment = { uuid: gone.uuid, contentType: contentTypeOf(gone.contentType) };
    let deletes = 0;
    bucket.waitAt((call) =>
      call === `put ${gone.uuid}.dcm`
        ? world.hybrid.remove(attachment, { signal: never() }).then(() => undefined)
        : undefined,
    );
    // The first is the removal's own, the second the move's.
    bucket.failWhen((call) =>
      call === `delete ${gone.uuid}.dcm` && ++deletes === 2 ? 'UNAVAILABLE' : undefined,
    );
    const { content } = await move('object-storage', index.study);
    expect(content).toMatchObject({ Moved: ALL - 1, DeletedMeanwhile: 1, AlreadyThere: 0 });
    expect(bucket.objects.size).toBe(ALL - 1);
  });

  test('what is in neither store is a failure as long as the index knows it', async () => {
    const [lost] = index.attachments;
    files.objects.delete(legacyKey(lost?.uuid ?? ''));
    const { content } = await move('object-storage', index.study);
    expect(content).toMatchObject({ Moved: ALL - 1, Failed: 1 });
    expect(content.Failures).toMatchObject([
      { Uuid: lost?.uuid, Reason: expect.stringMatching(/^NOT_FOUND/) as string },
    ]);
  });

  test('two jobs at once: each waits for what the other has in hand', async () => {
    bucket.waitAt((call) => (call.startsWith('put ') ? sleep(50) : undefined));
    const [one, two] = await Promise.all([
      run('a', newMove('object-storage', [index.study])),
      run('b', newMove('object-storage', [index.patient])),
    ]);
    expect([one.content.Failed, two.content.Failed]).toEqual([0, 0]);
    expect(one.content.Moved + two.content.Moved).toBe(ALL);
    expect(bucket.objects.size).toBe(ALL);
    expect(files.objects.size).toBe(0);
  });

  test('a job that waits for another can be stopped', async () => {
    const release = new AbortController();
    bucket.waitAt((call) =>
      call.startsWith('put ')
        ? sleep(60_000, undefined, { signal: release.signal }).catch(() => undefined)
        : undefined,
    );
    const begun = newMove('object-storage', [index.study]);
    await Promise.all(['a', 'b'].map((handle) => world.runner.step(handle, begun.serialized)));
    const stopped = await world.runner.stop('b');
    expect(JSON.parse(stopped?.content ?? '')).toMatchObject({ Moved: 0, Failed: 0 });
    release.abort();
    expect((await run('a', begun)).content).toMatchObject({ Moved: ALL, Failed: 0 });
  });
});

test("what Orthanc adds to what it keeps doesn't come back", () => {
  const { serialized } = newMove('object-storage', [index.study]);
  const kept = JSON.stringify({ ...(JSON.parse(serialized) as object), Type: 'MoveStorage' });
  expect(world.runner.restore(kept).serialized).toBe(serialized);
});

test('a job that is reset begins anew', async () => {
  const { state } = await move('object-storage', index.study);
  const reset = world.runner.reset(state.serialized);
  expect(reset).toEqual(newMove('object-storage', [index.study]));
});

describe('the request', () => {
  const parse = (value: unknown) =>
    parseMoveRequest(typeof value === 'string' ? value : JSON.stringify(value), index.api);
  const good = () => ({ Resources: [index.study.id], TargetStorage: 'file-system' });

  test.each<[string, (request: ReturnType<typeof good>) => unknown, RegExp]>([
    ['no JSON', () => '{', /no JSON/],
    ['no resources', () => ({ TargetStorage: 'file-system' }), /"Resources" must be/],
    ['none in it', (request) => ({ ...request, Resources: [] }), /"Resources" must be/],
    ['an unknown one', (request) => ({ ...request, Resources: ['x'] }), /no resource "x"/],
    ['no target', ({ Resources }) => ({ Resources }), /"TargetStorage" must be one of/],
    ['another target', (request) => ({ ...request, TargetStorage: 'tape' }), /"TargetStorage"/],
    ['a bad priority', (request) => ({ ...request, Priority: 'high' }), /"Priority"/],
    ['a priority beyond 32 bits', (request) => ({ ...request, Priority: 3e9 }), /"Priority"/],
    ['a bad flag', (request) => ({ ...request, Asynchronous: 1 }), /"Asynchronous"/],
  ])('%s', async (_name, change, problem) => {
    expect(await parse(change(good()))).toEqual({
      problem: expect.stringMatching(problem) as string,
    });
  });

  test('finds the level of each resource, and waits unless told otherwise', async () => {
    expect(await parse(good())).toEqual({
      target: 'file-system',
      resources: [index.study],
      synchronous: true,
      priority: 0,
    });
    const more = { ...good(), Asynchronous: true, Priority: -3 };
    expect(await parse(more)).toMatchObject({ synchronous: false, priority: -3 });
  });
});
