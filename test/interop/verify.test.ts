// SPDX-License-Identifier: GPL-3.0-or-later
// verify as users run it, beside real servers of each provider; Orthanc's index is a made one.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildCli, type Cli } from '../support/cli.ts';
import { createFakeIndex, type FakeAttachment } from '../support/fake-index.ts';
import { PROVIDERS, type StoreServer, startStoreServer } from '../support/store-server.ts';

const INSTANCES = 20;
/** Those, and three of users'. */
const ALL = INSTANCES + 3;
const ORPHAN = '00000000-0000-4000-8000-000000000000.dcm';

const index = createFakeIndex(INSTANCES);
/** Of the plugin in this Orthanc. */
let status: unknown;
/** Told of a request that then gets no answer. */
let onHang: (() => void) | undefined;
let folder: string;
let cli: Cli;
let orthanc: Server;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'verify-'));
  cli = await buildCli(folder);
  orthanc = createServer((request, response) => {
    if (onHang !== undefined) {
      onHang();
      return;
    }
    const answer =
      request.url === '/object-storage/status' ? status : index.api.get(request.url ?? '');
    void Promise.resolve(answer).then((value) => {
      response.statusCode = value === undefined ? 404 : 200;
      response.end(JSON.stringify(value ?? null));
    });
  });
  await new Promise<void>((resolve) => {
    orthanc.listen(0, '127.0.0.1', resolve);
  });
});

afterAll(() => {
  orthanc.close();
  rmSync(folder, { recursive: true });
});

const keyOf = ({ uuid, contentType }: FakeAttachment) =>
  `${uuid}.${contentType === 1 ? 'dcm' : 'unk'}`;

describe.each(PROVIDERS)('%s', (provider) => {
  let server: StoreServer;

  beforeAll(async () => {
    server = await startStoreServer(provider, join(folder, provider));
    for (const attachment of index.attachments) {
      await server.objects.write(keyOf(attachment), attachment.bytes);
    }
    const section = server.section(`http://127.0.0.1:${server.port}`);
    const configuration = { StorageLoaderThreadsCount: 20, [server.sectionName]: section };
    writeFileSync(join(folder, `${provider}.json`), JSON.stringify(configuration));
  });

  afterAll(() => server.stop());

  async function verifyRaw(...options: readonly string[]) {
    const url = `http://127.0.0.1:${(orthanc.address() as AddressInfo).port}`;
    const argv = ['verify', '--config', `${provider}.json`, '--orthanc', url, '--json', ...options];
    // While this process is the Orthanc.
    const { code, stdout, stderr } = await cli.start(argv).result;
    return { code, stdout: stdout.toString(), stderr };
  }

  async function verify(...options: readonly string[]) {
    const { code, stdout, stderr } = await verifyRaw(...options);
    const lines = stdout.trimEnd().split('\n');
    const findings = lines.map((line) => JSON.parse(line) as { readonly kind?: string });
    return { code, stderr, counts: findings.pop(), findings };
  }

  test('all is well', async () => {
    expect(await verify('--deep')).toMatchObject({
      code: 0,
      stderr: '',
      counts: { indexed: ALL, objects: ALL, read: ALL, missing: 0, corrupt: 0, unreadable: 0 },
      findings: [],
    });
  });

  test('what is missing, altered, or new', async () => {
    const [lost, altered] = index.attachments;
    if (lost === undefined || altered === undefined) throw new Error('none');
    await server.objects.remove(keyOf(lost));
    await server.objects.write(keyOf(altered), Buffer.from(altered.bytes).fill(0));
    await server.objects.write(ORPHAN, Buffer.from('nobody knows me yet'));
    const found = await verify('--deep', '--delete-orphans', 'orphans.txt');
    expect(found).toMatchObject({
      code: 1,
      counts: { missing: 1, corrupt: 1, orphans: 0, recent: 1, deletedOrphans: 0 },
    });
    expect(found.findings).toEqual([
      { kind: 'missing', uuid: lost.uuid, key: keyOf(lost) },
      {
        kind: 'corrupt',
        store: 'object-storage',
        key: keyOf(altered),
        reason: expect.stringContaining('MD5') as string,
      },
    ]);
    expect(await server.objects.list('')).toContain(ORPHAN);
    const report = readFileSync(join(folder, 'orphans.txt'), 'utf8');
    expect(report).toContain(`"bucket":"${provider} `);
    for (const secret of server.secrets) expect(report).not.toContain(secret);
    rmSync(join(folder, 'orphans.txt'));
  });

  test('the Orthanc of another bucket is refused, before its index is believed', async () => {
    status = { provider, bucket: 'another' };
    const { code, stdout, stderr } = await verifyRaw('--delete-orphans', 'orphans.txt');
    status = undefined;
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`stores in ${provider} another, not in ${provider} `);
    expect(existsSync(join(folder, 'orphans.txt'))).toBe(false);
  });

  test('Ctrl-C ends it, also while Orthanc gives no answer', async () => {
    const asked = new Promise<void>((resolve) => {
      onHang = resolve;
    });
    const url = `http://127.0.0.1:${(orthanc.address() as AddressInfo).port}`;
    const argv = ['verify', '--config', `${provider}.json`, '--orthanc', url];
    const { child, result } = cli.start(argv);
    await asked;
    child.kill('SIGINT');
    const startedMs = performance.now();
    const { code, stderr } = await result;
    onHang = undefined;
    expect([code, stderr]).toEqual([130, 'ended by SIGINT; run it again to go on\n']);
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  test('a report that could not be written is refused before the work', async () => {
    const argv = ['verify', '--config', `${provider}.json`, '--delete-orphans', 'nowhere/orphans'];
    const { code, stderr } = await cli.start(argv).result;
    expect([code, stderr]).toEqual([1, 'nowhere/orphans: cannot be written (ENOENT)\n']);
  });

  test('a store that is away is no bucket without objects', async () => {
    await server.stop();
    const { code, stdout, stderr } = await cli.start(['verify', '--config', `${provider}.json`])
      .result;
    expect([code, stdout.toString()]).toEqual([1, '']);
    expect(stderr).toMatch(/Endpoint|ConnectionString/);
  });
});
