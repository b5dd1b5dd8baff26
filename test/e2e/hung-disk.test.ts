// SPDX-License-Identifier: GPL-3.0-or-later
// Hybrid storage, and a network disk whose server is gone: what lies in the bucket goes on.

import { execFileSync } from 'node:child_process';
import { constants } from 'node:fs';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createArchive, makeFiles, store } from '../support/archive.ts';
import { makeDicom } from '../support/dicom.ts';
import { createWorld, type World } from '../support/world.ts';

/** More than there are places for operations on the disk. */
const HUNG_READS = 14;

let world: World;
beforeAll(async () => {
  world = await createWorld();
});
afterAll(() => world.close());

test('reads of a disk that hangs hold up nobody else', async () => {
  const archive = createArchive(world, 'hang');
  // By name: looking it up takes a thread of those that the disk's reads hang in.
  const endpoint = String(world.section['Endpoint']).replace('127.0.0.1', 'localhost');
  const orthanc = await archive.start({
    RootPath: 'hang',
    HybridMode: 'WriteToObjectStorage',
    Endpoint: endpoint,
    RequestTimeout: 60,
  });
  const stored = await store(orthanc, makeFiles(HUNG_READS, '1.2.13.1'));
  const pipes: string[] = [];
  for (const id of stored.digests.keys()) {
    const info = await orthanc.get(`/instances/${id}/attachments/dicom/info`);
    const { Uuid: uuid }: { readonly Uuid: string } = JSON.parse(info.toString());
    await world.store.remove(`hang/${uuid}.dcm`);
    const folder = join(archive.folder, uuid.slice(0, 2), uuid.slice(2, 4));
    await mkdir(folder, { recursive: true });
    // Opening it does not return.
    execFileSync('mkfifo', [join(folder, uuid)]);
    pipes.push(join(folder, uuid));
  }
  const reads = [...stored.digests.keys()].map((id) =>
    orthanc.request('GET', `/instances/${id}/file`).then(({ status }) => status),
  );
  await sleep(1000);

  const startedMs = performance.now();
  const dicom = makeDicom({ sopInstanceUid: '1.2.13.2.1', pixelBytes: 2000 });
  const { status } = await orthanc.request('POST', '/instances', dicom);
  expect(status).toBe(200);
  expect(performance.now() - startedMs).toBeLessThan(10_000);

  for (let turn = 0; turn < 2; turn++) {
    // Whoever waits for a writer goes on once there is one.
    for (const pipe of pipes) {
      const file = await open(pipe, constants.O_RDWR | constants.O_NONBLOCK);
      await sleep(100);
      await file.close();
    }
  }
  expect(await Promise.all(reads)).not.toContain(200);
});
