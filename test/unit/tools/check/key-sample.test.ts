// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test, vi } from 'vitest';
import { Envelope } from '../../../../src/encryption/envelope.ts';
import { type KeySample, sampleKeys } from '../../../../src/tools/check/key-sample.ts';
import { createAes } from '../../../support/aes.ts';
import { makeBytes } from '../../../support/bodies.ts';
import { createMemoryStore } from '../../../support/memory-store.ts';
import { encrypt, KEYRING, testKeyring } from '../../encryption/support.ts';

const FLAT = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
const LEGACY = { ...FLAT, structure: 'legacy' } as const;
const envelope = new Envelope({
  keyring: KEYRING,
  createAes,
  format: 'A2',
  maxInputBytes: 2 ** 30,
});
const uuidOf = (number: number) =>
  `${number.toString(16).padStart(8, '0')}-0000-4000-8000-0123456789ab`;
const flatKey = (number: number) => `${uuidOf(number)}.dcm.enc`;

describe('how much is looked at', () => {
  test('a hundred objects, spread over one page of the listing, at most', async () => {
    const store = createMemoryStore();
    const sealed = await encrypt('A2', makeBytes(100), { keyring: testKeyring(9, 9) });
    for (let number = 0; number < 3_000; number += 1) store.objects.set(flatKey(number), sealed);
    const { lookedAt, findings } = await sampleKeys({ store, naming: FLAT }, envelope);
    expect(lookedAt).toBe(100);
    expect(findings).toMatchObject([{ kind: 'missing', keyId: 9, count: 100 }]);
    const read = store.calls().filter((call) => call.startsWith('get '));
    expect(read).toHaveLength(100);
    expect(read).toContain(`get ${flatKey(0)}`);
    expect(read).toContain(`get ${flatKey(980)}`);
  });

  test('of A1, which only the whole object tells, small ones alone', async () => {
    const store = createMemoryStore();
    const other = testKeyring(1, 1, 5);
    const large = await encrypt('A1', makeBytes(2_000_000), { keyring: other });
    large.writeUInt8(large.readUInt8(large.length - 1) ^ 1, large.length - 1);
    store.objects.set(flatKey(1), large);
    expect(await sample(store, FLAT)).toMatchObject({ lookedAt: 1, findings: [] });
    const small = large.subarray(0, 200_000);
    store.objects.set(flatKey(2), small);
    const { findings } = await sample(store, FLAT);
    expect(findings).toMatchObject([{ kind: 'wrong', keyId: 1, count: 1, example: flatKey(2) }]);
  });

  test('ten seconds, whatever hangs', async () => {
    vi.useFakeTimers();
    try {
      const store = createMemoryStore();
      store.objects.set(flatKey(1), makeBytes(100));
      store.waitAt((call) => (call.startsWith('get') ? new Promise(() => undefined) : undefined));
      const result = sample(store, FLAT);
      await vi.advanceTimersByTimeAsync(10_000);
      expect((await result).failure).toBe('TIMEOUT: no more within 10 s');
    } finally {
      vi.useRealTimers();
    }
  });
});

function sample(
  store: ReturnType<typeof createMemoryStore>,
  naming: typeof FLAT | typeof LEGACY,
): Promise<KeySample> {
  return sampleKeys({ store, naming }, envelope);
}

test('where listing is not allowed, that is said', async () => {
  const store = createMemoryStore();
  store.failWhen((call) => (call.startsWith('list') ? 'ACCESS_DENIED' : undefined));
  expect(await sample(store, FLAT)).toMatchObject({
    lookedAt: 0,
    failure: expect.stringMatching(/^ACCESS_DENIED: /) as string,
  });
});

test('one that cannot be read does not hide the others; one that is gone is no failure', async () => {
  const store = createMemoryStore();
  const sealed = await encrypt('A2', makeBytes(100), { keyring: testKeyring(9, 9) });
  for (const number of [1, 2, 3]) store.objects.set(flatKey(number), sealed);
  const fail = (key: string, code: 'NOT_FOUND' | 'ACCESS_DENIED') => {
    store.failWhen((call) => (call === `get ${key}` ? code : undefined));
  };
  fail(flatKey(2), 'NOT_FOUND');
  expect(await sample(store, FLAT)).toMatchObject({ lookedAt: 2, failure: undefined });
  fail(flatKey(2), 'ACCESS_DENIED');
  expect(await sample(store, FLAT)).toMatchObject({
    lookedAt: 2,
    findings: [{ count: 2 }],
    failure: expect.stringMatching(/^ACCESS_DENIED: /) as string,
  });
});

test('names of the legacy structure tell nothing: the headers do', async () => {
  const store = createMemoryStore();
  const key = (number: number) => {
    const uuid = uuidOf(number);
    return `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
  };
  store.objects.set(key(1), await encrypt('A1', makeBytes(100), { keyring: testKeyring(9, 9) }));
  store.objects.set(key(2), await encrypt('A2', makeBytes(100), { keyring: KEYRING }));
  store.objects.set(key(3), makeBytes(1000));
  store.objects.set(key(4), Buffer.from('A2'));
  expect(await sample(store, LEGACY)).toMatchObject({
    lookedAt: 4,
    plain: 2,
    findings: [{ kind: 'missing', keyId: 9, example: key(1) }],
  });
});
