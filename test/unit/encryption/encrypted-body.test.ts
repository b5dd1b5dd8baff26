// SPDX-License-Identifier: GPL-3.0-or-later

import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type A1Secrets, createA1Counter, type RandomBytes } from '../../../src/encryption/a1.ts';
import {
  type EncryptedBody,
  encryptBody,
  HELD_MAX_BYTES,
} from '../../../src/encryption/encrypted-body.ts';
import { Pacer } from '../../../src/encryption/pacer.ts';
import {
  ciphertextSize,
  type EncryptionFormat,
  SEGMENT_BYTES,
} from '../../../src/encryption/sizes.ts';
import { StorageError } from '../../../src/errors.ts';
import { bodyFrom } from '../../../src/store/bodies.ts';
import type { Body } from '../../../src/store/object-store.ts';
import { createAes } from '../../support/aes.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  never,
} from '../../support/bodies.ts';
import { DICOM, decrypt, failureOf, KEYRING, openSink, UUID } from './support.ts';

const pacer = new Pacer();

function encrypt(
  format: EncryptionFormat,
  content: Body,
  random?: RandomBytes,
): Promise<EncryptedBody> {
  const { master } = KEYRING;
  if (master === undefined) throw new Error('no master key');
  const target = { format, master, uuid: UUID, contentType: DICOM, createAes };
  const options = random === undefined ? target : { ...target, random };
  return encryptBody(content, options, pacer, never());
}

const LARGE = 3 * 1024 * 1024 + 777;

describe.each(['A1', 'A2'] as const)('%s', (format) => {
  test('any size comes back', async () => {
    const size = fc.oneof(
      fc.nat(100),
      fc.nat(3 * SEGMENT_BYTES),
      fc.constantFrom(...[1, 2, 16].map((n) => n * SEGMENT_BYTES)),
      fc.integer({ min: HELD_MAX_BYTES - 400, max: HELD_MAX_BYTES + 400 }),
    );
    await fc.assert(
      fc.asyncProperty(
        size,
        fc.integer({ min: 1, max: 200_000 }),
        async (sizeBytes, pieceBytes) => {
          const content = makeBytes(sizeBytes);
          const body = await encrypt(format, makeBody(content));
          expect(body.sizeBytes).toBe(ciphertextSize(format, sizeBytes));
          expectSameBytes(decrypt(body.read(0, body.sizeBytes), { pieceBytes }), content);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a small content is read and encrypted once, however often it is sent', async () => {
    const content = makeBody(makeBytes(500_000));
    const body = await encrypt(format, content);
    expect(content.readBytes()).toBe(500_000);
    const first = body.read(0, body.sizeBytes);
    content.end();
    expectSameBytes(body.read(0, body.sizeBytes), first);
    expectSameBytes(body.read(1000, 2000), first.subarray(1000, 2000));
    body.wipe();
  });

  test('any part of a large content is the same bytes, in any order and again', async () => {
    const content = makeBytes(LARGE);
    const body = await encrypt(format, makeBody(content));
    const whole = Buffer.from(body.read(0, body.sizeBytes));
    expectSameBytes(decrypt(whole), content);
    fc.assert(
      fc.property(fc.nat(body.sizeBytes), fc.nat(400_000), (from, length) => {
        const end = Math.min(from + length, body.sizeBytes);
        expectSameBytes(body.read(from, end), whole.subarray(from, end));
        const target = new Uint8Array(end - from);
        body.readInto(from, target);
        expectSameBytes(target, whole.subarray(from, end));
      }),
      { numRuns: 100 },
    );
    // Four parts side by side, piece by piece, as a multipart upload does.
    const partBytes = Math.ceil(body.sizeBytes / 4);
    const parts = [0, 1, 2, 3].map((part) => part * partBytes);
    for (let at = 0; at < partBytes; at += 100_000) {
      for (const start of parts) {
        const from = Math.min(start + at, body.sizeBytes);
        const end = Math.min(start + Math.min(at + 100_000, partBytes), body.sizeBytes);
        expectSameBytes(body.read(from, end), whole.subarray(from, end));
      }
    }
  });

  test('near both ends of a large one', async () => {
    const body = await encrypt(format, makeBody(makeBytes(LARGE)));
    const whole = Buffer.from(body.read(0, body.sizeBytes));
    for (const start of [0, 1, 52, 53, 54, 69, 70, 71, 86, body.sizeBytes - 17]) {
      for (const length of [0, 1, 15, 16, 17, 100]) {
        const end = Math.min(start + length, body.sizeBytes);
        expectSameBytes(body.read(start, end), whole.subarray(start, end));
      }
    }
  });

  test('a large one is the same whatever is read of it first', async () => {
    const content = makeBytes(LARGE);
    const random = (sizeBytes: number) => Buffer.alloc(sizeBytes, 7);
    const inOrder = await encrypt(format, makeBody(content), random);
    const whole = inOrder.read(0, inOrder.sizeBytes);
    const starts = Array.from({ length: Math.ceil(whole.length / 131_072) }, (_, i) => i * 131_072);
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(starts, { minLength: starts.length }),
        async (shuffled) => {
          const body = await encrypt(format, makeBody(content), random);
          for (const start of shuffled) {
            const end = Math.min(start + 131_072, whole.length);
            expectSameBytes(body.read(start, end), whole.subarray(start, end));
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  test('a large one is encrypted once in each pass', async () => {
    const content = makeBody(makeBytes(LARGE));
    const body = await encrypt(format, content);
    expect(content.readBytes()).toBe(0);
    for (let pass = 1; pass <= 2; pass++) {
      for (let start = 0; start < body.sizeBytes; start += 131_072) {
        body.read(start, Math.min(start + 131_072, body.sizeBytes));
      }
      expect(content.readBytes()).toBe(pass * LARGE);
    }
    expect(content.largestRead()).toBeLessThanOrEqual(131_072);
  });

  test('of one that is sent in parts, the last one need not make up for the others', async () => {
    const content = makeBody(makeBytes(20 * LARGE));
    const body = await encrypt(format, content);
    // Four at a time, piece by piece, as a multipart upload does; the other three are slower than the last.
    const partBytes = Math.ceil(body.sizeBytes / 4);
    let largest = 0;
    for (let at = 0; at < partBytes; at += 131_072) {
      for (const part of at % 262_144 === 0 ? [0, 1, 2, 3] : [3]) {
        const slow = part === 3 ? at : at / 2;
        const start = part * partBytes + slow;
        const before = content.readBytes();
        body.read(start, Math.min(start + 131_072, (part + 1) * partBytes, body.sizeBytes));
        largest = Math.max(largest, content.readBytes() - before);
      }
    }
    expect(largest).toBeLessThanOrEqual(4 * 131_072);
  });

  test('a content that cannot be read for once is not gone on with', async () => {
    const bytes = makeBytes(LARGE);
    let failures = 1;
    const content = bodyFrom(LARGE, (start, target) => {
      const end = start + target.length;
      if (end > 1_000_000 && failures-- > 0) throw new StorageError('UNAVAILABLE', 'try again');
      target.set(bytes.subarray(start, end));
    });
    const body = await encrypt(format, content);
    body.read(0, 500_000);
    expect(failureOf(() => body.read(500_000, 1_200_000))).toBe('UNAVAILABLE');
    // What had come before the failure would spoil the tag.
    expect(failureOf(() => body.read(500_000, 1_200_000))).toBe('ABORTED');
  });

  test('once it is wiped nothing is encrypted any more', async () => {
    const body = await encrypt(format, makeBody(makeBytes(LARGE)));
    body.wipe();
    // With a key of zeros it would look like an object.
    expect(failureOf(() => body.read(0, 100))).toBe('ABORTED');
  });

  test('a small content that is sent too late is never that of the next one', async () => {
    const late = await encrypt(format, makeBody(makeBytes(1_000)));
    late.wipe();
    const next = await encrypt(format, makeBody(makeBytes(1_000)));
    const other = await encrypt(format, makeBody(makeBytes(2_000)));
    expect(failureOf(() => late.read(0, 100))).toBe('ABORTED');
    // Again, as when a request ends twice.
    late.wipe();
    const third = await encrypt(format, makeBody(makeBytes(3_000)));
    for (const [body, sizeBytes] of [
      [next, 1_000],
      [other, 2_000],
      [third, 3_000],
    ] as const) {
      expectSameBytes(decrypt(body.read(0, body.sizeBytes)), makeBytes(sizeBytes));
      body.wipe();
    }
  });

  test('what arrives for a read that was given up disturbs no other', async () => {
    const [first, second] = [makeBytes(300_000), makeBytes(200_000)];
    const [one, other] = await Promise.all(
      [first, second].map(async (content) => {
        const body = await encrypt(format, makeBody(content));
        return body.read(0, body.sizeBytes);
      }),
    );
    if (one === undefined || other === undefined) throw new Error('nothing is encrypted');
    const [givenUp, reading] = [openSink(), openSink()];
    givenUp.sink.begin(one.length, one.length);
    givenUp.sink.write(0, one.subarray(0, 100_000));
    givenUp.sink.wipe();
    reading.sink.begin(other.length, other.length);
    reading.sink.write(0, other.subarray(0, 100_000));
    givenUp.sink.write(100_000, one.subarray(100_000));
    givenUp.sink.wipe();
    reading.sink.write(100_000, other.subarray(100_000));
    expect(reading.sink.finish()).toBe(true);
    expectSameBytes(reading.inner.bytes(), second);
  });

  test('a content that is gone, and a request that is over', async () => {
    const content = makeBody(makeBytes(100));
    content.end();
    await expectFailure(encrypt(format, content), 'ABORTED');
    const { master } = KEYRING;
    if (master === undefined) throw new Error('no master key');
    const target = { format, master, uuid: UUID, contentType: DICOM, createAes };
    const work = encryptBody(makeBody(makeBytes(100)), target, pacer, AbortSignal.abort());
    await expectFailure(work, 'ABORTED');
  });

  test('too large a content is refused before any of it is read', async () => {
    const content = bodyFrom(2 ** 49, () => {
      throw new Error('read');
    });
    await expectFailure(encrypt(format, content), 'INTERNAL', /too large for encryption format/);
  });
});

describe('A1 in parts', () => {
  function encryptPart(secrets: A1Secrets, content: Uint8Array, start: number, end: number) {
    const target = new Uint8Array(end - start);
    createA1Counter(createAes, secrets).run(start, end, (aes, from, to) => {
      aes.update(content.subarray(from, to), target.subarray(from - start, to - start));
    });
    return target;
  }

  test('is what GCM makes in one go, also where its 32-bit counter wraps', () => {
    // Found by trying: the last 32 bits of its first counter block are 0xfffff97c, which wrap 27 kB into the content.
    const dek = createHash('sha256').update('a1-counter-wrap').digest();
    const iv = createHash('sha256').update(`a1-counter-wrap/133908`).digest();
    const content = makeBytes(200_000);
    const whole = createCipheriv('aes-256-gcm', dek, iv).update(content);
    const wrapsAt = (2 ** 32 - 0xff_ff_f9_7c) * 16;
    const place = fc.oneof(
      fc.nat(content.length),
      fc.integer({ min: wrapsAt - 40, max: wrapsAt + 40 }),
    );
    fc.assert(
      fc.property(place, place, (one, other) => {
        const [start, end] = [Math.min(one, other), Math.max(one, other)];
        const part = encryptPart({ dek, iv }, content, start, end);
        expectSameBytes(part, whole.subarray(start, end));
      }),
      { numRuns: 300 },
    );
  });

  test('for any key and IV', () => {
    for (let run = 0; run < 50; run++) {
      const secrets = { dek: randomBytes(32), iv: randomBytes(32) };
      const content = makeBytes(1000);
      const whole = createCipheriv('aes-256-gcm', secrets.dek, secrets.iv).update(content);
      expectSameBytes(encryptPart(secrets, content, 165, 999), whole.subarray(165, 999));
    }
  });
});
