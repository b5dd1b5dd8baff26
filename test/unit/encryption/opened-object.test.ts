// SPDX-License-Identifier: GPL-3.0-or-later

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openObject } from '../../../src/encryption/opened-object.ts';
import { SEGMENT_BYTES } from '../../../src/encryption/sizes.ts';
import { createAes } from '../../support/aes.ts';
import { damage, expectSameBytes, makeBody, makeBytes } from '../../support/bodies.ts';
import { DICOM, encrypt, failureOf, KEYRING, OTHER_UUID, testKeyring, UUID } from './support.ts';

const IDENTITY = { uuid: UUID, contentType: DICOM };

function open(object: Uint8Array, identity = IDENTITY, keyring = KEYRING) {
  return openObject(makeBody(object), { find: (id) => keyring.find(id), createAes }, identity)
    .content;
}

describe.each(['A1', 'A2'] as const)('%s', (format) => {
  test('any part of the content, in any order', async () => {
    const content = makeBytes(2 * SEGMENT_BYTES + 1000);
    const opened = open(await encrypt(format, content));
    expect(opened.sizeBytes).toBe(content.length);
    const place = fc.oneof(
      fc.nat({ max: content.length }),
      fc.constantFrom(0, 1, 15, 16, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1),
    );
    fc.assert(
      fc.property(place, place, (one, other) => {
        const [start, end] = [Math.min(one, other), Math.max(one, other)];
        expectSameBytes(opened.read(start, end), content.subarray(start, end));
      }),
    );
  });

  test('the empty one', async () => {
    const opened = open(await encrypt(format, new Uint8Array()));
    expect(opened.sizeBytes).toBe(0);
    expect(opened.read(0, 0)).toHaveLength(0);
  });

  test('of a key that is not configured, none', async () => {
    const object = await encrypt(format, makeBytes(10));
    expect(failureOf(() => open(object, IDENTITY, testKeyring(3, 3)))).toBe('UNKNOWN_KEY');
  });
});

test('A2 verifies what it reads, A1 cannot', async () => {
  const content = makeBytes(SEGMENT_BYTES + 100);
  const [a1, a2] = [await encrypt('A1', content), await encrypt('A2', content)];
  for (const object of [a1, a2]) damage(object, -40);
  expect(failureOf(() => open(a2).read(0, 100))).toBeUndefined();
  expect(failureOf(() => open(a2).read(SEGMENT_BYTES, SEGMENT_BYTES + 1))).toBe('INTEGRITY');
  expect(failureOf(() => open(a2, { ...IDENTITY, uuid: OTHER_UUID }).read(0, 1))).toBe('INTEGRITY');
  expect(failureOf(() => open(a1).read(SEGMENT_BYTES, SEGMENT_BYTES + 100))).toBeUndefined();
});
