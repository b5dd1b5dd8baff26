// SPDX-License-Identifier: GPL-3.0-or-later

import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { ContentType } from '../../../../src/attachments/naming.ts';
import type { NamingSettings } from '../../../../src/config/settings.ts';
import { Envelope } from '../../../../src/encryption/envelope.ts';
import { StorageError } from '../../../../src/errors.ts';
import { openSpool } from '../../../../src/tools/common/files.ts';
import { describeRekeyProgress } from '../../../../src/tools/rekey/progress.ts';
import { type RekeyedObject, type RekeyPlan, rekey } from '../../../../src/tools/rekey/rekey.ts';
import { openRekeyState } from '../../../../src/tools/rekey/state.ts';
import { createAes } from '../../../support/aes.ts';
import {
  damage,
  expectFailure,
  expectSameBytes,
  makeBytes,
  makeSink,
  never,
} from '../../../support/bodies.ts';
import {
  createMemoryStore,
  encrypt,
  failureOf,
  type MemoryStore,
  testKeyring,
} from '../../encryption/support.ts';

const FLAT: NamingSettings = { rootPath: 'r', structure: 'flat', legacyUnknownFiles: false };
const LEGACY: NamingSettings = { ...FLAT, structure: 'legacy' };
const OLD = testKeyring(1, 1);
const NEW = testKeyring(2, 1, 2);
const CONTENT = makeBytes(150_000);

const uuidOf = (number: number) =>
  `e1f2a3b4-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;

interface Extra {
  readonly plan?: Partial<RekeyPlan>;
  readonly naming?: NamingSettings;
  readonly isDone?: (key: string) => boolean;
  readonly onObject?: (object: RekeyedObject) => void;
  readonly onUnconditionalPuts?: () => void;
  readonly signal?: AbortSignal;
  /** Where spools lie. */
  readonly spools?: string;
  /** Of Orthanc's index. */
  readonly types?: Readonly<Record<string, ContentType>>;
}

const open = (keyring = NEW) =>
  new Envelope({
    keyring,
    createAes,
    format: 'A1',
    maxInputBytes: 2 ** 30,
  });

async function run(store: MemoryStore, extra: Extra = {}): Promise<Record<string, string>> {
  const outcomes: Record<string, string> = {};
  await rekey({
    store,
    naming: extra.naming ?? FLAT,
    envelope: open(),
    plan: {
      fromKeyId: undefined,
      toFormat: undefined,
      isDryRun: false,
      concurrency: 3,
      ...extra.plan,
    },
    openSpool: () => openSpool(extra.spools ?? tmpdir()),
    typeOf: (uuid) => extra.types?.[uuid],
    onUnconditionalPuts: () => extra.onUnconditionalPuts?.(),
    isDone: extra.isDone ?? (() => false),
    onObject: (object) => {
      outcomes[object.key] = object.outcome;
      extra.onObject?.(object);
    },
    signal: extra.signal ?? never(),
  });
  return outcomes;
}

async function fill(store: MemoryStore): Promise<void> {
  const put = async (number: number, format: 'A1' | 'A2', keyring = OLD) => {
    const uuid = uuidOf(number);
    store.objects.set(`r/${uuid}.dcm.enc`, await encrypt(format, CONTENT, { keyring, uuid }));
  };
  await put(1, 'A1');
  await put(2, 'A2');
  await put(3, 'A1', NEW);
  await put(4, 'A2', NEW);
  store.objects.set(`r/${uuidOf(5)}.dcm`, Buffer.from(CONTENT));
  store.objects.set('r/something else', Buffer.from('x'));
  store.objects.set(`elsewhere/${uuidOf(6)}.dcm.enc`, Buffer.from('x'));
}

const nameOf = (number: number) => `r/${uuidOf(number)}.dcm.enc`;
const headOf = (store: MemoryStore, key: string) => {
  const object = store.objects.get(key);
  return `${object?.toString('latin1', 0, 2)} ${object?.readUInt32LE(2)}`;
};

async function readBack(store: MemoryStore, number: number): Promise<Uint8Array> {
  const sink = makeSink();
  const identity = { uuid: uuidOf(number), contentType: 1 };
  await open().get(store, nameOf(number), undefined, sink, identity, {
    signal: never(),
    plain: 'refuse',
  });
  return sink.bytes();
}

describe('rekey', () => {
  test('all but the master key, each in its format', async () => {
    const store = createMemoryStore();
    await fill(store);
    const before = new Map(store.objects);
    expect(await run(store)).toEqual({
      [nameOf(1)]: 'rekeyed',
      [nameOf(2)]: 'rekeyed',
      [nameOf(3)]: 'kept',
      [nameOf(4)]: 'kept',
      [`r/${uuidOf(5)}.dcm`]: 'foreign',
      'r/something else': 'foreign',
    });
    expect(headOf(store, nameOf(1))).toBe('A1 2');
    expect(headOf(store, nameOf(2))).toBe('A2 2');
    for (const number of [1, 2, 3, 4]) expectSameBytes(await readBack(store, number), CONTENT);
    for (const key of [nameOf(3), nameOf(4), `r/${uuidOf(5)}.dcm`]) {
      expect(store.objects.get(key)).toBe(before.get(key));
    }
    expect(Object.values(await run(store))).not.toContain('rekeyed');
  });

  test('to A2 converts what is under the master key, too', async () => {
    const store = createMemoryStore();
    await fill(store);
    await run(store, { plan: { toFormat: 'A2' } });
    for (const number of [1, 2, 3, 4]) {
      expect(headOf(store, nameOf(number))).toBe('A2 2');
      expectSameBytes(await readBack(store, number), CONTENT);
    }
  });

  test('of one key id alone; a dry run writes nothing', async () => {
    const store = createMemoryStore();
    await fill(store);
    expect(Object.values(await run(store, { plan: { fromKeyId: 9 } }))).not.toContain('rekeyed');
    const outcomes = await run(store, { plan: { fromKeyId: 1, isDryRun: true } });
    expect(Object.values(outcomes).filter((outcome) => outcome === 'rekeyed')).toHaveLength(2);
    expect(store.requests.filter((request) => request.startsWith('put'))).toEqual([]);
  });

  test.each([0, 1, 15, 65_536, 65_537, 3_000_000])('contents of %i bytes', async (sizeBytes) => {
    const content = makeBytes(sizeBytes);
    for (const [from, to] of [
      ['A1', 'A1'],
      ['A1', 'A2'],
      ['A2', 'A1'],
      ['A2', 'A2'],
    ] as const) {
      const store = createMemoryStore();
      const uuid = uuidOf(1);
      store.objects.set(nameOf(1), await encrypt(from, content, { keyring: OLD, uuid }));
      expect(await run(store, { plan: { toFormat: to } })).toEqual({ [nameOf(1)]: 'rekeyed' });
      expect(headOf(store, nameOf(1))).toBe(`${to} 2`);
      expectSameBytes(await readBack(store, 1), content);
    }
  });

  test('nothing of what was under way is left in the bucket or the temporary folder', async () => {
    const store = createMemoryStore();
    await fill(store);
    const keys = [...store.objects.keys()];
    const spools = mkdtempSync(join(tmpdir(), 'spools-'));
    await run(store, { spools });
    expect([...store.objects.keys()]).toEqual(keys);
    expect(readdirSync(spools)).toEqual([]);
    rmSync(spools, { recursive: true });
  });

  test('what is broken fails and is left as it is; the others go on', async () => {
    const store = createMemoryStore();
    await fill(store);
    damage(store.objects.get(nameOf(1)), 1000);
    store.objects.set(nameOf(7), Buffer.from('DICM in the clear'));
    const broken = Buffer.from(store.objects.get(nameOf(1)) ?? '');
    const reasons: (string | undefined)[] = [];
    const outcomes = await run(store, {
      onObject: ({ failure }) => failure && reasons.push(failure.message),
    });
    expect(outcomes).toMatchObject({
      [nameOf(1)]: 'failed',
      [nameOf(2)]: 'rekeyed',
      [nameOf(7)]: 'failed',
    });
    expect(store.objects.get(nameOf(1))).toEqual(broken);
    expect(reasons.join('\n')).toMatch(/not authentic[\s\S]*it is not/);
  });

  describe.each([
    ['a server that heeds versions', true],
    ['one that does not', false],
  ])('what Orthanc removes meanwhile does not come back from %s', (_, heedsVersions) => {
    type Moment = 'after the read' | 'in the put' | 'after the put';

    /** Removes the first object at the moment. */
    async function removeAt(moment: Moment) {
      const store = createMemoryStore({ heedsVersions });
      await fill(store);
      const warnings: string[] = [];
      const remove = (key: string) => key === nameOf(1) && store.objects.delete(key);
      const removing: MemoryStore = {
        ...store,
        async get(key, range, sink, options) {
          await store.get(key, range, sink, options);
          if (moment === 'after the read' && range === undefined) remove(key);
        },
        async put(key, body, options) {
          // What reads the body has it before the server decides.
          body.read(0, body.sizeBytes);
          if (moment === 'in the put') remove(key);
          await store.put(key, body, options);
          if (moment === 'after the put') remove(key);
        },
      };
      const outcomes = await run(removing, { onUnconditionalPuts: () => warnings.push('warned') });
      expect(outcomes[nameOf(2)]).toBe('rekeyed');
      expect(warnings).toHaveLength(heedsVersions ? 0 : 1);
      return { outcome: outcomes[nameOf(1)], isThere: store.objects.has(nameOf(1)) };
    }

    test.each<Moment>(['after the read', 'after the put'])('%s', async (moment) => {
      expect(await removeAt(moment)).toEqual({ outcome: 'gone', isThere: false });
    });

    // Left open where the server does not heed versions, and rekey warns of it.
    test('in the put', async () => {
      expect(await removeAt('in the put')).toEqual(
        heedsVersions ? { outcome: 'gone', isThere: false } : { outcome: 'rekeyed', isThere: true },
      );
    });
  });

  test('a put that succeeded and whose answer got lost is no failure', async () => {
    const store = createMemoryStore();
    await fill(store);
    const forgetful: MemoryStore = {
      ...store,
      async put(key, body, options) {
        await store.put(key, body, options);
        // As a retry would.
        if (options.onlyIfVersion !== undefined) await store.put(key, body, options);
      },
    };
    expect(await run(forgetful)).toMatchObject({ [nameOf(1)]: 'rekeyed', [nameOf(2)]: 'rekeyed' });
  });

  test('what somebody else replaced meanwhile is left to them', async () => {
    const store = createMemoryStore();
    await fill(store);
    const uuid = uuidOf(1);
    const other = await encrypt('A1', CONTENT, { keyring: OLD, uuid });
    const contended: MemoryStore = {
      ...store,
      async put(key, body, options) {
        if (key === nameOf(1)) store.objects.set(key, other);
        await store.put(key, body, options);
      },
    };
    const reasons: (string | undefined)[] = [];
    const outcomes = await run(contended, {
      onObject: ({ failure }) => reasons.push(failure?.message),
    });
    expect(outcomes[nameOf(1)]).toBe('failed');
    expect(reasons[0]).toMatch(/changed meanwhile; run rekey again/);
    expect(store.objects.get(nameOf(1))).toBe(other);
  });

  test('a probe of the server that failed is repeated with the next object', async () => {
    const store = createMemoryStore();
    await fill(store);
    let probes = 0;
    const stumbling: MemoryStore = {
      ...store,
      async put(key, body, options) {
        if (key.includes('probe') && ++probes === 1) throw new StorageError('UNAVAILABLE', 'later');
        await store.put(key, body, options);
      },
    };
    expect(await run(stumbling, { plan: { concurrency: 1 } })).toMatchObject({
      [nameOf(1)]: 'failed',
      [nameOf(2)]: 'rekeyed',
    });
  });

  test('a put that wrote something else is found', async () => {
    const store = createMemoryStore();
    await fill(store);
    const lying: MemoryStore = {
      ...store,
      async put(key, body, options) {
        await store.put(key, body, options);
        damage(store.objects.get(key), 500);
      },
    };
    expect(await run(lying)).toMatchObject({ [nameOf(1)]: 'failed', [nameOf(2)]: 'failed' });
  });

  test('a put that wrote another content is found, though it is authentic', async () => {
    const store = createMemoryStore();
    await fill(store);
    const lying: MemoryStore = {
      ...store,
      async put(key, body, options) {
        await store.put(key, body, options);
        if (key.includes('probe')) return;
        const uuid = key.slice(2, 38);
        const other = damage(makeBytes(CONTENT.length), 7);
        const format = headOf(store, key).startsWith('A1') ? 'A1' : 'A2';
        store.objects.set(key, await encrypt(format, other, { keyring: NEW, uuid }));
      },
    };
    const reasons: (string | undefined)[] = [];
    const outcomes = await run(lying, {
      onObject: ({ failure }) => reasons.push(failure?.message),
    });
    expect(outcomes).toMatchObject({ [nameOf(1)]: 'failed', [nameOf(2)]: 'failed' });
    expect(reasons[0]).toMatch(/reads back as something else/);
  });

  test('a place that fails ends it, instead of failing each object by itself', async () => {
    const store = createMemoryStore();
    const sealed = await encrypt('A1', Buffer.from('x'), { keyring: OLD });
    for (let number = 0; number < 100; number += 1) store.objects.set(nameOf(number), sealed);
    const expired: MemoryStore = {
      ...store,
      put: () => Promise.reject(new StorageError('ACCESS_DENIED', 'the token has expired')),
    };
    const told: string[] = [];
    const running = run(expired, { onObject: ({ key }) => told.push(key) });
    await expectFailure(running, 'ACCESS_DENIED', /50 failures in a row.*expired.*run it again/);
    expect(told).toHaveLength(50);
  });

  test('what is under a key that nobody has is not read as a whole', async () => {
    const store = createMemoryStore();
    const others = testKeyring(9, 9);
    store.objects.set(nameOf(1), await encrypt('A1', CONTENT, { keyring: others }));
    const failures: string[] = [];
    const onObject = ({ failure }: RekeyedObject) => failures.push(failure?.code ?? '');
    for (const isDryRun of [false, true]) await run(store, { onObject, plan: { isDryRun } });
    expect(failures).toEqual(['UNKNOWN_KEY', 'UNKNOWN_KEY']);
    expect(store.requests).toEqual(Array(2).fill(`get ${nameOf(1)} 0-53`));
  });

  test('ended while it tries the server, it leaves nothing there', async () => {
    const store = createMemoryStore();
    // The oldest under way is not the one that tries.
    store.objects.set(nameOf(0), Buffer.alloc(100));
    await fill(store);
    const keys = [...store.objects.keys()];
    const controller = new AbortController();
    const slow: MemoryStore = {
      ...store,
      async get(key, range, sink, options) {
        if (key === nameOf(0)) await once(controller.signal, 'abort');
        await store.get(key, range, sink, options);
      },
      async put(key, body, options) {
        await store.put(key, body, options);
        controller.abort(new StorageError('ABORTED', 'Ctrl-C'));
      },
      async delete(key, options) {
        if (options.signal.aborted) throw new StorageError('ABORTED', 'too late');
        // A request's time, in which nobody may close the store.
        await sleep(20);
        await store.delete(key, options);
      },
    };
    await expectFailure(run(slow, { signal: controller.signal }), 'ABORTED', /Ctrl-C/);
    expect([...store.objects.keys()]).toEqual(keys);
  });

  test('a put that was acknowledged and wrote nothing is found, though the content is the same', async () => {
    const store = createMemoryStore();
    await fill(store);
    const deaf: MemoryStore = {
      ...store,
      put: async (key, body, options) => {
        if (key.includes('probe')) await store.put(key, body, options);
      },
    };
    const reasons: Record<string, string | undefined> = {};
    const outcomes = await run(deaf, {
      onObject: ({ key, failure }) => {
        reasons[key] = failure?.message;
      },
    });
    expect(outcomes).toMatchObject({ [nameOf(1)]: 'failed', [nameOf(2)]: 'failed' });
    expect(reasons[nameOf(1)]).toMatch(/still has the old object/);
    expect(headOf(store, nameOf(1))).toBe('A1 1');
  });

  describe('legacy structure, whose names tell no content type', () => {
    const keyOf = (uuid: string) => `r/${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
    const [a1, a2, plain] = [uuidOf(1), uuidOf(2), uuidOf(3)];

    async function fillLegacy(): Promise<MemoryStore> {
      const store = createMemoryStore();
      store.objects.set(keyOf(a1), await encrypt('A1', CONTENT, { keyring: OLD, uuid: a1 }));
      const typed = { keyring: OLD, uuid: a2, contentType: 3 };
      store.objects.set(keyOf(a2), await encrypt('A2', CONTENT, typed));
      store.objects.set(keyOf(plain), Buffer.from(CONTENT));
      return store;
    }

    async function expectReadable(store: MemoryStore, uuid: string, contentType: ContentType) {
      const sink = makeSink();
      const options = { signal: never(), plain: 'refuse' } as const;
      const identity = { uuid, contentType };
      await open().get(store, keyOf(uuid), undefined, sink, identity, options);
      expectSameBytes(sink.bytes(), CONTENT);
    }

    test('A1 needs none to stay A1, and A2 tells its own', async () => {
      const store = await fillLegacy();
      expect(await run(store, { naming: LEGACY })).toEqual({
        [keyOf(a1)]: 'rekeyed',
        [keyOf(a2)]: 'rekeyed',
        [keyOf(plain)]: 'foreign',
      });
      await expectReadable(store, a1, 1);
      await expectReadable(store, a2, 3);
    });

    test('a plain content that begins as an encrypted one, under no key, is none', async () => {
      const store = await fillLegacy();
      for (const text of ['A1 protocol of the ward', 'A2', `A2 paper ${'x'.repeat(100)}`]) {
        store.objects.set(keyOf(plain), Buffer.from(text));
        expect(await run(store, { naming: LEGACY })).toMatchObject({ [keyOf(plain)]: 'foreign' });
      }
    });

    test('A1 becomes A2 by the type that the index knows', async () => {
      const store = await fillLegacy();
      const types = { [a1]: 2 } as const;
      const outcomes = await run(store, { naming: LEGACY, plan: { toFormat: 'A2' }, types });
      expect(outcomes).toMatchObject({ [keyOf(a1)]: 'rekeyed', [keyOf(a2)]: 'rekeyed' });
      expect(headOf(store, keyOf(a1))).toBe('A2 2');
      await expectReadable(store, a1, 2);
    });

    test.each([false, true])(
      'what the index does not know fails with the reason, in a dry run too: %s',
      async (isDryRun) => {
        const store = await fillLegacy();
        const before = store.objects.get(keyOf(a1));
        const reasons: (string | undefined)[] = [];
        const outcomes = await run(store, {
          naming: LEGACY,
          plan: { toFormat: 'A2', isDryRun },
          onObject: ({ failure }) => reasons.push(failure?.message),
        });
        expect(outcomes[keyOf(a1)]).toBe('failed');
        expect(reasons[0]).toMatch(/cannot become A2.*--orthanc/);
        expect(store.objects.get(keyOf(a1))).toBe(before);
      },
    );
  });

  test('a listing that fails ends it', async () => {
    const store = createMemoryStore();
    await fill(store);
    const failing: MemoryStore = {
      ...store,
      async *list(prefix, options) {
        yield* store.list(prefix, options);
        throw new StorageError('UNAVAILABLE', 'gone');
      },
    };
    await expectFailure(run(failing), 'UNAVAILABLE');
  });
});

describe('the state of a rekey', () => {
  let folder = '';
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'rekey-'));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test('goes on where it was, and tries again what failed', async () => {
    const path = join(folder, 'a.json');
    const store = createMemoryStore();
    await fill(store);
    damage(store.objects.get(nameOf(1)), 1000);
    const task = { to: undefined, master: 2 };
    const first = openRekeyState(path, task);
    let seen = 0;
    const crashed = run(store, {
      isDone: first.beginListing(),
      onObject: (object) => {
        first.add(object);
        seen += 1;
        first.save();
        if (seen === 3) throw new Error('crash');
      },
    });
    await expect(crashed).rejects.toThrow('crash');

    store.requests.length = 0;
    const second = openRekeyState(path, task);
    const outcomes = await run(store, {
      isDone: second.beginListing(),
      onObject: (object) => {
        second.add(object);
      },
    });
    expect(Object.keys(outcomes)[0]).toBe(nameOf(1));
    expect(outcomes[nameOf(1)]).toBe('failed');
    expect(outcomes).not.toHaveProperty([nameOf(2)]);
    expect(second.progress().counts).toEqual({
      rekeyed: 1,
      kept: 2,
      foreign: 2,
      gone: 0,
      failed: 1,
    });
    second.finish();
    expect(Object.keys(JSON.parse(readFileSync(path, 'utf8')).progress.failures)).toEqual([
      nameOf(1),
    ]);
  });

  test('is gone when all is done', () => {
    const path = join(folder, 'd.json');
    const state = openRekeyState(path, {});
    state.add({ key: 'k', sizeBytes: 1, outcome: 'rekeyed' });
    state.save();
    state.finish();
    expect(existsSync(path)).toBe(false);
  });

  test('names so many failures, and lets the next run look at the others again', () => {
    const path = join(folder, 'h.json');
    const failure = new StorageError('UNKNOWN_KEY', 'no key');
    const state = openRekeyState(path, {});
    const keys = Array.from({ length: 10_050 }, (_, number) => String(number).padStart(5, '0'));
    for (const key of keys) state.add({ key, sizeBytes: 1, outcome: 'failed', failure });
    state.add({ key: '99999', sizeBytes: 1, outcome: 'rekeyed' });
    state.finish();
    expect(state.progress().counts.failed).toBe(10_050);
    const next = openRekeyState(path, {});
    const isDone = next.beginListing();
    expect([...keys, '99999'].filter((key) => isDone(key))).toEqual([]);
    expect(Object.keys(state.progress().failures).length).toBeLessThan(10_010);
  });

  test('is of no use to another run, and says so', () => {
    const path = join(folder, 'b.json');
    const state = openRekeyState(path, { master: 1 });
    state.add({ key: 'k', sizeBytes: 1, outcome: 'rekeyed' });
    state.save();
    expect(openRekeyState(path, { master: 1 }).beginListing()('k')).toBe(true);
    expect(failureOf(() => openRekeyState(path, { master: 2 }))).toBe('BAD_CONFIG');
    writeFileSync(path, '{"version"');
    expect(failureOf(() => openRekeyState(path, { master: 1 }))).toBe('BAD_CONFIG');
  });

  test('is of no use where it does not tell its bucket', () => {
    const path = join(folder, 'e.json');
    writeFileSync(path, '{ "version": 1, "task": {}, "progress": { "doneUpTo": "k" } }');
    expect(() => openRekeyState(path, {})).toThrow(/e\.json: is of an earlier version of rekey/);
  });

  test('keeps the failures that a later run has not come to', () => {
    const path = join(folder, 'f.json');
    const failure = new StorageError('INTEGRITY', 'damaged');
    const first = openRekeyState(path, {});
    for (const key of ['a', 'b']) first.add({ key, sizeBytes: 1, outcome: 'failed', failure });
    first.finish();
    const second = openRekeyState(path, {});
    second.add({ key: 'a', sizeBytes: 1, outcome: 'rekeyed' });
    second.save();
    const isDone = openRekeyState(path, {}).beginListing();
    expect(['a', 'b'].map(isDone)).toEqual([true, false]);
  });

  test('skips nothing more once a listing shows that it has no order', () => {
    const path = join(folder, 'g.json');
    const first = openRekeyState(path, {});
    for (const key of ['b', 'c']) first.add({ key, sizeBytes: 1, outcome: 'rekeyed' });
    first.save();
    const second = openRekeyState(path, {});
    // As rekey does, which lists twice.
    const look = () => ['b', 'c', 'd', 'a'].map(second.beginListing());
    expect(look()).toEqual([true, true, false, false]);
    expect(look()).toEqual([false, false, false, false]);
    expect(second.progress().doneUpTo).toBeUndefined();
  });

  test('relies on no order that the server does not keep', () => {
    const path = join(folder, 'c.json');
    const state = openRekeyState(path, {});
    for (const key of ['b', 'a', 'c']) state.add({ key, sizeBytes: 1, outcome: 'rekeyed' });
    state.save();
    expect(openRekeyState(path, {}).beginListing()('a')).toBe(false);
  });
});

test('the progress line', () => {
  expect(describeRekeyProgress({ count: 0, total: 10, bytes: 0 }, 0)).toBe(
    `[${'.'.repeat(20)}] 0 of 10, 0.0 MB/s, 0 s left`,
  );
  expect(describeRekeyProgress({ count: 5, total: 10, bytes: 1e9 }, 100)).toBe(
    `[${'#'.repeat(10)}${'.'.repeat(10)}] 5 of 10, 10.0 MB/s, 2 min left`,
  );
});

describe('a spool', () => {
  test('takes pieces in any order, and again', () => {
    const spool = openSpool(tmpdir());
    spool.sink.begin(6, 6);
    spool.sink.write(3, Buffer.from('xyz'));
    spool.sink.write(0, Buffer.from('abc'));
    spool.sink.write(3, Buffer.from('def'));
    expect(Buffer.from(spool.body().read(1, 6)).toString()).toBe('bcdef');
    spool.close();
  });

  test('that has no room says where, and what to set', () => {
    const spool = openSpool('/dev/shm');
    spool.close();
    spool.sink.begin(1, 1);
    spool.sink.write(0, Buffer.from('x'));
    expect(() => spool.body()).toThrow(
      /a temporary file in \/dev\/shm \(TMPDIR\): cannot be written/,
    );
    // As of a store that fails: many in a row end the run.
    expect(failureOf(() => spool.body())).toBe('UNAVAILABLE');
    expect(failureOf(() => openSpool('/nowhere'))).toBe('BAD_CONFIG');
  });
});
