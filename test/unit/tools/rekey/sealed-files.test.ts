// SPDX-License-Identifier: GPL-3.0-or-later

import { expect, test } from 'vitest';
import { Envelope } from '../../../../src/encryption/envelope.ts';
import { countEncryptedFiles } from '../../../../src/tools/rekey/rekey.ts';
import { createAes } from '../../../support/aes.ts';
import { never } from '../../../support/bodies.ts';
import { createMemoryStore, encrypt, testKeyring } from '../../encryption/support.ts';

const envelope = new Envelope({
  keyring: testKeyring(2, 1, 2),
  createAes,
  format: 'A1',
  maxInputBytes: 2 ** 30,
});
const keyOf = (digit: number) => `${digit}1/22/${digit}1220000-0000-4000-8000-000000000000`;

test('counts what is encrypted by the keys asked for, and nothing else', async () => {
  const files = createMemoryStore();
  const content = Buffer.alloc(200, 'x');
  const sealed = await encrypt('A1', content, { keyring: testKeyring(1, 1) });
  files.objects.set(keyOf(1), sealed);
  files.objects.set(keyOf(2), await encrypt('A1', content, { keyring: testKeyring(2, 2) }));
  files.objects.set(keyOf(3), content);
  files.objects.set(keyOf(4), Buffer.from('A1'));
  files.objects.set('not of Orthanc', sealed);
  const signal = never();
  const count = (isCounted: (keyId: number) => boolean) =>
    countEncryptedFiles(files, envelope, isCounted, { signal });
  expect(await count((keyId) => keyId !== 2)).toBe(1);
  expect(await count((keyId) => keyId === 2)).toBe(1);
  expect(await count((keyId) => keyId === 3)).toBe(0);
});

test('a file that goes meanwhile is none; a disk that fails is told', async () => {
  const files = createMemoryStore();
  files.objects.set(keyOf(1), await encrypt('A1', Buffer.alloc(1)));
  const count = () =>
    countEncryptedFiles({ ...files, get }, envelope, () => true, { signal: never() });
  let get: typeof files.get = async (key, range, sink, options) => {
    files.objects.delete(key);
    await files.get(key, range, sink, options);
  };
  expect(await count()).toBe(0);
  files.objects.set(keyOf(1), Buffer.alloc(100));
  get = () => Promise.reject(new Error('EIO'));
  await expect(count()).rejects.toThrow('EIO');
});
