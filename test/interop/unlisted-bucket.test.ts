// SPDX-License-Identifier: GPL-3.0-or-later
// The commands that go through a bucket, where S3 denies what is not there instead of saying so.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildCli, type Cli } from '../support/cli.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';
import { type StoreServer, startStoreServer } from '../support/store-server.ts';

const DENIED = '<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>';

let folder: string;
let cli: Cli;
let server: StoreServer;
let proxy: StoreProxy;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'unlisted-'));
  cli = await buildCli(folder);
  server = await startStoreServer('s3', join(folder, 's3'));
  proxy = await startStoreProxy(server.port, server.keyOf);
  const written = new Set<string>();
  proxy.setFault(({ method, key }) => {
    if (method === 'PUT') written.add(key);
    const isDenied = method === 'GET' && key !== '' && !written.has(key);
    return isDenied ? { kind: 'answer', status: 403, body: DENIED } : undefined;
  });
  const key = join(folder, 'master.key');
  expect(cli.run(['keygen', key]).code).toBe(0);
  const StorageDirectory = join(folder, 'files');
  mkdirSync(StorageDirectory);
  const section = {
    ...server.section(proxy.endpoint),
    StorageStructure: 'legacy',
    StorageEncryption: { Enable: true, MasterKey: [1, key] },
  };
  const configuration = { StorageDirectory, [server.sectionName]: section };
  writeFileSync(join(folder, 'orthanc.json'), JSON.stringify(configuration));
});

afterAll(async () => {
  await proxy.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

test.each([
  ['rekey'],
  ['migrate', '--to', 'file-system', '--orthanc', 'http://127.0.0.1:9'],
  ['verify', '--orthanc', 'http://127.0.0.1:9'],
])('%s says that files under other names will not be found', async (command, ...options) => {
  const { stderr } = await cli.start([command, '--config', 'orthanc.json', ...options]).result;
  expect(stderr).toMatch(/^warning: .*allow s3:ListBucket$/m);
});
