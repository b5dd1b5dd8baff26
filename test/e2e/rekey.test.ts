// SPDX-License-Identifier: GPL-3.0-or-later
// All objects get a new key while Orthanc goes on storing, reading and removing.

import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildCli, type Cli } from '../support/cli.ts';
import { makeDicom } from '../support/dicom.ts';
import type { Configuration, Orthanc } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorld, type World } from '../support/world.ts';

const INSTANCES = 60;

let world: World;
let cli: Cli;

beforeAll(async () => {
  world = await createWorld();
  cli = await buildCli(world.folder);
  for (const id of [1, 2]) {
    const text = randomBytes(32).toString('base64');
    await writeFile(keyFile(id), text, { mode: 0o600 });
  }
});

afterAll(() => world.close());

const keyFile = (id: number) => join(world.folder, `${id}.key`);
const instance = (number: number) =>
  makeDicom({ sopInstanceUid: `1.2.9.40.${number}`, pixelBytes: 100_000 });

function withKeys(StorageEncryption: Configuration): Promise<Orthanc> {
  return world.start('rekeyed', {
    configuration: {
      MaximumStorageCacheSize: 0,
      ...world.configure({ StorageEncryption }),
    },
  });
}

test('rekey beside a running Orthanc loses nothing and brings nothing back', async () => {
  const before = await withKeys({ MasterKey: [1, keyFile(1)] });
  const numbers = Array.from({ length: INSTANCES }, (_, number) => number);
  const stored = await inParallel(numbers, 8, async (number) => ({
    file: instance(number),
    id: (await before.upload(instance(number))).ID,
  }));
  await before.stop();

  const orthanc = await withKeys({
    MasterKey: [2, keyFile(2)],
    PreviousMasterKeys: [[1, keyFile(1)]],
    Format: 'A2',
  });
  const isRemoved = (index: number) => index % 2 === 1;
  // Slow enough that removals come between the reads of rekey and its writes.
  world.proxy.setFault(({ method }) => ({
    kind: 'delay',
    ms: method === 'PUT' ? 30 : 0,
    isAlone: true,
  }));
  const argv = ['--config', orthanc.configurationFile, '--concurrency', '8', '--json'];
  const { result } = cli.start(['rekey', ...argv]);
  for (const [index, { id }] of stored.entries()) {
    await sleep(10);
    if (isRemoved(index)) await orthanc.request('DELETE', `/instances/${id}`);
    else await orthanc.get(`/instances/${id}/file`);
  }
  const added = { file: instance(INSTANCES), id: '' };
  added.id = (await orthanc.upload(added.file)).ID;
  const { code, stdout, stderr } = await result;
  world.proxy.setFault(undefined);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const counts = JSON.parse(stdout.toString()) as Record<string, number>;
  expect(counts).toMatchObject({ failed: 0 });

  const left = [...stored.filter((_, index) => !isRemoved(index)), added];
  for (const { id, file } of left) {
    expect((await orthanc.get(`/instances/${id}/file`)).equals(file)).toBe(true);
  }
  const keys = await world.objects();
  expect(orthanc.log()).not.toContain('op=remove');
  // The first ones in A1, with a header each; the last one in A2, without.
  expect(keys).toHaveLength((left.length - 1) * 2 + 1);
  for (const key of keys) {
    const object = await world.store.read(key);
    expect(object.readUInt32LE(2), key).toBe(2);
  }
  expect(counts['rekeyed']).toBeGreaterThanOrEqual(keys.length - 1);
});
