// SPDX-License-Identifier: GPL-3.0-or-later
// FUZZ_SECONDS=600 npx vitest run test/unit/encryption/fuzz.test.ts fuzzes for longer, each time with other bytes; FUZZ_SEED repeats what was found.

import { expect, test } from 'vitest';
import { Keyring, readKeyFiles } from '../../../src/encryption/keyring.ts';
import { createRandom, fuzzObject, mutate, type Specimen } from '../../fuzz/object.ts';
import { DICOM, fixturePath, readFixture, UUID, vectors } from './support.ts';

const USUAL_SECONDS = 1;
const seconds = Number(process.env['FUZZ_SECONDS'] ?? USUAL_SECONDS);
const firstSeed = Number(
  process.env['FUZZ_SEED'] ?? (seconds === USUAL_SECONDS ? 1 : Date.now() % 2 ** 32),
);

const specimens = (['a1', 'a2'] as const).flatMap((format) =>
  vectors(format).map((vector) => {
    const path = fixturePath(format, `key-${vector.keyId}.b64`);
    const { keys } = readKeyFiles([{ setting: 'MasterKey', id: vector.keyId, path }]);
    // A1 is bound to neither, and its vectors have none.
    const { uuid, contentType } = format === 'a1' ? { uuid: UUID, contentType: DICOM } : vector;
    const specimen: Specimen = { object: readFixture(format, vector.file), uuid, contentType };
    return { specimen, keyring: new Keyring(keys, undefined) };
  }),
);

const isGenuine = (bytes: Buffer) =>
  specimens.some(({ specimen }) => specimen.object.equals(bytes));

test('altered objects are refused by name, whatever was done to them', {
  timeout: (seconds + 10) * 1000,
}, () => {
  const untilMs = performance.now() + seconds * 1000;
  let seed = firstSeed;
  let count = 0;
  while (performance.now() < untilMs || count === 0) {
    const random = createRandom(seed);
    const pick = () => specimens[Math.floor(random() * specimens.length)];
    const [chosen, other] = [pick(), pick()];
    if (chosen === undefined || other === undefined) throw new Error('no specimens');
    const bytes = mutate(chosen.specimen, other.specimen, random);
    try {
      fuzzObject(bytes, chosen.specimen, chosen.keyring, isGenuine);
    } catch (error) {
      throw new Error(`FUZZ_SEED=${seed} FUZZ_SECONDS=0`, { cause: error });
    }
    seed += 1;
    count += 1;
  }
  expect(count).toBeGreaterThan(0);
});
