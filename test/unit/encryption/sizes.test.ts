// SPDX-License-Identifier: GPL-3.0-or-later

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  A1_MAX_PLAINTEXT_BYTES,
  A2_MAX_PLAINTEXT_BYTES,
  ciphertextSize,
  coveringSegments,
  plaintextSize,
  sealedRange,
  segmentCount,
  segmentOf,
} from '../../../src/encryption/sizes.ts';
import { failureOf } from './support.ts';

describe('sizes', () => {
  test.each([
    ['A1', 0, 86],
    ['A1', 1, 87],
    ['A1', 65_536, 65_622],
    ['A2', 0, 69],
    ['A2', 1, 70],
    ['A2', 65_535, 65_604],
    ['A2', 65_536, 65_605],
    ['A2', 65_537, 65_622],
    ['A2', 131_072, 131_157],
    ['A2', A2_MAX_PLAINTEXT_BYTES, 53 + 2 ** 32 * 65_552],
  ] as const)('%s: a content of %i bytes is an object of %i', (format, content, object) => {
    expect(ciphertextSize(format, content)).toBe(object);
    expect(plaintextSize(format, object)).toBe(content);
  });

  test('the limits', () => {
    expect(failureOf(() => ciphertextSize('A1', A1_MAX_PLAINTEXT_BYTES))).toBeUndefined();
    expect(failureOf(() => ciphertextSize('A1', A1_MAX_PLAINTEXT_BYTES + 1))).toBe('INTERNAL');
    expect(failureOf(() => ciphertextSize('A2', A2_MAX_PLAINTEXT_BYTES + 1))).toBe('INTERNAL');
    expect(failureOf(() => plaintextSize('A1', A1_MAX_PLAINTEXT_BYTES + 87))).toBe('INTEGRITY');
    expect(failureOf(() => plaintextSize('A2', 53 + 2 ** 32 * 65_552 + 17))).toBe('INTEGRITY');
    expect(() => ciphertextSize('A1', 2 ** 36)).toThrow(/too large for encryption format A1/);
  });

  test.each([
    ['A1', 0],
    ['A1', 85],
    ['A2', 0],
    ['A2', 53],
    ['A2', 68],
    // A last segment of 0 bytes behind a full one, and one that is shorter than its tag.
    ['A2', 53 + 65_552 + 16],
    ['A2', 53 + 65_552 + 1],
  ] as const)('%s has no object of %i bytes', (format, size) => {
    expect(failureOf(() => plaintextSize(format, size))).toBe('INTEGRITY');
  });

  const size = fc.oneof(
    fc.nat(200_000),
    fc.nat(2 ** 31 - 1),
    fc.nat(4).chain((n) => fc.constantFrom(-1, 0, 1).map((d) => Math.max(0, n * 65_536 + d))),
  );

  test('one is the inverse of the other', () => {
    fc.assert(
      fc.property(fc.constantFrom('A1' as const, 'A2' as const), size, (format, bytes) => {
        expect(plaintextSize(format, ciphertextSize(format, bytes))).toBe(bytes);
      }),
    );
  });

  test('segments fill the object, and those that cover a range hold it', () => {
    fc.assert(
      fc.property(size, fc.nat(), fc.nat(), (bytes, a, b) => {
        const object = ciphertextSize('A2', bytes);
        const count = segmentCount(bytes);
        expect(sealedRange({ start: 0, end: count }, object)).toEqual({ start: 53, end: object });
        expect(segmentOf(count - 1, bytes).end).toBe(bytes);
        if (bytes === 0) return;
        const start = a % bytes;
        const end = start + 1 + (b % (bytes - start));
        const segments = coveringSegments({ start, end });
        expect(segmentOf(segments.start, bytes).start).toBeLessThanOrEqual(start);
        expect(segmentOf(segments.start, bytes).end).toBeGreaterThan(start);
        expect(segmentOf(segments.end - 1, bytes).start).toBeLessThan(end);
        expect(segmentOf(segments.end - 1, bytes).end).toBeGreaterThanOrEqual(end);
      }),
    );
  });
});
