// SPDX-License-Identifier: GPL-3.0-or-later
// Two Orthancs that share an index in PostgreSQL and a bucket, as docker/compose.two-orthancs.yaml has them: what one has stored the
// other one has, and the proxy in front of them asks either.

import type { ChildProcess } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { type Box, runInBox, spawnInBox } from '../../scripts/lib/box.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { stopProcess } from '../../scripts/lib/run.mjs';
import { loadCompose } from '../../scripts/lib/servers.mjs';
import { type ComposeService, configureAsImage } from '../support/compose.ts';
import { makeDicom } from '../support/dicom.ts';
import { type Orthanc, sendByDicom } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { BUCKET, createWorld, plugin, SECRET_KEY, type World } from '../support/world.ts';

const INSTANCES = 40;
const CLIENTS = 4;

let world: World;
let postgres: ChildProcess;
let writer: Orthanc;
let reader: Orthanc;
let balancer: ChildProcess;

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
  const { services } = (await loadCompose(inProject('docker', 'compose.two-orthancs.yaml'))) as {
    services: Record<string, ComposeService>;
  };
  const start = async (name: string) => {
    const service = services[name];
    if (service === undefined) throw new Error(`The compose file has no ${name}`);
    const environment = { ...service.environment, ...ofThisMachine(name, port) };
    await mkdir(join(world.folder, name, 'cache'), { recursive: true });
    const configuration = await configureAsImage(
      box,
      join(world.folder, `${name}-image`),
      { ...service, environment },
      plugin,
      { 'registered-users': '{"alice": "p1"}', 'postgres-password': '', 's3-password': SECRET_KEY },
    );
    return await world.start(name, { configuration });
  };
  writer = await start('orthanc-1');
  reader = await start('orthanc-2');
});

/** Names of services and paths of the image have no meaning here. */
function ofThisMachine(name: string, indexPort: number): Readonly<Record<string, string>> {
  const { Endpoint, Region, AccessKey } = world.section as Record<string, string>;
  return {
    ORTHANC__STORAGE_DIRECTORY: join(world.folder, name, 'storage'),
    ORTHANC__INDEX_DIRECTORY: join(world.folder, name, 'storage'),
    ORTHANC__MAXIMUM_STORAGE_CACHE_SIZE: '0',
    ORTHANC__AUTHENTICATION_ENABLED: 'false',
    ORTHANC__POSTGRESQL__HOST: '127.0.0.1',
    ORTHANC__POSTGRESQL__PORT: String(indexPort),
    ORTHANC__AWS_S3_STORAGE__BUCKET_NAME: BUCKET,
    ORTHANC__AWS_S3_STORAGE__ENDPOINT: Endpoint ?? '',
    ORTHANC__AWS_S3_STORAGE__REGION: Region ?? '',
    ORTHANC__AWS_S3_STORAGE__ACCESS_KEY: AccessKey ?? '',
    ORTHANC__AWS_S3_STORAGE__LOCAL_CACHE__DIRECTORY: join(world.folder, name, 'cache'),
  };
}

afterAll(async () => {
  await world.close();
  if (balancer !== undefined) await stopProcess(balancer);
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

test('the image loads this plugin and the index, and nothing else', async () => {
  expect((await readdir(join(world.folder, 'orthanc-1-image', 'plugins'))).toSorted()).toEqual([
    'libOrthancObjectStorage.so',
    'libOrthancPostgreSQLIndex.so',
    'libOrthancPostgreSQLStorage.so',
  ]);
  expect(await writer.json('/plugins')).toContain('object-storage');
});

test('behind the proxy either of them answers, and the other one where one is gone', async () => {
  const ports = { http: await freePort(), dicom: await freePort() };
  const file = join(world.folder, 'haproxy.cfg');
  await writeFile(file, await proxyConfiguration(ports));
  balancer = spawnInBox(world.box, ['haproxy', '-db', '-f', file], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${ports.http}`;
  await vi.waitFor(async () => expect((await fetch(`${url}/system`)).status).toBe(200), 10_000);

  const before = [await createsOf(writer), await createsOf(reader)];
  const files = Array.from({ length: 8 }, (_, index) =>
    makeDicom({ sopInstanceUid: `1.2.32.${index}`, pixelBytes: 5000 }),
  );
  const ids: string[] = [];
  for (const body of files) {
    const answer = await fetch(`${url}/instances`, { method: 'POST', body });
    ids.push(((await answer.json()) as { ID: string }).ID);
  }
  const after = [await createsOf(writer), await createsOf(reader)];
  expect(after[0]).toBeGreaterThan(before[0] ?? 0);
  expect(after[1]).toBeGreaterThan(before[1] ?? 0);

  const sent = join(world.folder, 'sent.dcm');
  await writeFile(sent, makeDicom({ sopInstanceUid: '1.2.32.100', pixelBytes: 5000 }));
  const target = { ...reader, dicomPort: ports.dicom };
  expect(await sendByDicom(world.box, target, 'storescu', [sent])).toMatchObject({ code: 0 });

  await writer.kill();
  for (const [index, id] of ids.entries()) {
    const answer = await fetch(`${url}/instances/${id}/file`);
    expect(answer.status).toBe(200);
    const body = Buffer.from(await answer.arrayBuffer());
    expect(Buffer.compare(body, files[index] ?? Buffer.alloc(0))).toBe(0);
  }
});

/** docker/haproxy.cfg with addresses of this machine. */
async function proxyConfiguration(ports: { http: number; dicom: number }): Promise<string> {
  const text = await readFile(inProject('docker', 'haproxy.cfg'), 'utf8');
  const place = (orthanc: Orthanc, line: string) =>
    line
      .replace(/orthanc-\d:/, '127.0.0.1:')
      .replace('8042', new URL(orthanc.url).port)
      .replace('4242', String(orthanc.dicomPort));
  return text
    .split('\n')
    .map((line) => {
      if (line.includes('server orthanc-1')) return place(writer, line);
      if (line.includes('server orthanc-2')) return place(reader, line);
      return line
        .replace('bind :8042', `bind 127.0.0.1:${ports.http}`)
        .replace('bind :4242', `bind 127.0.0.1:${ports.dicom}`);
    })
    .join('\n');
}

async function createsOf(orthanc: Orthanc): Promise<number> {
  const { operations } = (await orthanc.json('/object-storage/status')) as {
    operations: { create: { succeeded: number } };
  };
  return operations.create.succeeded;
}
