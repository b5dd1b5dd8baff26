// SPDX-License-Identifier: GPL-3.0-or-later
// Both formats against second implementations in Python, which share nothing with ours. They run in the box.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureBox, runInBox } from '../../scripts/lib/box.mjs';
import { parseBoxName } from '../../scripts/lib/suites.mjs';
import { HELD_MAX_BYTES } from '../../src/encryption/encrypted-body.ts';
import { SEGMENT_BYTES } from '../../src/encryption/sizes.ts';
import { expectSameBytes, makeBytes } from '../support/bodies.ts';
import {
  decrypt,
  encrypt,
  fixturePath,
  KEYRING,
  readFixture,
  sha256,
  UUID,
  vectors,
} from '../unit/encryption/support.ts';

const SIZES = [
  0,
  1,
  15,
  16,
  17,
  SEGMENT_BYTES - 1,
  SEGMENT_BYTES,
  SEGMENT_BYTES + 1,
  500_000,
  // Encrypted part by part.
  HELD_MAX_BYTES + 1,
  5_000_000,
];
const CASES = (['A1', 'A2'] as const).flatMap((format) =>
  SIZES.map((size, index) => ({
    name: `${format}-${size}`,
    format,
    size,
    contentType: index % 4,
    uuid: UUID,
    keyId: 1,
    kek: sha256('test-key-1').toString('hex'),
  })),
);

const script = (name: string) => join(import.meta.dirname, name);
const box = () => ensureBox(parseBoxName(process.env['OOS_BOX'] ?? 'trixie'));

async function python(argv: readonly string[], input?: Uint8Array) {
  // -B: no __pycache__ beside the scripts.
  const options = input === undefined ? {} : { input };
  return runInBox(await box(), ['python3', '-B', ...argv], options);
}

describe('a second implementation', () => {
  let folder = '';
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'interop-'));
    for (const { name, format, size, contentType } of CASES) {
      const content = makeBytes(size);
      writeFileSync(join(folder, `${name}.content`), content);
      writeFileSync(
        join(folder, `${name}.object`),
        await encrypt(format, content, { contentType }),
      );
    }
    writeFileSync(join(folder, 'cases.json'), JSON.stringify(CASES));
    const result = await python([script('exchange.py'), folder]);
    expect(result.code, result.stderr).toBe(0);
  });
  afterAll(() => {
    rmSync(folder, { recursive: true });
  });

  test.each(CASES)('reads ours: $name', ({ name, size }) => {
    expectSameBytes(readFileSync(join(folder, `${name}.decrypted`)), makeBytes(size));
  });

  test.each(CASES)('writes what we read: $name', ({ name, size, contentType }) => {
    const object = readFileSync(join(folder, `${name}.encrypted`));
    expectSameBytes(decrypt(object, { keyring: KEYRING, contentType }), makeBytes(size));
  });
});

describe('a2.py', () => {
  const vector = vectors('a2').find(({ size }) => size === SEGMENT_BYTES + 1);
  if (vector === undefined) throw new Error('no such vector');
  const { file, keyId, uuid, contentType } = vector;
  const argv = (action: string, name = uuid) => [
    script('a2.py'),
    action,
    String(keyId),
    fixturePath('a2', `key-${keyId}.b64`),
    name,
    String(contentType),
  ];

  test('makes the test vectors', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'interop-'));
    try {
      const result = await python([script('a2_vectors.py'), folder]);
      expect(result.code, result.stderr).toBe(0);
      for (const { file: name } of [...vectors('a2'), { file: 'manifest.json' }]) {
        expectSameBytes(readFileSync(join(folder, name)), readFixture('a2', name));
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('refuses what is not authentic, as we do', async () => {
    const object = readFixture('a2', file);
    expect((await python(argv('decrypt'), object)).code).toBe(0);
    const other = 'ffffffff-0000-4000-8000-0123456789ab';
    for (const [input, name] of [
      [object, other],
      [object.subarray(0, -1), uuid],
      [object.subarray(0, 53 + SEGMENT_BYTES + 16), uuid],
      [Buffer.concat([object, Buffer.alloc(1)]), uuid],
    ] as const) {
      const result = await python(argv('decrypt', name), input);
      expect(result.code).toBe(1);
      expect(result.stderr).toContain('refused: ');
      expect(result.stdout).toBe('');
    }
  });
});
