// SPDX-License-Identifier: GPL-3.0-or-later
// A folder of this machine in front of the bucket.

import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openJournal, REMOVALS_FOLDER } from '../../src/local/removals-journal.ts';
import { damage } from '../support/bodies.ts';
import { buildCli, type Cli } from '../support/cli.ts';
import { makeDicom } from '../support/dicom.ts';
import { drained, killOften } from '../support/kills.ts';
import { type Configuration, type Orthanc, runRefusedOrthanc } from '../support/orthanc.ts';
import type { ProxiedRequest } from '../support/store-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

let world: World;
let cli: Cli;

beforeAll(async () => {
  world = await createWorld();
  cli = await buildCli(world.folder);
});

afterAll(() => world.close());

async function makeDirectory(name: string): Promise<string> {
  const directory = join(world.folder, `${name}-cache`);
  await mkdir(directory, { mode: 0o700 });
  return directory;
}

function configure(name: string, directory: string, changes: Configuration = {}): Configuration {
  const { LocalCache: cache, ...others } = { LocalCache: {}, ...changes };
  const section = {
    ...world.section,
    RootPath: name,
    MaxRetries: 0,
    LocalCache: { Directory: directory, WriteBack: true, ...(cache as object) },
    ...others,
  };
  return { [world.sectionName]: section, MaximumStorageCacheSize: 0 };
}

const files = Array.from({ length: 5 }, (_, index) =>
  makeDicom({ sopInstanceUid: `1.2.19.${index}`, pixelBytes: 30_000 * (index + 1) }),
);

async function store(orthanc: Orthanc): Promise<readonly string[]> {
  const uploads = await Promise.all(files.map((file) => orthanc.upload(file)));
  return uploads.map(({ ID }) => ID);
}

async function expectFiles(orthanc: Orthanc, ids: readonly string[]): Promise<void> {
  const read = await Promise.all(ids.map((id) => orthanc.get(`/instances/${id}/file`)));
  expect(read.every((bytes, index) => bytes.equals(files[index] ?? Buffer.alloc(0)))).toBe(true);
}

const cacheOf = async (orthanc: Orthanc) =>
  ((await orthanc.json('/object-storage/status')) as { readonly localCache: unknown }).localCache;

/** Not what the plugin and the commands try the store with. */
const isUpload = ({ method, key }: ProxiedRequest) => method === 'PUT' && !key.includes('probe');

function refuseUploads(status = 503): void {
  world.proxy.setFault((request) => (isUpload(request) ? { kind: 'answer', status } : undefined));
}

describe('WriteBack', () => {
  let orthanc: Orthanc;
  let ids: readonly string[];
  let directory: string;

  beforeAll(async () => {
    directory = await makeDirectory('back');
    orthanc = await world.start('back', { configuration: configure('back', directory) });
    refuseUploads();
    ids = await store(orthanc);
  });

  test('says at start who does not see what is pending', () => {
    expect(orthanc.log()).toMatch(/LocalCache: new files are first stored on this machine's disk/);
  });

  test('stores and reads while the bucket takes nothing', async () => {
    await expectFiles(orthanc, ids);
    expect(await world.objects('back')).toEqual([]);
    expect(await cacheOf(orthanc)).toMatchObject({
      writeBack: true,
      pending: { count: files.length },
      cached: { count: 0 },
    });
    const metrics = (await orthanc.get('/tools/metrics-prometheus')).toString();
    expect(metrics).toMatch(
      new RegExp(`^orthanc_object_storage_pending_count ${files.length}\\b`, 'm'),
    );
  });

  test('locate and verify call it pending', async () => {
    const [id] = ids;
    const located = await orthanc.json(`/object-storage/locate/instances/${id}`);
    expect(located).toMatchObject([{ stores: [{ pending: true }] }]);
    const address = ['--config', orthanc.configurationFile, '--orthanc', orthanc.url];
    const locate = await cli.start(['locate', 'instances', id ?? '', ...address]).result;
    expect(locate.stdout.toString()).toMatch(/bytes, pending\)/);
    const verify = await cli.start(['verify', ...address, '--deep']).result;
    expect(verify.stdout.toString()).toMatch(/^0 missing, 0 orphans/m);
    expect(verify.stdout.toString()).toMatch(/^5 pending/m);
    expect(verify.code).toBe(0);
  });

  test('an Orthanc of another folder of the bucket is refused, and so is a second one', async () => {
    const second = await runRefusedOrthanc(
      world.options('second', { configuration: configure('back', directory) }),
      20_000,
    );
    expect(second.orthanc.log()).toMatch(/another Orthanc .* uses it/);
    await orthanc.kill();
    const other = await runRefusedOrthanc(
      world.options('other', { configuration: configure('elsewhere', directory) }),
      20_000,
    );
    expect(other.orthanc.log()).toMatch(/holds 5 objects that are still to be uploaded/);
  });

  test('after kill -9, all is there, and is uploaded once the bucket takes it', async () => {
    orthanc = await world.start('back', { configuration: configure('back', directory) });
    await expectFiles(orthanc, ids);
    const [removed, ...others] = ids;
    await orthanc.request('DELETE', `/instances/${removed}`);
    expect(await cacheOf(orthanc)).toMatchObject({ pending: { count: 4 }, removals: 1 });
    world.proxy.setFault(undefined);
    await drained(orthanc);
    expect(await world.objects('back')).toHaveLength(others.length);
    world.proxy.forget();
    const read = await Promise.all(others.map((id) => orthanc.get(`/instances/${id}/file`)));
    expect(read.every((bytes, index) => bytes.equals(files[index + 1] ?? Buffer.alloc(0)))).toBe(
      true,
    );
    expect(world.proxy.counts()['GET']).toBeUndefined();
    await orthanc.stop();
  });
});

test('the commands show, upload and clear it, with and without Orthanc', async () => {
  const directory = await makeDirectory('commands');
  const configuration = configure('commands', directory);
  const orthanc = await world.start('commands', { configuration });
  const run = (...argv: readonly string[]) =>
    cli.start(['cache', ...argv, '--config', orthanc.configurationFile]).result;
  refuseUploads();
  await store(orthanc);
  const inUse = await run('status');
  expect(inUse.stdout.toString()).toMatch(
    /in use by Orthanc\n5 objects .* pending, the oldest since/,
  );
  await orthanc.kill();
  world.proxy.setFault(undefined);
  const cleared = await run('clear');
  expect(cleared.stdout.toString()).toMatch(/^0 cached objects removed; 5 pending ones/);
  const flushed = await run('flush');
  expect(flushed.stderr).toBe('');
  expect(flushed.stdout.toString()).toBe('5 uploaded, 0 removals carried out\n');
  expect(await world.objects('commands')).toHaveLength(files.length);
  const status = await run('status', '--json');
  expect(JSON.parse(status.stdout.toString())).toMatchObject({
    inUse: false,
    pending: { count: 0, oldest: null },
    cached: { count: files.length },
  });
  expect((await run('clear')).stdout.toString()).toMatch(/^5 cached objects removed/);
  // As DeleteInBackground leaves it, which only Orthanc carries out.
  const folder = join(directory, REMOVALS_FOLDER);
  await mkdir(folder);
  const noted = () => [['another', 0]] as const;
  // Kind, place and bucket; RootPath and structure follow.
  const { bucket: place } = JSON.parse(await readFile(join(directory, 'bucket.json'), 'utf8'));
  for (const bucket of ['another', String(place).split(' ').slice(0, 3).join(' ')]) {
    const journal = await openJournal({ folder, bucket, isSynchronous: false, noted });
    await journal.close(false);
  }
  expect((await run('status')).stdout.toString()).toMatch(/^1 removals to be carried out/m);
  expect(await run('flush')).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/1 removals of DeleteInBackground are noted/),
  });
  await rm(folder, { recursive: true });
  const again = await world.start('commands', { configuration });
  world.proxy.setFault((request) => (isUpload(request) ? { kind: 'delay', ms: 2000 } : undefined));
  await again.upload(makeDicom({ sopInstanceUid: '1.2.19.99', pixelBytes: 100 }));
  const waited = await run('flush');
  world.proxy.setFault(undefined);
  expect(waited.stdout.toString()).toMatch(/uploaded or removed by the running Orthanc/);
  expect(await world.objects('commands')).toHaveLength(files.length + 1);
  await again.stop();
});

test('a stop waits for uploads as StopTimeout says', async () => {
  const directory = await makeDirectory('stop');
  const configuration = configure('stop', directory, { StopTimeout: 60 });
  const orthanc = await world.start('stop', { configuration });
  world.proxy.setFault((request) => (isUpload(request) ? { kind: 'delay', ms: 6000 } : undefined));
  await store(orthanc);
  await orthanc.stop();
  world.proxy.setFault(undefined);
  expect(await world.objects('stop')).toHaveLength(files.length);
  expect(await readdir(join(directory, 'pending'))).toEqual([]);
});

describe('the read cache', () => {
  let orthanc: Orthanc;
  let ids: readonly string[];
  let directory: string;

  beforeAll(async () => {
    directory = await makeDirectory('reads');
    const changes = { LocalCache: { WriteBack: false } };
    orthanc = await world.start('reads', { configuration: configure('reads', directory, changes) });
    ids = await store(orthanc);
  });

  test('many readers of a cold object make one request, and later ones none', async () => {
    const path = `/instances/${ids[4]}/file`;
    world.proxy.setFault(({ method }) =>
      method === 'GET' ? { kind: 'delay', ms: 500 } : undefined,
    );
    world.proxy.forget();
    const read = await Promise.all(Array.from({ length: 16 }, () => orthanc.get(path)));
    world.proxy.setFault(undefined);
    expect(read.every((bytes) => bytes.equals(files[4] ?? Buffer.alloc(0)))).toBe(true);
    expect(world.proxy.counts()['GET']).toBe(1);
    await expect.poll(() => cacheOf(orthanc)).toMatchObject({ cached: { count: 1 } });
    await orthanc.get(path);
    expect(world.proxy.counts()['GET']).toBe(1);
  });

  test('a flipped byte costs a download, not a wrong image', async () => {
    const path = `/instances/${ids[4]}/file`;
    const [name = ''] = await readdir(join(directory, 'cached'));
    const file = join(directory, 'cached', name);
    await writeFile(file, damage(await readFile(file), 1000));
    world.proxy.forget();
    expect((await orthanc.get(path)).equals(files[4] ?? Buffer.alloc(0))).toBe(true);
    expect(world.proxy.counts()['GET']).toBe(1);
    expect(orthanc.log()).toMatch(/is damaged.*it is fetched anew/);
  });

  test('without its folder, all goes on', async () => {
    await rename(directory, `${directory}-away`);
    await expectFiles(orthanc, ids);
    await rm(`${directory}-away`, { recursive: true });
    await orthanc.stop();
  });
});

test.each([
  ['plain', {}],
  ['A2', { Format: 'A2' }],
])('killed often, %s: nothing is lost, and nothing comes back', async (format, encryption) => {
  const name = `kills-${format}`;
  await makeDirectory(name);
  const section = format === 'plain' ? {} : { StorageEncryption: await makeKey(encryption) };
  const figures = await killOften(world, name, {
    kills: 3,
    seed: 1,
    clients: 4,
    delaysMs: [5, 60],
    section,
  });
  expect(figures).toMatchObject({ lost: 0, revived: 0, wrong: 0 });
  expect(figures.verified).toMatchObject({ missing: 0, wrongSize: 0, corrupt: 0, unreadable: 0 });
  expect(figures.pendingAtKills).toBeGreaterThan(0);
});

async function makeKey(encryption: Configuration): Promise<Configuration> {
  const path = join(world.folder, 'key');
  await writeFile(path, Buffer.alloc(32, 7).toString('base64'), { mode: 0o600 });
  return { MasterKey: [1, path], ...encryption };
}
