// SPDX-License-Identifier: GPL-3.0-or-later

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { combineCrc32, crc32, encodeCrc32 } from '../../../src/checksums/checksums.ts';
import {
  createCrc32c,
  createCrc64Nvme,
  type SlicedCrc,
} from '../../../src/checksums/slow-checksums.ts';

const check = Buffer.from('123456789');
const anyBytes = fc.uint8Array({ maxLength: 300 });

// The check values of the catalogue of CRC algorithms, https://reveng.sourceforge.io/crc-catalogue/
test('CRC32 gives the check value', () => {
  expect(crc32(check, 0)).toBe(0xcbf43926);
  expect(encodeCrc32(0xcbf43926)).toBe('y/Q5Jg==');
  expect(encodeCrc32(0)).toBe('AAAAAA==');
});

test('CRC32C and CRC64NVME give their check values', () => {
  const crc32c = createCrc32c();
  expect(crc32c.encode(crc32c.update(crc32c.initial, check))).toBe(hex('e3069283'));
  const crc64 = createCrc64Nvme();
  expect(crc64.encode(crc64.update(crc64.initial, check))).toBe(hex('ae8b14860a799888'));
});

describe('for any bytes', () => {
  test('the checksums of two stretches combine to that of both', () => {
    fc.assert(
      fc.property(anyBytes, anyBytes, (first, second) => {
        const combined = combineCrc32(crc32(first, 0), crc32(second, 0), second.length);
        expect(combined).toBe(crc32(Buffer.concat([first, second]), 0));
      }),
    );
  });

  test('CRC32C and CRC64NVME do not depend on how they are cut', () => {
    expectIndependenceOfCuts(createCrc32c());
    expectIndependenceOfCuts(createCrc64Nvme());
  });
});

function expectIndependenceOfCuts<State>(crc: SlicedCrc<State>): void {
  fc.assert(
    fc.property(anyBytes, fc.nat(300), (bytes, cut) => {
      const first = crc.update(crc.initial, bytes.subarray(0, cut));
      const both = crc.update(first, bytes.subarray(cut));
      expect(crc.encode(both)).toBe(crc.encode(crc.update(crc.initial, bytes)));
    }),
  );
}

test('lengths beyond 2^32 combine', () => {
  // A stretch of n zero bytes, doubled up to 8 GiB by combining it with itself.
  let zeros = crc32(new Uint8Array(1024), 0);
  let sizeBytes = 1024;
  while (sizeBytes < 8 * 1024 ** 3) {
    zeros = combineCrc32(zeros, zeros, sizeBytes);
    sizeBytes *= 2;
  }
  const atOnce = combineCrc32(crc32(check, 0), zeros, sizeBytes);
  const half = 4 * 1024 ** 3;
  let halfZeros = crc32(new Uint8Array(1024), 0);
  for (let size = 1024; size < half; size *= 2)
    halfZeros = combineCrc32(halfZeros, halfZeros, size);
  const inHalves = combineCrc32(combineCrc32(crc32(check, 0), halfZeros, half), halfZeros, half);
  expect(atOnce).toBe(inHalves);
});

function hex(digits: string): string {
  return Buffer.from(digits, 'hex').toString('base64');
}
