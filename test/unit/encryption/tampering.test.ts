// SPDX-License-Identifier: GPL-3.0-or-later
// What somebody who can write to the bucket may do to an object, and that none of it goes unnoticed.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecryptingSink } from '../../../src/encryption/decrypting-sink.ts';
import {
  A1_HEADER_BYTES,
  A2_HEADER_BYTES,
  type EncryptionFormat,
  SEALED_SEGMENT_BYTES,
  SEGMENT_BYTES,
} from '../../../src/encryption/sizes.ts';
import { createAes } from '../../support/aes.ts';
import { makeBytes } from '../../support/bodies.ts';
import {
  DICOM,
  decrypt,
  encrypt,
  failureOf,
  KEYRING,
  OTHER_UUID,
  testKeyring,
  UUID,
} from './support.ts';

const TWO_AND_A_BIT = 2 * SEGMENT_BYTES + 1000;
const S = SEALED_SEGMENT_BYTES;
const H = A2_HEADER_BYTES;

function flip(object: Buffer, offset: number, mask = 1): Buffer {
  const copy = Buffer.from(object);
  copy.writeUInt8(copy.readUInt8(offset) ^ mask, offset);
  return copy;
}

describe.each(['A1', 'A2'] as const)('%s', (format: EncryptionFormat) => {
  const headerBytes = format === 'A1' ? A1_HEADER_BYTES : A2_HEADER_BYTES;

  test('a flipped bit in each byte of a small object', async () => {
    const object = await encrypt(format, makeBytes(40));
    for (let offset = 0; offset < object.length; offset++) {
      for (const mask of [0x01, 0x80]) {
        const code = failureOf(() => decrypt(flip(object, offset, mask)));
        const isKeyId = offset >= 2 && offset < 6;
        expect(code, `byte ${offset}`).toBe(isKeyId ? 'UNKNOWN_KEY' : 'INTEGRITY');
      }
    }
  });

  test('the key id of another key that is configured', async () => {
    const object = await encrypt(format, makeBytes(40));
    object.writeUInt32LE(3, 2);
    expect(failureOf(() => decrypt(object))).toBe('INTEGRITY');
  });

  test('a key id that is not configured', async () => {
    const object = await encrypt(format, makeBytes(40));
    expect(failureOf(() => decrypt(object, { keyring: testKeyring(3, 3) }))).toBe('UNKNOWN_KEY');
    expect(() => decrypt(object, { keyring: testKeyring(3, 3, 7) })).toThrow(
      'the object is encrypted with master key 1, and only 3, 7 are configured: add it to PreviousMasterKeys',
    );
    expect(() => decrypt(object, { keyring: testKeyring(undefined) })).toThrow(
      'no keys are configured',
    );
  });

  test('cut at each byte of header and first content, and one short of the end', async () => {
    const object = await encrypt(format, makeBytes(200));
    for (let length = 0; length < object.length; length++) {
      expect(
        failureOf(() => decrypt(object.subarray(0, length))),
        `${length} bytes`,
      ).toBe('INTEGRITY');
    }
  });

  test.each([1, 15, 16, 17, 70, S])('%i bytes appended', async (extra) => {
    for (const size of [0, 1, 100, SEGMENT_BYTES]) {
      const object = await encrypt(format, makeBytes(size));
      const longer = Buffer.concat([object, Buffer.alloc(extra)]);
      expect(
        failureOf(() => decrypt(longer)),
        `content of ${size}`,
      ).toBe('INTEGRITY');
      expect(failureOf(() => decrypt(Buffer.concat([object, object.subarray(-extra)])))).toBe(
        'INTEGRITY',
      );
    }
  });

  test.each(['A0', 'A3', 'a1', 'B1', '\0\0', 'DI'])('version "%s"', async (magic) => {
    const object = await encrypt(format, makeBytes(40));
    object.write(magic, 'latin1');
    expect(failureOf(() => decrypt(object))).toBe('INTEGRITY');
  });

  test('the other format’s version', async () => {
    const object = await encrypt(format, makeBytes(400));
    object.write(format === 'A1' ? 'A2' : 'A1', 'latin1');
    expect(failureOf(() => decrypt(object))).toBe('INTEGRITY');
  });

  test('header of one object, rest of another', async () => {
    const [a, b] = [await encrypt(format, makeBytes(40)), await encrypt(format, makeBytes(40))];
    const mixed = Buffer.concat([a.subarray(0, headerBytes), b.subarray(headerBytes)]);
    expect(failureOf(() => decrypt(mixed))).toBe('INTEGRITY');
  });

  test('plaintext in its place is refused', () => {
    for (const size of [0, 1, 2, 52, 53, 85, 86, 1000]) {
      const plain = Buffer.alloc(size);
      plain.write('DICM', Math.min(128, Math.max(0, size - 4)), 'latin1');
      expect(
        failureOf(() => decrypt(plain)),
        `${size} bytes`,
      ).toBe('INTEGRITY');
    }
  });

  test('a failure tells nothing of the content and nothing of the key', async () => {
    const object = await encrypt(format, Buffer.from('PATIENT^NAME'.repeat(20)));
    try {
      decrypt(flip(object, object.length - 20));
      throw new Error('it was taken');
    } catch (error) {
      expect(String(error)).not.toContain('PATIENT');
      expect(error).not.toHaveProperty('cause.message', expect.stringContaining('auth'));
    }
  });
});

describe('A2', () => {
  test('another name', async () => {
    const object = await encrypt('A2', makeBytes(100));
    expect(failureOf(() => decrypt(object, { uuid: OTHER_UUID }))).toBe('INTEGRITY');
    expect(failureOf(() => decrypt(object, { contentType: 3 }))).toBe('INTEGRITY');
    expect(failureOf(() => decrypt(object, { uuid: OTHER_UUID, contentType: undefined }))).toBe(
      'INTEGRITY',
    );
  });

  test.each([0, 1, 2, 3])('type %i is found where the name does not tell', async (contentType) => {
    const content = makeBytes(TWO_AND_A_BIT);
    const object = await encrypt('A2', content, { contentType });
    const found = decrypt(object, { contentType: undefined });
    expect(Buffer.compare(found, content)).toBe(0);
  });

  test('a type that Orthanc does not store is not found by trying', async () => {
    const object = await encrypt('A2', makeBytes(10), { contentType: 1024 });
    expect(failureOf(() => decrypt(object, { contentType: undefined }))).toBe('INTEGRITY');
    expect(failureOf(() => decrypt(object, { contentType: 1024 }))).toBeUndefined();
  });

  test('segments in another order, twice, or left out', async () => {
    const object = await encrypt('A2', makeBytes(3 * SEGMENT_BYTES));
    const header = object.subarray(0, H);
    const segments = [0, 1, 2].map((index) => object.subarray(H + index * S, H + (index + 1) * S));
    const [a, b, c] = segments;
    if (a === undefined || b === undefined || c === undefined) throw new Error('three segments');
    for (const order of [
      [b, a, c],
      [a, c, b],
      [c, b, a],
      [a, a, c],
      [a, b, b],
      [a, c],
      [b, c],
      [a, b],
      [c],
      [a],
      [a, b, c, c],
      [a, b, c, b],
    ]) {
      expect(failureOf(() => decrypt(Buffer.concat([header, ...order])))).toBe('INTEGRITY');
    }
    expect(failureOf(() => decrypt(Buffer.concat([header, a, b, c])))).toBeUndefined();
  });

  test('cut near each edge of a segment', async () => {
    for (const size of [SEGMENT_BYTES, 2 * SEGMENT_BYTES, TWO_AND_A_BIT]) {
      const object = await encrypt('A2', makeBytes(size));
      for (let edge = H; edge <= object.length; edge += S) {
        for (const delta of [-17, -16, -15, -1, 0, 1, 15, 16, 17]) {
          const length = edge + delta;
          if (length >= object.length || length < 0) continue;
          expect(
            failureOf(() => decrypt(object.subarray(0, length))),
            `${length} of ${object.length}`,
          ).toBe('INTEGRITY');
        }
      }
    }
  });

  test('a flipped bit on both sides of each edge of a segment', async () => {
    const object = await encrypt('A2', makeBytes(TWO_AND_A_BIT));
    for (let edge = H; edge <= object.length; edge += S) {
      for (const delta of [-17, -16, -1, 0, 1]) {
        const offset = edge + delta;
        if (offset < 0 || offset >= object.length) continue;
        const code = failureOf(() => decrypt(flip(object, offset)));
        expect(code, `byte ${offset}`).toBe('INTEGRITY');
      }
    }
    expect(failureOf(() => decrypt(flip(object, object.length - 1)))).toBe('INTEGRITY');
  });

  test('nothing of a segment that is not authentic is handed on', async () => {
    const content = makeBytes(TWO_AND_A_BIT);
    const object = flip(await encrypt('A2', content), H + S + 5);
    const seen: number[] = [];
    const sink = new DecryptingSink(
      {
        begin: () => undefined,
        write: (offset, bytes) => {
          seen.push(offset);
          expect(Buffer.compare(bytes, content.subarray(offset, offset + bytes.length))).toBe(0);
        },
      },
      {
        find: (id) => KEYRING.find(id),
        hasKey: (id) => KEYRING.ids.includes(id),
        createAes,
        identity: { uuid: UUID, contentType: DICOM },
        plain: 'refuse',
        wanted: undefined,
      },
      { start: 0, header: undefined },
    );
    sink.begin(object.length, object.length);
    sink.write(0, object);
    expect(failureOf(() => sink.finish())).toBe('INTEGRITY');
    expect(seen).toEqual([0]);
  });
});

describe('any object', () => {
  test('of random bytes, with or without a version, ends in a StorageError', () => {
    const magic = fc.constantFrom('A1', 'A2', '');
    fc.assert(
      fc.property(magic, fc.uint8Array({ maxLength: 300 }), fc.nat(400), (prefix, bytes, piece) => {
        const object = Buffer.concat([Buffer.from(prefix, 'latin1'), bytes]);
        const code = failureOf(() => decrypt(object, { pieceBytes: piece + 1 }));
        expect(['INTEGRITY', 'UNKNOWN_KEY']).toContain(code);
      }),
      { numRuns: 2000 },
    );
  });

  test('with a key that is there and random bytes behind, too', () => {
    const format = fc.constantFrom('A1', 'A2');
    fc.assert(
      fc.property(format, fc.uint8Array({ minLength: 64, maxLength: 300 }), (magic, bytes) => {
        const object = Buffer.concat([Buffer.from(`${magic}\x01\0\0\0`, 'latin1'), bytes]);
        expect(failureOf(() => decrypt(object))).toBe('INTEGRITY');
      }),
      { numRuns: 1000 },
    );
  });

  test('altered at one place anywhere', async () => {
    const objects = {
      A1: await encrypt('A1', makeBytes(TWO_AND_A_BIT)),
      A2: await encrypt('A2', makeBytes(TWO_AND_A_BIT)),
    };
    fc.assert(
      fc.property(
        fc.constantFrom('A1' as const, 'A2' as const),
        fc.nat(objects.A2.length - 100),
        fc.integer({ min: 1, max: 255 }),
        (format, offset, mask) => {
          const code = failureOf(() => decrypt(flip(objects[format], offset, mask)));
          expect(code).toMatch(/^(INTEGRITY|UNKNOWN_KEY)$/);
        },
      ),
      { numRuns: 150 },
    );
  });
});
