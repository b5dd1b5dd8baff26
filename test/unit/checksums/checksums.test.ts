// SPDX-License-Identifier: GPL-3.0-or-later

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type CreateChecksum,
  combineCrc32,
  crc32,
  createCrc32,
  encodeCrc32,
} from '../../../src/checksums/checksums.ts';
import { loadCrc32c, loadCrc64Nvme } from '../../../src/checksums/wasm-checksums.ts';

const check = Buffer.from('123456789');
const anyBytes = fc.uint8Array({ maxLength: 300 });

// The check values of the catalogue of CRC algorithms, https://reveng.sourceforge.io/crc-catalogue/
test('CRC32 gives the check value', () => {
  expect(crc32(check, 0)).toBe(0xcbf43926);
  expect(encodeCrc32(0xcbf43926)).toBe('y/Q5Jg==');
  expect(encodeCrc32(0)).toBe('AAAAAA==');
});

test('CRC32C and CRC64NVME give their check values', async () => {
  expect(sumOf(await loadCrc32c(), check)).toBe(hex('e3069283'));
  expect(sumOf(await loadCrc64Nvme(), check)).toBe(hex('ae8b14860a799888'));
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

  test('none depends on how they are cut, or on others that grow meanwhile', async () => {
    for (const create of [createCrc32, await loadCrc32c(), await loadCrc64Nvme()]) {
      fc.assert(
        fc.property(anyBytes, fc.nat(300), (bytes, cut) => {
          const whole = sumOf(create, bytes);
          const sum = create();
          sum.update(bytes.subarray(0, cut));
          expect(sumOf(create, bytes)).toBe(whole);
          sum.update(bytes.subarray(cut));
          expect(sum.toBase64()).toBe(whole);
        }),
      );
    }
  });
});

function sumOf(create: CreateChecksum, bytes: Uint8Array): string {
  const checksum = create();
  checksum.update(bytes);
  return checksum.toBase64();
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
