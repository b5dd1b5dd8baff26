// SPDX-License-Identifier: GPL-3.0-or-later
// The command line beside Orthanc: all files into the bucket and out of it, the bucket against the index.

import { mkdir, readdir, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inProject } from '../../scripts/lib/paths.mjs';
import { md5 } from '../support/archive.ts';
import { type Cli, openCli } from '../support/cli.ts';
import { makeDicom } from '../support/dicom.ts';
import type { Configuration, Orthanc, Upload } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorld, type World } from '../support/world.ts';

const INSTANCES = 200;
const CLIENTS = 8;
const name = 'archive';

let world: World;
/** As it is shipped. */
let cli: Cli;
let storage: string;
let config: string;
let uploads: readonly Upload[];
let digests: readonly string[];
/** Of all files, as Orthanc named them. */
let uuids: readonly string[];

beforeAll(async () => {
  world = await createWorld();
  cli = openCli(inProject('dist/cli.js'), world.folder);
  storage = join(world.folder, name, 'storage');
  config = await writeConfig('cli', world.section);
});

afterAll(() => world.close());

async function writeConfig(file: string, section: Configuration): Promise<string> {
  const path = join(world.folder, `${file}.json`);
  await writeFile(
    path,
    JSON.stringify({ StorageDirectory: storage, AwsS3Storage: section }, undefined, 2),
  );
  return path;
}

/** While this process serves the proxy. */
const run = (...command: readonly string[]) => cli.start(command).result;

async function runJson(...command: readonly string[]) {
  const { code, stdout, stderr } = await run(...command, '--json');
  const lines = stdout.toString().trimEnd().split('\n');
  return {
    code,
    stderr,
    lines,
    result: JSON.parse(lines.at(-1) || '{}') as Record<string, unknown>,
  };
}

async function fileNames(): Promise<readonly string[]> {
  const entries = await readdir(storage, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => entry.name)
    .sort();
}

const uuidsInBucket = async () =>
  (await world.objects()).map((key) => key.replace(/^.*\//, '').slice(0, 36)).sort();

async function expectAll(orthanc: Orthanc): Promise<void> {
  await inParallel(uploads, CLIENTS, async ({ ID }, index) => {
    expect(md5(await orthanc.get(`/instances/${ID}/file`))).toBe(digests[index]);
  });
}

test('from the disk into the bucket, killed on the way, and again', async () => {
  const plain = await world.startPlain(name, { StorageDirectory: storage });
  const dicom = Array.from({ length: INSTANCES }, (_, index) =>
    makeDicom({ sopInstanceUid: `1.2.20.${index}`, pixelBytes: 3000 }),
  );
  digests = dicom.map(md5);
  uploads = await inParallel(dicom, CLIENTS, (file) => plain.upload(file));
  await plain.request('PUT', `/studies/${uploads[0]?.ParentStudy}/attachments/1030`, 'a report');
  uuids = await fileNames();
  expect(uuids).toHaveLength(INSTANCES + 1);
  const migrate = ['migrate', '--config', config];

  // The names in the bucket need the types, which the names on the disk don't tell.
  const unknown = await run(...migrate);
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toContain('--orthanc');

  const journal = join(world.folder, 'journal.txt');
  const all = [...migrate, '--orthanc', plain.url, '--journal', journal];
  expect(await runJson(...all, '--dry-run')).toMatchObject({
    code: 0,
    result: { copied: INSTANCES + 1, failed: 0, dryRun: true },
  });
  expect(await world.objects()).toEqual([]);

  world.proxy.setFault(() => ({ kind: 'delay', ms: 100 }));
  const { child, result } = cli.start([...all, '--json']);
  while ((await world.objects()).length < INSTANCES / 3) await sleep(10);
  child.kill('SIGKILL');
  await result;
  world.proxy.setFault(undefined);
  const halfway = (await world.objects()).length;
  expect(halfway).toBeLessThan(INSTANCES);

  const rest = await runJson(...all);
  expect(rest).toMatchObject({ code: 0, result: { seen: INSTANCES + 1, failed: 0 } });
  const { copied, alreadyThere, skipped } = rest.result as Record<string, number>;
  expect((copied ?? 0) + (alreadyThere ?? 0) + (skipped ?? 0)).toBe(INSTANCES + 1);
  // What was under way when it was killed at most is copied twice.
  expect(copied).toBeLessThanOrEqual(INSTANCES + 1 - halfway + 16);
  expect(await uuidsInBucket()).toEqual(uuids);
  expect(await fileNames()).toEqual(uuids);

  world.proxy.forget();
  expect(await runJson(...all)).toMatchObject({
    code: 0,
    result: { copied: 0, skipped: INSTANCES + 1 },
  });
  // Nothing but the check at start and the listings.
  expect(world.proxy.requests().filter(({ key }) => /\.(dcm|unk)$/.test(key)).length).toBe(0);
  await plain.stop();
});

/** Only by the report of a dry run. */
async function expectOrphansDeleted(verify: readonly string[], data: string): Promise<void> {
  const keys = ['1', '2'].map((digit) => `${digit}0000000-0000-4000-8000-000000000000.dcm`);
  const before = await world.objects();
  const longAgo = new Date(Date.now() - 48 * 3_600_000);
  for (const key of keys) {
    await writeFile(join(data, key), 'nobody knows me');
    await utimes(join(data, key), longAgo, longAgo);
  }
  const report = (file: string) => ['--delete-orphans', join(world.folder, file)];
  const found = { orphans: 2, deletedOrphans: 0 };
  expect(await runJson(...verify, ...report('first.txt'), '--confirm')).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('no dry run') as string,
    result: found,
  });
  expect(await runJson(...verify, ...report('orphans.txt'))).toMatchObject({
    code: 1,
    result: found,
  });
  expect(await world.objects()).toEqual([...before, ...keys].sort());
  expect(
    await runJson(...verify, ...report('orphans.txt'), '--confirm', '--max', '1'),
  ).toMatchObject({ code: 1, result: { orphans: 2, deletedOrphans: 1 } });
  expect(await runJson(...verify, ...report('orphans.txt'), '--confirm')).toMatchObject({
    code: 0,
    result: { orphans: 1, deletedOrphans: 1 },
  });
  expect(await world.objects()).toEqual(before);
  expect((await run(...verify, '--confirm')).code).toBe(2);
}

test('the bucket alone serves Orthanc, and agrees with its index', async () => {
  await rename(storage, `${storage}.away`);
  const orthanc = await world.start(name, { configuration: { MaximumStorageCacheSize: 0 } });
  await expectAll(orthanc);
  const verify = ['verify', '--config', config, '--orthanc', orthanc.url];
  expect(await runJson(...verify, '--deep')).toMatchObject({
    code: 0,
    result: { indexed: INSTANCES + 1, objects: INSTANCES + 1, missing: 0, orphans: 0, corrupt: 0 },
  });

  const located = await run(
    'locate',
    'instances',
    uploads[0]?.ID ?? '',
    '--config',
    config,
    '--orthanc',
    orthanc.url,
  );
  expect(located.code).toBe(0);
  expect(located.stdout.toString()).toMatch(
    /^instances [0-9a-f-]{44} dicom: object-storage [0-9a-f-]{36}\.dcm/,
  );

  // Without the plugin's knowledge.
  const [first = '', second = ''] = await world.objects();
  const data = join(world.folder, 'store', 'data', 'e2e-bucket');
  await expectOrphansDeleted(verify, data);
  await rename(join(data, first), join(data, '00000000-0000-4000-8000-000000000000.dcm'));
  await writeFile(join(data, second), 'other bytes');
  const bad = await runJson(...verify, '--min-age-hours', '1');
  expect(bad).toMatchObject({ code: 1, result: { missing: 1, wrongSize: 1 } });
  expect(bad.lines).toContainEqual(expect.stringContaining(`"key":"${first}"`));
  await rename(join(data, '00000000-0000-4000-8000-000000000000.dcm'), join(data, first));
  await orthanc.stop();
  await rename(`${storage}.away`, storage);
  expect(
    await runJson(
      'migrate',
      '--config',
      await writeConfig('again', world.section),
      '--orthanc',
      'http://127.0.0.1:1',
    ),
  ).toMatchObject({ code: 1 });
});

test('out of the bucket again, and from one bucket to another', async () => {
  // In the place of the damaged one.
  const legacy = await writeConfig('legacy', {
    ...world.section,
    StorageStructure: 'legacy',
    RootPath: 'copy',
  });
  expect(await runJson('migrate', '--config', legacy)).toMatchObject({
    code: 0,
    result: { copied: INSTANCES + 1 },
  });
  await rename(storage, `${storage}.before`);
  await mkdir(storage);
  expect(await runJson('migrate', '--config', legacy, '--to', 'file-system')).toMatchObject({
    code: 0,
    result: { copied: INSTANCES + 1 },
  });
  expect(await fileNames()).toEqual(uuids);
  const plain = await world.startPlain(name, { StorageDirectory: storage });
  await expectAll(plain);
  await plain.stop();

  const other = await writeConfig('other', {
    ...world.section,
    RootPath: 'other',
    StorageStructure: 'legacy',
  });
  expect(
    await runJson('migrate', '--config', other, '--from-config', legacy, '--bandwidth', '100'),
  ).toMatchObject({
    code: 0,
    result: { copied: INSTANCES + 1 },
  });
  const keys = await world.objects();
  expect(keys.filter((key) => key.startsWith('other/'))).toHaveLength(INSTANCES + 1);
});

test('wrong usage is told, and is exit code 2; no encryption is asked for in vain', async () => {
  expect((await run('migrate')).code).toBe(2);
  expect((await run('migrate', '--config', config, '--parallel', '0')).code).toBe(2);
  expect((await run('verify', '--config', config, '--min-age-hours', '0')).code).toBe(2);
  expect((await run('locate', 'images', 'x', '--config', config)).code).toBe(2);
  const encrypted = await writeConfig('encrypted', {
    ...world.section,
    StorageEncryption: { Enable: true, MasterKey: [1, '/nowhere/key'] },
  });
  const before = await world.objects();
  const refused = await run('migrate', '--config', encrypted, '--orthanc', 'http://127.0.0.1:1');
  expect(refused.code).toBe(1);
  expect(await world.objects()).toEqual(before);
});
