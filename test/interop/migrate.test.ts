// SPDX-License-Identifier: GPL-3.0-or-later
// migrate from bucket to bucket and out of the last one, by way of all providers, structures and encryptions; its limits and its words.

import { randomBytes } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectSameBytes, makeBytes } from '../support/bodies.ts';
import { buildCli, type Cli } from '../support/cli.ts';
import { type Provider, type StoreServer, startStoreServer } from '../support/store-server.ts';

const MB = 1024 * 1024;
const EXTENSIONS = ['dcm', 'json', 'dcm.head', 'unk'];
const uuidOf = (number: number) =>
  `${number.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;

/** By uuid; of all types, empty, small, and too large for one request. */
const contents = new Map(
  [0, 1, 100, 65_537, 3 * MB, 70 * MB].map(
    (sizeBytes, index) => [uuidOf(index), makeBytes(sizeBytes, index + 1)] as const,
  ),
);

let folder: string;
let cli: Cli;
let servers: Readonly<Record<Provider, StoreServer>>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'migrate-'));
  cli = await buildCli(folder);
  writeFileSync(join(folder, 'key'), randomBytes(32).toString('base64'), { mode: 0o600 });
  const start = (provider: Provider) => startStoreServer(provider, join(folder, provider));
  const [s3, azure, google] = await Promise.all([start('s3'), start('azure'), start('google')]);
  servers = { s3, azure, google };
  for (const [index, [uuid, bytes]] of [...contents].entries()) {
    await s3.objects.write(`source/${uuid}.${EXTENSIONS[index % 4]}`, bytes);
  }
});

afterAll(async () => {
  await Promise.all(Object.values(servers).map((server) => server.stop()));
  rmSync(folder, { recursive: true });
});

/** @returns its path */
function configure(provider: Provider, rootPath: string, changes: object = {}): string {
  const server = servers[provider];
  const path = join(folder, `${rootPath}.json`);
  const endpoint = `http://127.0.0.1:${server.port}`;
  const settings = { ...server.section(endpoint), RootPath: rootPath, ...changes };
  const configuration = {
    StorageLoaderThreadsCount: 20,
    StorageDirectory: join(folder, 'storage'),
    [server.sectionName]: settings,
  };
  writeFileSync(path, JSON.stringify(configuration));
  return path;
}

const sealedBy = (format: string) => ({
  StorageEncryption: { Enable: true, MasterKey: [7, join(folder, 'key')], Format: format },
});

function migrate(config: string, ...options: readonly string[]) {
  const { code, stdout, stderr } = cli.run(['migrate', '--config', config, '--json', ...options]);
  expect(stderr).toBe('');
  return { code, ...(JSON.parse(stdout.toString()) as { readonly skipped: number }) };
}

test('S3 to Azure to Google to S3 to the disk: every content is the same at the end', async () => {
  const all = { code: 0, failed: 0, foreign: 0, copied: contents.size, alreadyThere: 0 };
  const route = [
    configure('s3', 'source'),
    configure('azure', 'sealed', sealedBy('A2')),
    configure('google', 'resealed', sealedBy('A1')),
    configure('s3', 'plain', { StorageStructure: 'legacy' }),
  ];
  for (const [index, config] of route.slice(1).entries()) {
    const from = ['--from-config', route[index] ?? ''];
    expect(migrate(config, ...from, '--dry-run')).toMatchObject({ ...all, dryRun: true });
    expect(migrate(config, ...from)).toMatchObject({ ...all, dryRun: false });
    expect(migrate(config, ...from, '--read-back')).toMatchObject({
      ...all,
      copied: 0,
      alreadyThere: contents.size,
    });
  }
  const sealed = await servers.azure.objects.list('sealed/');
  expect(sealed).toHaveLength(contents.size);
  for (const key of sealed) {
    expect(key).toMatch(/\.enc$/);
    expect((await servers.azure.objects.read(key)).subarray(0, 2).toString()).toBe('A2');
  }
  mkdirSync(join(folder, 'storage'));
  const [last = ''] = route.slice(-1);
  expect(migrate(last, '--to', 'file-system')).toMatchObject(all);
  const files = readdirSync(join(folder, 'storage'), { recursive: true, withFileTypes: true });
  expect(files.filter((entry) => entry.isFile())).toHaveLength(contents.size);
  for (const [uuid, bytes] of contents) {
    const path = join(folder, 'storage', uuid.slice(0, 2), uuid.slice(2, 4), uuid);
    expectSameBytes(readFileSync(path), bytes);
  }
});

test('--bandwidth is kept to', () => {
  const startedMs = performance.now();
  const config = configure('google', 'slowly', { StorageStructure: 'legacy' });
  // All but the last of the contents have to wait for their share.
  const from = ['--from-config', configure('s3', 'source')];
  expect(migrate(config, ...from, '--bandwidth', '1.5')).toMatchObject({ code: 0, failed: 0 });
  expect(performance.now() - startedMs).toBeGreaterThan(2000);
});

test('ended by Ctrl-C, it goes on from its journal', async () => {
  const count = 40;
  const { objects } = servers.s3;
  for (let number = 0; number < count; number += 1) {
    await objects.write(`many/${uuidOf(number)}.dcm`, makeBytes(50_000, number + 1));
  }
  const journal = join(folder, 'journal.txt');
  const from = ['--from-config', configure('s3', 'many'), '--journal', journal];
  const to = configure('azure', 'resumed');
  const { child, result } = cli.start(['migrate', '--config', to, ...from, '--bandwidth', '0.2']);
  const copied = () => servers.azure.objects.list('resumed/');
  while ((await copied()).length < 4) await sleep(50);
  child.kill('SIGINT');
  expect((await result).code).toBe(130);
  const [, ...keys] = readFileSync(journal, 'utf8').trimEnd().split('\n');
  const noted = keys.length;
  expect(noted).toBeGreaterThanOrEqual(3);
  const { skipped, ...rest } = migrate(to, ...from);
  expect(rest).toMatchObject({ code: 0, seen: count, failed: 0 });
  expect(skipped).toBe(noted);
  expect(await copied()).toHaveLength(count);
  // What is done there is not done elsewhere, also under the same names.
  const { code, stderr } = cli.run([
    'migrate',
    '--config',
    configure('google', 'resumed'),
    ...from,
  ]);
  expect([code, stderr]).toEqual([
    1,
    expect.stringMatching(/is the journal of copies into azure /),
  ]);
});

test('what cannot be read is listed, is exit code 1, and the others are copied', async () => {
  const { objects } = servers.azure;
  const key = `sealed/${uuidOf(3)}.unk.enc`;
  const damaged = await objects.read(key);
  damaged.writeUInt8(damaged.readUInt8(damaged.length - 1) ^ 1, damaged.length - 1);
  await objects.write(key, damaged);
  const config = configure('s3', 'partly');
  const from = configure('azure', 'sealed', sealedBy('A2'));
  expect(migrate(config, '--from-config', from)).toMatchObject({
    code: 1,
    copied: contents.size - 1,
    failed: 1,
    failures: [{ key, reason: expect.stringMatching(/^INTEGRITY: /) as string }],
  });
});

test('of many failures the first are shown, and the others counted', async () => {
  const { objects } = servers.s3;
  for (let number = 0; number < 25; number += 1) {
    await objects.write(`keyless/${uuidOf(number)}.dcm.enc`, makeBytes(100));
  }
  const from = ['--from-config', configure('s3', 'keyless')];
  const argv = ['migrate', '--config', configure('azure', 'none'), ...from];
  const { code, stdout, stderr } = cli.run(argv);
  expect([code, stdout.toString()]).toEqual([1, expect.stringMatching(/, 25 failed\n$/)]);
  const lines = stderr.trimEnd().split('\n');
  expect(lines.slice(0, -1)).toEqual(
    Array.from(
      { length: 20 },
      () => expect.stringMatching(/^keyless\/.*: UNKNOWN_KEY: /) as string,
    ),
  );
  expect(lines.at(-1)).toBe('… and 5 more; --json names all');
});

test('a folder that is the bucket itself is not migrated into it', async () => {
  await servers.s3.objects.write('mounted/x', Buffer.alloc(1));
  const inside = readdirSync(join(folder, 's3'), { recursive: true, withFileTypes: true });
  const mounted = inside.find(({ name }) => name === 'mounted');
  const config = configure('s3', 'mounted', { StorageStructure: 'legacy', ...sealedBy('A1') });
  const configuration = JSON.parse(readFileSync(config, 'utf8')) as object;
  const StorageDirectory = join(mounted?.parentPath ?? '', 'mounted');
  writeFileSync(config, JSON.stringify({ ...configuration, StorageDirectory }));
  const { code, stderr } = cli.run(['migrate', '--config', config, '--dry-run']);
  expect([code, stderr]).toEqual([1, expect.stringMatching(/are the same place/)]);
  expect(readdirSync(StorageDirectory)).toEqual(['x']);
});

test('a folder that is not there is no folder without files', () => {
  const path = configure('s3', 'nothing', { StorageStructure: 'legacy' });
  const configuration = JSON.parse(readFileSync(path, 'utf8')) as object;
  const away = { ...configuration, StorageDirectory: join(folder, 'away') };
  writeFileSync(path, JSON.stringify(away));
  const { code, stdout, stderr } = cli.run(['migrate', '--config', path]);
  expect([code, stdout.toString()]).toEqual([1, '']);
  expect(stderr).toMatch(/StorageDirectory/);
});

test.each([
  [['--to', 'tape']],
  [['--parallel', '0']],
  [['--parallel', '0.5']],
  [['--bandwidth', 'fast']],
  [['--to', 'file-system', '--from-config', 'x.json']],
])('%j is wrong usage, exit code 2', (options) => {
  const { code, stderr } = cli.run(['migrate', '--config', configure('s3', 'source'), ...options]);
  expect(code).toBe(2);
  expect(stderr).toContain('error: ');
});

test('from a bucket into itself is refused, before anything is written over', () => {
  const from = configure('s3', 'source', { StorageStructure: 'legacy' });
  const before = readFileSync(from, 'utf8');
  writeFileSync(join(folder, 'same.json'), before);
  const sealed = configure('s3', 'source', { StorageStructure: 'legacy', ...sealedBy('A2') });
  const { code, stdout, stderr } = cli.run([
    'migrate',
    '--config',
    sealed,
    '--from-config',
    join(folder, 'same.json'),
    '--orthanc',
  ]);
  expect([code, stdout.toString()]).toEqual([1, '']);
  expect(stderr).toMatch(/same bucket and RootPath \(s3 .* source\)/);
});
