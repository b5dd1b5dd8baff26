// SPDX-License-Identifier: GPL-3.0-or-later

import { createHash, createSecretKey } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createA2, unwrapKey, wrapKey } from '../../../src/encryption/a2.ts';
import { encryptBody } from '../../../src/encryption/encrypted-body.ts';
import { Keyring, readKeyFiles } from '../../../src/encryption/keyring.ts';
import { Pacer } from '../../../src/encryption/pacer.ts';
import { ciphertextSize, plaintextSize } from '../../../src/encryption/sizes.ts';
import { createAes } from '../../support/aes.ts';
import { expectSameBytes, makeBody, never } from '../../support/bodies.ts';
import {
  decrypt,
  encrypt,
  fixturePath,
  readFixture,
  type Vector,
  vectorContent,
  vectors,
} from './support.ts';

function keyringOf(format: 'a1' | 'a2', { keyId }: Vector) {
  const path = fixturePath(format, `key-${keyId}.b64`);
  const { keys } = readKeyFiles([{ setting: 'MasterKey', id: keyId, path }]);
  return new Keyring(keys, keyId);
}

describe('A1: what the C++ plugins encrypted', () => {
  test.each(vectors('a1'))('$file', (vector) => {
    const object = readFixture('a1', vector.file);
    const content = decrypt(object, { keyring: keyringOf('a1', vector) });
    expectSameBytes(content, vectorContent(vector.seed, vector.size));
    expect(createHash('sha256').update(content).digest('hex')).toBe(vector.plainSha256);
    expect(plaintextSize('A1', object.length)).toBe(vector.size);
    expect(ciphertextSize('A1', vector.size)).toBe(object.length);
  });

  test('each object has its own key and IV', async () => {
    const content = vectorContent('same', 100);
    const [first, second] = [await encrypt('A1', content), await encrypt('A1', content)];
    expect(first.subarray(0, 6)).toEqual(second.subarray(0, 6));
    expect(first.subarray(6, 38)).not.toEqual(second.subarray(6, 38));
    expect(first.subarray(38, 70)).not.toEqual(second.subarray(38, 70));
  });
});

describe('A2: what the Python script encrypted', () => {
  test.each(vectors('a2'))('$file is read', (vector) => {
    const object = readFixture('a2', vector.file);
    const keyring = keyringOf('a2', vector);
    const { uuid, contentType } = vector;
    const content = decrypt(object, { keyring, uuid, contentType });
    expectSameBytes(content, vectorContent(vector.seed, vector.size));
    expectSameBytes(decrypt(object, { keyring, uuid, contentType: undefined }), content);
    expect(plaintextSize('A2', object.length)).toBe(vector.size);
  });

  test.each(vectors('a2'))('$file is made, from the same key and prefix', async (vector) => {
    const { master } = keyringOf('a2', vector);
    if (master === undefined) throw new Error('no master key');
    const body = await encryptBody(
      makeBody(vectorContent(vector.seed, vector.size)),
      {
        format: 'A2',
        master,
        uuid: vector.uuid,
        contentType: vector.contentType,
        createAes,
        random: () => Buffer.from(vector.dek + vector.prefix, 'hex'),
      },
      new Pacer(),
      never(),
    );
    expectSameBytes(body.read(0, body.sizeBytes), readFixture('a2', vector.file));
  });

  test('no two objects share key or prefix', () => {
    const { header: first } = createA2(1, testKek(), vectorUuid, 1);
    const { header: second } = createA2(1, testKek(), vectorUuid, 1);
    expect(first.bytes.slice(0, 6)).toEqual(second.bytes.slice(0, 6));
    expect(first.bytes.slice(6, 13)).not.toEqual(second.bytes.slice(6, 13));
    expect(first.bytes.slice(13)).not.toEqual(second.bytes.slice(13));
  });
});

const vectorUuid = 'e1f2a3b4-0000-4000-8000-0123456789ab';
const testKek = () => createSecretKey(Buffer.alloc(32, 7));

test('AES key wrap: RFC 3394, 4.6', () => {
  const kek = createSecretKey(
    Buffer.from('000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F', 'hex'),
  );
  const key = Buffer.from(
    '00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F',
    'hex',
  );
  const wrapped = Buffer.from(
    '28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21',
    'hex',
  );
  expect(Buffer.from(wrapKey(kek, key))).toEqual(wrapped);
  expect(Buffer.from(unwrapKey(kek, wrapped))).toEqual(key);
});

test('a keyring of two keys reads what each of them encrypted', async () => {
  const keyring = new Keyring(
    [
      { id: 5, key: testKek() },
      { id: 0, key: createSecretKey(Buffer.alloc(32, 8)) },
    ],
    0,
  );
  const content = vectorContent('two', 1000);
  for (const format of ['A1', 'A2'] as const) {
    const object = await encrypt(format, content, { keyring });
    expect(object.readUInt32LE(2)).toBe(0);
    expectSameBytes(decrypt(object, { keyring }), content);
  }
});
