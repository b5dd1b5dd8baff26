// SPDX-License-Identifier: GPL-3.0-or-later
// Two Orthancs that share an index in PostgreSQL and a bucket: what one has stored the other one has.

import type { ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Box, runInBox, spawnInBox } from '../../scripts/lib/box.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { stopProcess } from '../../scripts/lib/run.mjs';
import { makeDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorld, plugin, type World } from '../support/world.ts';

const INDEX_PLUGIN = '/usr/share/orthanc/plugins/libOrthancPostgreSQLIndex.so';
const INSTANCES = 40;
const CLIENTS = 4;

let world: World;
let postgres: ChildProcess;
let writer: Orthanc;
let reader: Orthanc;

/** In the box itself, and begun anew: what a container writes elsewhere as this user the user outside could not remove. */
const DATA = '/var/lib/postgresql/e2e';

/** PostgreSQL does not run as root, nor as a user without a name, as a container's may be. */
function startPostgres(box: Box, port: number): ChildProcess {
  const options = `-D ${DATA} -p ${port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=${DATA} -c fsync=off`;
  const script = [
    'PATH=$(echo /usr/lib/postgresql/*/bin):$PATH',
    `rm -rf ${DATA}`,
    `initdb -D ${DATA} -U orthanc --auth=trust --no-sync`,
    `exec postgres ${options}`,
  ].join(' && ');
  const argv = ['setpriv', '--reuid', 'postgres', '--clear-groups', 'sh', '-c', script];
  return spawnInBox(box, argv, { stdio: 'ignore', asRoot: true });
}

beforeAll(async () => {
  world = await createWorld();
  const { box } = world;
  const port = await freePort();
  postgres = startPostgres(box, port);
  const psql = ['psql', '-h', '127.0.0.1', '-p', String(port), '-U', 'orthanc', '-d', 'postgres'];
  for (let attempt = 0; ; attempt += 1) {
    const { code, stderr } = await runInBox(box, [...psql, '-c', 'CREATE DATABASE orthanc']);
    if (code === 0) break;
    if (attempt > 100) throw new Error(stderr);
    await sleep(100);
  }
  const configuration = {
    Plugins: [plugin, INDEX_PLUGIN],
    MaximumStorageCacheSize: 0,
    PostgreSQL: {
      EnableIndex: true,
      EnableStorage: false,
      Host: '127.0.0.1',
      Port: port,
      Database: 'orthanc',
      Username: 'orthanc',
      Password: '',
      Lock: false,
    },
  };
  writer = await world.start('writer', {
    configuration: { ...configuration, DatabaseServerIdentifier: 'writer' },
  });
  reader = await world.start('reader', {
    configuration: { ...configuration, DatabaseServerIdentifier: 'reader' },
  });
});

afterAll(async () => {
  await world.close();
  if (postgres !== undefined) await stopProcess(postgres);
});

test('a reader sees what the writer stores, and no longer what it removes', async () => {
  const files = Array.from({ length: INSTANCES }, (_, index) =>
    makeDicom({ sopInstanceUid: `1.2.30.${index}`, pixelBytes: 5000 }),
  );
  const uploads = await inParallel(files, CLIENTS, async (file) => {
    const upload = await writer.upload(file);
    // At once, through the other one.
    expect(Buffer.compare(await reader.get(`/instances/${upload.ID}/file`), file)).toBe(0);
    return upload;
  });
  expect(await world.objects()).toHaveLength(INSTANCES);
  const [first] = uploads;
  expect(await reader.json(`/object-storage/locate/patients/${first?.ParentPatient}`)).toHaveLength(
    INSTANCES,
  );

  // Both write.
  const mine = await reader.upload(makeDicom({ sopInstanceUid: '1.2.30.1000', pixelBytes: 5000 }));
  await writer.get(`/instances/${mine.ID}/file`);

  expect((await writer.request('DELETE', `/instances/${first?.ID}`)).status).toBe(200);
  expect((await reader.request('GET', `/instances/${first?.ID}/file`)).status).toBe(404);
  expect((await reader.request('DELETE', `/patients/${first?.ParentPatient}`)).status).toBe(200);
  expect(await writer.json('/instances')).toEqual([]);
  expect(await world.objects()).toEqual([]);
});
