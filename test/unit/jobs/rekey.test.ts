// SPDX-License-Identifier: GPL-3.0-or-later

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatMeter } from '../../../src/cli/rekey.ts';
import { openRekeyState } from '../../../src/cli/rekey-state.ts';
import type { NamingSettings } from '../../../src/config/settings.ts';
import { createEnvelope } from '../../../src/encryption/envelope.ts';
import { StorageError } from '../../../src/errors.ts';
import { type RekeyedObject, type RekeyPlan, rekey } from '../../../src/jobs/rekey.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBytes,
  makeSink,
  never,
} from '../../support/bodies.ts';
import {
  createMemoryStore,
  encrypt,
  failureOf,
  type MemoryStore,
  testKeyring,
} from '../encryption/support.ts';

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
}

const open = (keyring = NEW) =>
  createEnvelope({
    keyring,
    format: 'A1',
    maxInputBytes: 2 ** 30,
    now: () => performance.now(),
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
      maxMemoryBytes: 200_000,
      ...extra.plan,
    },
    isDone: extra.isDone ?? (() => false),
    onObject: (object) => {
      outcomes[object.key] = object.outcome;
      extra.onObject?.(object);
    },
    signal: never(),
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
      [nameOf(3)]: 'left alone',
      [nameOf(4)]: 'left alone',
      [`r/${uuidOf(5)}.dcm`]: 'not ours',
      'r/something else': 'not ours',
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

  test('what is broken fails and is left as it is; the others go on', async () => {
    const store = createMemoryStore();
    await fill(store);
    store.objects.get(nameOf(1))?.fill(0, 1000, 1001);
    store.objects.set(nameOf(7), Buffer.from('DICM in the clear'));
    const broken = Buffer.from(store.objects.get(nameOf(1)) ?? '');
    const reasons: (string | undefined)[] = [];
    const outcomes = await run(store, {
      onObject: ({ reason, outcome }) => outcome === 'failed' && reasons.push(reason),
    });
    expect(outcomes).toMatchObject({
      [nameOf(1)]: 'failed',
      [nameOf(2)]: 'rekeyed',
      [nameOf(7)]: 'failed',
    });
    expect(store.objects.get(nameOf(1))).toEqual(broken);
    expect(reasons.join('\n')).toMatch(/not authentic[\s\S]*it is not/);
  });

  test('what Orthanc removes meanwhile does not come back, and is no failure', async () => {
    const store = createMemoryStore();
    await fill(store);
    const removing: MemoryStore = {
      ...store,
      async get(key, range, sink, options) {
        await store.get(key, range, sink, options);
        if (key === nameOf(1) && range === undefined) store.objects.delete(key);
      },
    };
    expect(await run(removing)).toMatchObject({ [nameOf(1)]: 'gone', [nameOf(2)]: 'rekeyed' });
    expect(store.objects.has(nameOf(1))).toBe(false);
  });

  test('a put that wrote something else is found', async () => {
    const store = createMemoryStore();
    await fill(store);
    const lying: MemoryStore = {
      ...store,
      async put(key, body, options) {
        await store.put(key, body, options);
        store.objects.get(key)?.fill(1, 500, 501);
      },
    };
    expect(await run(lying)).toMatchObject({ [nameOf(1)]: 'failed', [nameOf(2)]: 'failed' });
  });

  test('legacy structure: A1 stays A1, A2 is tried by type; A1 has none to become A2 by', async () => {
    const store = createMemoryStore();
    const keyOf = (uuid: string) => `r/${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
    const [a1, a2, plain] = [uuidOf(1), uuidOf(2), uuidOf(3)];
    store.objects.set(keyOf(a1), await encrypt('A1', CONTENT, { keyring: OLD, uuid: a1 }));
    const typed = { keyring: OLD, uuid: a2, contentType: 3 };
    store.objects.set(keyOf(a2), await encrypt('A2', CONTENT, typed));
    store.objects.set(keyOf(plain), Buffer.from(CONTENT));
    const toA2 = await run(store, { naming: LEGACY, plan: { toFormat: 'A2' } });
    expect(toA2).toEqual({
      [keyOf(a1)]: 'failed',
      [keyOf(a2)]: 'rekeyed',
      [keyOf(plain)]: 'not ours',
    });
    expect(await run(store, { naming: LEGACY })).toMatchObject({ [keyOf(a1)]: 'rekeyed' });
    const sink = makeSink();
    const identity = { uuid: a2, contentType: 3 };
    const options = { signal: never(), plain: 'refuse' } as const;
    await open().get(store, keyOf(a2), undefined, sink, identity, options);
    expectSameBytes(sink.bytes(), CONTENT);
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
    store.objects.get(nameOf(1))?.fill(0, 1000, 1001);
    const task = { to: undefined, master: 2 };
    const first = openRekeyState(path, task);
    let seen = 0;
    const crashed = run(store, {
      isDone: (key) => first.isDone(key),
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
      isDone: (key) => second.isDone(key),
      onObject: (object) => {
        second.add(object);
      },
    });
    expect(Object.keys(outcomes)[0]).toBe(nameOf(1));
    expect(outcomes[nameOf(1)]).toBe('failed');
    expect(outcomes).not.toHaveProperty([nameOf(2)]);
    expect(second.progress().counts).toEqual({
      rekeyed: 1,
      'left alone': 2,
      'not ours': 2,
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

  test('is of no use to another run, and says so', () => {
    const path = join(folder, 'b.json');
    const state = openRekeyState(path, { master: 1 });
    state.add({ key: 'k', sizeBytes: 1, outcome: 'rekeyed' });
    state.save();
    expect(openRekeyState(path, { master: 1 }).isDone('k')).toBe(true);
    expect(failureOf(() => openRekeyState(path, { master: 2 }))).toBe('BAD_CONFIG');
    writeFileSync(path, '{"version"');
    expect(failureOf(() => openRekeyState(path, { master: 1 }))).toBe('BAD_CONFIG');
  });

  test('relies on no order that the server does not keep', () => {
    const path = join(folder, 'c.json');
    const state = openRekeyState(path, {});
    for (const key of ['b', 'a', 'c']) state.add({ key, sizeBytes: 1, outcome: 'rekeyed' });
    state.save();
    expect(openRekeyState(path, {}).isDone('a')).toBe(false);
  });
});

test('the bar', () => {
  expect(formatMeter(0, 10, 0, 0)).toBe(`${'░'.repeat(24)} 0 %  0 of 10  0.0 MB/s  0 s left`);
  expect(formatMeter(5, 10, 1e9, 100)).toBe(
    `${'█'.repeat(12)}${'░'.repeat(12)} 50 %  5 of 10  10.0 MB/s  2 min left`,
  );
});
