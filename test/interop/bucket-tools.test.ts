// SPDX-License-Identifier: GPL-3.0-or-later
// The commands that work on a bucket, as users run them, beside real servers.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Keyring } from '../../src/encryption/keyring.ts';
import { expectSameBytes, makeBytes } from '../support/bodies.ts';
import { buildCli, type Cli } from '../support/cli.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';
import { PROVIDERS, type StoreServer, startStoreServer } from '../support/store-server.ts';
import { encrypt, sha256, testKey, testKeyring } from '../unit/encryption/support.ts';

const CONTENT = makeBytes(150_000);
const OLD = testKeyring(1, 1);
const uuidOf = (number: number) =>
  `e1f2a3b4-0000-4000-8000-${number.toString(16).padStart(12, '0')}`;

let folder: string;
let cli: Cli;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'bucket-tools-'));
  cli = await buildCli(folder);
  for (const id of [1, 2]) {
    const text = sha256(`test-key-${id}`).toString('base64');
    writeFileSync(join(folder, `${id}.key`), text, { mode: 0o600 });
  }
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** @returns its path */
function configure(
  server: StoreServer,
  changes: object = {},
  endpoint = `http://127.0.0.1:${server.port}`,
): string {
  const path = join(folder, `${randomBytes(4).toString('hex')}.json`);
  const section = {
    ...server.section(endpoint),
    StorageEncryption: {
      MasterKey: [2, join(folder, '2.key')],
      PreviousMasterKeys: [[1, join(folder, '1.key')]],
    },
    ...changes,
  };
  const StorageDirectory = join(folder, 'storage');
  const configuration = { StorageDirectory, [server.sectionName]: section };
  writeFileSync(path, JSON.stringify(configuration));
  return path;
}

/** The result of a command that is expected to succeed without a word on standard error. */
function runQuietly(...argv: readonly string[]): Buffer {
  const { code, stdout, stderr } = cli.run(argv);
  expect(stderr).toBe('');
  expect(code).toBe(0);
  return stdout;
}

const rekeyOf = (config: string, ...options: readonly string[]) =>
  JSON.parse(runQuietly('rekey', '--config', config, '--json', ...options).toString()) as object;

describe.each(PROVIDERS)('%s', (provider) => {
  let server: StoreServer;
  let config: string;

  beforeAll(async () => {
    server = await startStoreServer(provider, join(folder, provider));
    config = configure(server);
  });
  afterAll(() => server.stop());

  test('check tells that all is well, and all that there is to warn of', () => {
    const key = join(folder, '1.key');
    const usual = cli.run(['check', '--config', config]);
    expect(usual.stdout.toString()).toContain('are fine');
    expect(usual.stderr).toBe('');
    chmodSync(key, 0o644);
    const { code, stdout, stderr } = cli.run(['check', '--config', config, '--json']);
    chmodSync(key, 0o600);
    expect(code).toBe(0);
    expect(stderr).toContain(`the key file "${key}" is open to others`);
    expect(JSON.parse(stdout.toString())).toMatchObject({
      section: server.sectionName,
      encryption: { format: 'A1', masterKeyId: 2 },
    });
  });

  test('check tells of objects whose keys are not the configured ones', async () => {
    const RootPath = 'keys';
    const another = new Keyring([{ id: 2, key: testKey(8) }], 2);
    for (const [number, format, keyring] of [
      [1, 'A2', testKeyring(9, 9)],
      [2, 'A1', another],
      [3, 'A2', another],
      [4, 'A1', OLD],
      [5, 'A2', OLD],
    ] as const) {
      const uuid = uuidOf(number);
      const object = await encrypt(format, CONTENT, { keyring, uuid });
      await server.objects.write(`${RootPath}/${uuid}.dcm.enc`, object);
    }
    await server.objects.write(`${RootPath}/${uuidOf(6)}.dcm`, CONTENT);
    await server.objects.write(`${RootPath}/notes.txt`, Buffer.from('A2 of somebody else'));
    const before = await server.objects.list('');
    const check = (changes: object, ...options: readonly string[]) => {
      const path = configure(server, { RootPath, ...changes });
      const { code, stdout, stderr } = cli.run(['check', '--config', path, ...options]);
      return { code, stdout: stdout.toString(), stderr };
    };

    const { code, stdout, stderr } = check({});
    expect(code).toBe(0);
    expect(stdout).toMatch(/: Orthanc would start, but could not read all .*; 1 of 6 objects/);
    expect(stdout).not.toContain('fine');
    const key = (number: number) => `keys/${uuidOf(number)}\\.dcm\\.enc`;
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toEqual([
      expect.stringMatching(
        `: 1 of 6 objects that were looked at, such as ${key(1)}, cannot be read: they are encrypted with master key 9, which is not configured; add it to PreviousMasterKeys$`,
      ),
      expect.stringMatching(
        `: 2 of 6 objects that were looked at, such as ${key(2)}, cannot be read: they name master key 2, and the key that is configured with this id does not decrypt them`,
      ),
    ]);
    expect(stderr).not.toContain('notes.txt');

    const json = check({}, '--json');
    const { warnings, objects } = JSON.parse(json.stdout) as {
      warnings: string[];
      objects: object;
    };
    expect(objects).toEqual({ lookedAt: 6, plain: 1 });
    expect(warnings.map((warning) => `warning: ${warning}`)).toEqual(lines);

    const keyless = check({ StorageEncryption: undefined });
    expect(keyless.code).toBe(0);
    for (const id of [1, 2, 9]) {
      expect(keyless.stderr).toContain(`encrypted with master key ${id}, and no key is configured`);
    }
    expect(await server.objects.list('')).toEqual(before);
    for (const path of before) await server.objects.remove(path);
    const clean = check({});
    expect([clean.stdout, clean.stderr]).toEqual([expect.stringMatching(/ are fine\n$/), '']);
  });

  test('encrypt, inspect and decrypt objects in the bucket', () => {
    const key = `${uuidOf(0)}.dcm.enc`;
    writeFileSync(join(folder, 'in.dcm'), CONTENT);
    const options = ['--config', config, '--format', 'A2'];
    runQuietly('encrypt', ...options, 'in.dcm', `bucket:${key}`);
    expect(cli.run(['encrypt', ...options, 'in.dcm', `bucket:${key}`]).stderr).toContain('--force');
    const inspected = runQuietly('inspect', '--config', config, '--json', key).toString();
    expect(JSON.parse(inspected)).toMatchObject({ encryption: { format: 'A2', keyId: 2 } });
    expectSameBytes(runQuietly('decrypt', '--config', config, key, '-'), CONTENT);
    const missing = cli.run(['decrypt', '--config', config, `${uuidOf(9)}.dcm.enc`, 'no.dcm']);
    expect(missing.code).toBe(1);
    expect(existsSync(join(folder, 'no.dcm'))).toBe(false);
  });

  test('inspect of a store that is away fails soon, and says what to correct', () => {
    const away = configure(server, {}, 'http://127.0.0.1:9');
    const startedMs = performance.now();
    const { code, stdout } = cli.run(['inspect', '--config', away, `${uuidOf(0)}.dcm.enc`]);
    expect([code, performance.now() - startedMs < 10_000]).toEqual([1, true]);
    expect(stdout.toString()).toMatch(/correct \w+\.(Endpoint|ConnectionString)/);
  });

  test('rekey, with a server that heeds versions, leaves nothing beside', async () => {
    const plain = `${uuidOf(3)}.dcm`;
    for (const number of [1, 2]) {
      const uuid = uuidOf(number);
      const object = await encrypt(number === 1 ? 'A1' : 'A2', CONTENT, { keyring: OLD, uuid });
      await server.objects.write(`${uuid}.dcm.enc`, object);
    }
    await server.objects.write(plain, CONTENT);
    const keys = await server.objects.list('');
    expect(rekeyOf(config, '--dry-run')).toMatchObject({ dryRun: true, rekeyed: 2, foreign: 1 });
    expect(rekeyOf(config)).toMatchObject({ rekeyed: 2, foreign: 1, kept: 1, failed: 0 });
    expect(rekeyOf(config, '--to', 'A2')).toMatchObject({ rekeyed: 1, kept: 2 });
    expect(await server.objects.list('')).toEqual(keys);
    for (const number of [1, 2]) {
      const key = `${uuidOf(number)}.dcm.enc`;
      expect((await server.objects.read(key)).toString('latin1', 0, 3)).toBe('A2\u0002');
      expectSameBytes(runQuietly('decrypt', '--config', config, `bucket:${key}`, '-'), CONTENT);
    }
    expectSameBytes(await server.objects.read(plain), CONTENT);
  });
});

describe('a rekey that is ended', () => {
  const OBJECTS = 60;
  let server: StoreServer;
  beforeAll(async () => {
    server = await startStoreServer('s3', join(folder, 'ended'));
  });
  afterAll(() => server.stop());

  test.each([
    ['SIGINT', 130],
    ['SIGKILL', null],
  ] as const)('by %s goes on where it was', async (signal, code) => {
    const RootPath = signal;
    for (let number = 0; number < OBJECTS; number += 1) {
      const uuid = uuidOf(number);
      const object = await encrypt('A1', CONTENT, { keyring: OLD, uuid });
      await server.objects.write(`${RootPath}/${uuid}.dcm.enc`, object);
    }
    const proxy = await startStoreProxy(server.port, server.keyOf);
    proxy.setFault(({ method }) => (method === 'PUT' ? { kind: 'delay', ms: 50 } : undefined));
    const state = join(folder, `${signal}.state`);
    const slow = configure(server, { RootPath }, proxy.endpoint);
    const options = ['--config', slow, '--state', state, '--concurrency', '2', '--json'];
    const { child, result } = cli.start(['rekey', ...options]);
    while ((proxy.counts()['PUT'] ?? 0) < OBJECTS / 2) await sleep(20);
    child.kill(signal);
    expect((await result).code).toBe(code);
    // A kill leaves the state of some moment before, or none: then the headers tell.
    if (signal === 'SIGINT') expect(existsSync(state)).toBe(true);

    proxy.setFault(undefined);
    proxy.forget();
    const again = await cli.start(['rekey', ...options]).result;
    expect(again).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(again.stdout.toString())).toMatchObject({ failed: 0, gone: 0 });
    const puts = proxy
      .requests()
      .filter(({ method, key }) => method === 'PUT' && !/probe/.test(key));
    expect(puts.length).toBeGreaterThan(0);
    expect(puts.length).toBeLessThan((OBJECTS * 3) / 4);
    expect(existsSync(state)).toBe(false);
    await proxy.close();
    const keys = await server.objects.list(`${RootPath}/${uuidOf(0).slice(0, 8)}`);
    expect(keys).toHaveLength(OBJECTS);
    for (const key of keys) {
      const object = await server.objects.read(key);
      expect(object.toString('latin1', 0, 3)).toBe('A1\u0002');
      expect(object).toHaveLength(CONTENT.length + 86);
    }
  });
});

describe('rekey', () => {
  const uuid = uuidOf(1);
  let server: StoreServer;
  let proxy: StoreProxy;
  beforeAll(async () => {
    server = await startStoreServer('s3', join(folder, 'rekeyed'));
    proxy = await startStoreProxy(server.port, server.keyOf);
  });
  afterAll(async () => {
    await proxy.close();
    await server.stop();
  });

  test('does not go on from the state of another bucket', async () => {
    await server.objects.write(`${uuid}.dcm.enc`, Buffer.from('not encrypted'));
    const state = join(folder, 'of-one-bucket.state');
    const run = (config: string) =>
      cli.start(['rekey', '--config', config, '--state', state]).result;
    expect(await run(configure(server))).toMatchObject({ code: 1 });
    expect(existsSync(state)).toBe(true);
    // What is at another address may be another bucket.
    const { code, stdout, stderr } = await run(configure(server, {}, proxy.endpoint));
    expect([code, stdout.toString()]).toEqual([1, '']);
    expect(stderr).toMatch(/of-one-bucket\.state: is the state of another run/);
    await server.objects.remove(`${uuid}.dcm.enc`);
  });

  test('counts what the C++ plugins have left on the disk under earlier keys', async () => {
    const parent = join(folder, 'storage', uuid.slice(0, 2), uuid.slice(2, 4));
    mkdirSync(parent, { recursive: true });
    writeFileSync(join(parent, uuid), await encrypt('A1', CONTENT, { keyring: OLD, uuid }));
    const config = configure(server, { HybridMode: 'WriteToObjectStorage' });
    const { code, stdout } = await cli.start(['rekey', '--config', config]).result;
    expect([code, stdout.toString()]).toEqual([
      1,
      expect.stringMatching(/^ +1 {2}files in StorageDirectory .* under earlier keys: move them/m),
    ]);
    writeFileSync(join(parent, uuid), CONTENT);
    expect(await cli.start(['rekey', '--config', config]).result).toMatchObject({ code: 0 });
  });
});

test('legacy structure to A2: refused without Orthanc, by its index with it', async () => {
  const server = await startStoreServer('s3', join(folder, 'legacy'));
  const uuid = uuidOf(1);
  const index = createServer((request, response) => {
    const attachment = { Uuid: uuid, ContentType: 1, CompressedSize: CONTENT.length };
    const isInstances = request.url?.startsWith('/instances') === true;
    const page = isInstances ? [{ ID: 'one', Attachments: [attachment] }] : [];
    response.end(JSON.stringify(page));
  });
  await once(index.listen(0, '127.0.0.1'), 'listening');
  try {
    const key = `e1/f2/${uuid}`;
    await server.objects.write(key, await encrypt('A1', CONTENT, { keyring: OLD, uuid }));
    const config = configure(server, { StorageStructure: 'legacy' });
    const refused = cli.run(['rekey', '--config', config, '--to', 'A2']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/AwsS3Storage\.StorageStructure: .*--orthanc/);

    const { port } = index.address() as AddressInfo;
    const orthanc = ['--orthanc', `http://127.0.0.1:${port}`];
    const argv = ['rekey', '--config', config, '--to', 'A2', ...orthanc];
    expect(await cli.start(argv).result).toMatchObject({ code: 0, stderr: '' });
    expect((await server.objects.read(key)).toString('latin1', 0, 3)).toBe('A2\u0002');
    const decrypt = ['decrypt', '--config', config, '--type', 'dicom', `bucket:${key}`, '-'];
    expectSameBytes(runQuietly(...decrypt), CONTENT);
  } finally {
    index.close();
    await server.stop();
  }
});

describe('a content that is an encrypted object itself', () => {
  const uuid = uuidOf(1);
  let server: StoreServer;
  let stolen: Buffer;
  beforeAll(async () => {
    server = await startStoreServer('s3', join(folder, 'lookalikes'));
    stolen = await encrypt('A1', CONTENT, { keyring: OLD, uuid: uuidOf(7) });
  });
  afterAll(() => server.stop());

  test('legacy structure: decrypted once by decrypt, also into the bucket, and never encrypted twice', async () => {
    const key = `e1/f2/${uuid}`;
    await server.objects.write(key, await encrypt('A1', stolen, { keyring: OLD, uuid }));
    const config = ['--config', configure(server, { StorageStructure: 'legacy' })];
    const read = () => runQuietly('decrypt', ...config, `bucket:${key}`, '-');
    expectSameBytes(read(), stolen);
    runQuietly('decrypt', ...config, '--force', `bucket:${key}`, `bucket:${key}`);
    expect((await server.objects.read(key)).toString('latin1', 0, 3)).toBe('A1\u0002');
    expectSameBytes(read(), stolen);
    const again = cli.run(['encrypt', ...config, '--force', `bucket:${key}`, `bucket:${key}`]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain(`${key}: begins as an encrypted object`);
    expectSameBytes(read(), stolen);
    await server.objects.write(key, CONTENT);
    runQuietly('encrypt', ...config, '--force', `bucket:${key}`, `bucket:${key}`);
    expectSameBytes(read(), CONTENT);
    await server.objects.remove(key);
  });

  test('migrate --to file-system writes it as it is for Orthanc alone, encrypted for the plugin, which gives it back', async () => {
    await server.objects.write(
      `r/${uuid}.unk.enc`,
      await encrypt('A1', stolen, { keyring: OLD, uuid }),
    );
    const storage = join(folder, 'storage');
    const migrate = (changes: object, ...to: readonly string[]) => {
      const config = configure(server, { RootPath: 'r', ...changes });
      return JSON.parse(
        runQuietly('migrate', '--config', config, '--json', ...to).toString(),
      ) as object;
    };
    const path = join(storage, 'e1', 'f2', uuid);
    for (const HybridMode of ['Disabled', 'WriteToFileSystem']) {
      rmSync(storage, { recursive: true, force: true });
      mkdirSync(storage);
      const toFiles = ['--to', 'file-system'];
      expect(migrate({ HybridMode }, ...toFiles)).toMatchObject({ copied: 1, failed: 0 });
      expect(migrate({ HybridMode }, ...toFiles)).toMatchObject({ copied: 0, alreadyThere: 1 });
      const file = readFileSync(path);
      if (HybridMode === 'Disabled') expectSameBytes(file, stolen);
      else expect(file).toHaveLength(stolen.length + 86);
    }
    const changes = {
      StorageStructure: 'legacy',
      RootPath: 'back',
      StorageEncryption: {
        Enable: false,
        PreviousMasterKeys: [
          [1, join(folder, '1.key')],
          [2, join(folder, '2.key')],
        ],
      },
    };
    expect(migrate(changes)).toMatchObject({ copied: 1, failed: 0 });
    const config = configure(server, changes);
    const key = `bucket:back/e1/f2/${uuid}`;
    expectSameBytes(runQuietly('decrypt', '--config', config, key, '-'), stolen);
    // The last step of the way back.
    const toFiles = ['--to', 'file-system'];
    expect(migrate({}, ...toFiles)).toMatchObject({ copied: 1, differs: 0, failed: 0 });
    expectSameBytes(readFileSync(path), stolen);
  });
});
