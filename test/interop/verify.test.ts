// SPDX-License-Identifier: GPL-3.0-or-later
// verify as users run it, beside real servers of each provider; Orthanc's index is a made one.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildCli, type Cli } from '../support/cli.ts';
import { makeDicom } from '../support/dicom.ts';
import { createFakeIndex, type FakeAttachment } from '../support/fake-index.ts';
import { PROVIDERS, type StoreServer, startStoreServer } from '../support/store-server.ts';

const INSTANCES = 20;
/** Those, and three of users'. */
const ALL = INSTANCES + 3;
const ORPHAN = '00000000-0000-4000-8000-000000000000.dcm';

const ID = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{8}){4}$/) as string;

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

/** Of what an instance has. */
const ownerOf = ({ resource }: FakeAttachment) => ({
  instance: resource.id,
  series: index.series.id,
  study: index.study.id,
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
    const configuration = {
      StorageLoaderThreadsCount: 20,
      StorageDirectory: join(folder, 'storage'),
      [server.sectionName]: section,
    };
    writeFileSync(join(folder, `${provider}.json`), JSON.stringify(configuration));
  });

  afterAll(() => server.stop());

  async function verifyRaw(...options: readonly string[]) {
    const url = `http://127.0.0.1:${(orthanc.address() as AddressInfo).port}`;
    const argv = ['verify', '--config', `${provider}.json`, '--orthanc', url, ...options];
    // While this process is the Orthanc.
    const { code, stdout, stderr } = await cli.start(argv).result;
    return { code, stdout: stdout.toString(), stderr };
  }

  async function verify(...options: readonly string[]) {
    const { code, stdout, stderr } = await verifyRaw('--json', ...options);
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
      { kind: 'missing', uuid: lost.uuid, key: keyOf(lost), ...ownerOf(lost) },
      {
        kind: 'corrupt',
        store: 'object-storage',
        key: keyOf(altered),
        reason: expect.stringContaining('MD5') as string,
        ...ownerOf(altered),
      },
    ]);
    const { instance, series, study } = ownerOf(lost);
    const { code, stdout } = await verifyRaw();
    expect([code, stdout]).toEqual([
      1,
      expect.stringContaining(
        `missing: ${keyOf(lost)} (instance ${instance}, series ${series}, study ${study})\n`,
      ),
    ]);
    expect(await server.objects.list('')).toContain(ORPHAN);
    const report = readFileSync(join(folder, 'orphans.txt'), 'utf8');
    expect(report).toContain(`"bucket":"${provider} `);
    for (const secret of server.secrets) expect(report).not.toContain(secret);
    rmSync(join(folder, 'orphans.txt'));
  });

  test('the Orthanc of another bucket is refused, before its index is believed', async () => {
    status = { provider, bucket: 'another' };
    const { code, stdout, stderr } = await verifyRaw('--json', '--delete-orphans', 'orphans.txt');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(`stores in ${provider} another, not in ${provider} `);
    status = { provider, rootPath: 'staging' };
    const staging = await verifyRaw('--json', '--delete-orphans', 'orphans.txt');
    status = undefined;
    expect([staging.code, staging.stdout]).toEqual([1, '']);
    expect(staging.stderr).toContain('"rootPath":"staging"');
    expect(existsSync(join(folder, 'orphans.txt'))).toBe(false);
  });

  test('an orphan that is looked into is told by ids, and by nothing else', async () => {
    const key = '10000000-0000-4000-8000-000000000000.dcm';
    const made = { sopInstanceUid: '1.2.3.4', patientId: 'MRN-77', patientName: 'Doe^Jane' };
    const file = makeDicom({ ...made, pixelBytes: 2 });
    mkdirSync(join(folder, 'storage', '10', '00'), { recursive: true });
    const path = join(folder, 'storage', '10', '00', key.slice(0, 36));
    writeFileSync(path, file);
    const { findings } = await verify('--disk', '--identify');
    const identified = { isKnown: false, instance: ID, series: ID, study: ID };
    const found = findings.filter(({ kind }) => kind === 'orphan-on-disk');
    expect(found).toMatchObject([{ key: `10/00/${key.slice(0, 36)}`, ...identified }]);
    const { stdout, stderr } = await verifyRaw('--disk', '--identify');
    expect(stdout).toMatch(
      /^orphan on the disk: 10\/00\/[0-9a-f-]{36} \(\d+ bytes, [^)]+\): Orthanc does not have this instance \(instance [0-9a-f-]{44}, series [0-9a-f-]{44}, study [0-9a-f-]{44}\)$/m,
    );
    for (const text of ['MRN', 'Doe', 'Jane', '1.2.3.4', ...server.secrets]) {
      expect(stdout + stderr + JSON.stringify(findings)).not.toContain(text);
    }
    rmSync(join(folder, 'storage'), { recursive: true });
  });

  test('files on the disk that nobody reads or removes are told of, and stay', async () => {
    const storage = join(folder, 'storage');
    const [only, copy] = index.attachments;
    if (only === undefined || copy === undefined) throw new Error('none');
    mkdirSync(storage);
    writeFileSync(join(storage, 'index'), 'SQLite');
    const paths = [only.uuid, copy.uuid, ORPHAN.slice(0, 36)].map((uuid) => {
      const key = `${uuid.slice(0, 2)}/${uuid.slice(2, 4)}/${uuid}`;
      mkdirSync(dirname(join(storage, key)), { recursive: true });
      writeFileSync(join(storage, key), 'x');
      return key;
    });
    // The bucket has lost it in a test above.
    writeFileSync(join(storage, paths[0] ?? ''), only.bytes);
    const { code, stdout, stderr } = await verifyRaw('--disk');
    expect([code, stderr]).toEqual([1, '']);
    expect(stdout).toContain(`copy on the disk: ${paths[1]} (1 bytes)\n`);
    expect(stdout).toContain(`only on the disk: ${paths[0]} (instance ${only.resource.id}, `);
    expect(stdout).toContain(`orphan on the disk: ${paths[2]} (1 bytes, `);
    expect(stdout).toContain(
      '3 attachments on the disk: 1 that the index does not know, 1 that the bucket has as well, 1 that only the disk has; while HybridMode is "Disabled", Orthanc reads none of them, and a DELETE leaves them there\n',
    );
    expect(stdout).not.toContain('missing: ');
    const { counts } = await verify('--disk');
    expect(counts).toMatchObject({ files: 3, orphansOnDisk: 1, copiesOnDisk: 1, onlyOnDisk: 1 });
    for (const path of ['index', ...paths]) expect(existsSync(join(storage, path))).toBe(true);
    rmSync(storage, { recursive: true });
    const without = await verifyRaw('--disk');
    expect([without.code, without.stdout]).toEqual([1, '']);
    expect(without.stderr).toContain(`StorageDirectory ("${storage}"): there is no such folder`);
  });

  test('an empty index beside a full bucket is an alarm, by which nothing is deleted', async () => {
    for (const { uuid } of index.attachments) index.forget(uuid);
    const objects = (await server.objects.list('')).length;
    const { code, counts } = await verify();
    expect([code, counts]).toMatchObject([
      5,
      { indexed: 0, recent: objects, orphans: 0, alarm: { known: 0, unknown: objects } },
    ]);
    const words = await verifyRaw();
    expect(words.code).toBe(5);
    expect(words.stdout).toMatch(
      new RegExp(`\nALARM: the index of this Orthanc knows 0 of the ${objects} attachments that`),
    );
    const refused = await verifyRaw('--delete-orphans', 'orphans.txt');
    expect([refused.code, refused.stdout]).toEqual([5, '']);
    expect(refused.stderr).toContain(`knows none of the ${objects} objects in the bucket`);
    expect(existsSync(join(folder, 'orphans.txt'))).toBe(false);
    expect(await server.objects.list('')).toHaveLength(objects);
    for (const { uuid } of index.attachments) index.remember(uuid);
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
