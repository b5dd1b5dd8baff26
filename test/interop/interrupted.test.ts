// SPDX-License-Identifier: GPL-3.0-or-later
// Ctrl-C in the middle of one file: neither the bucket nor the disk keeps a part of it.

import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { makeBytes } from '../support/bodies.ts';
import { buildCli, type Cli } from '../support/cli.ts';
import { type ProxiedRequest, type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';
import { type StoreServer, startStoreServer } from '../support/store-server.ts';

const MIB = 1024 * 1024;
const UUID = 'e1f2a3b4-0000-4000-8000-000000000000';

let folder: string;
let cli: Cli;
let server: StoreServer;
let proxy: StoreProxy;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'interrupted-'));
  cli = await buildCli(folder);
  server = await startStoreServer('s3', join(folder, 's3'));
  proxy = await startStoreProxy(server.port, server.keyOf);
});

afterEach(() => {
  proxy.setFault(undefined);
  proxy.forget();
});

afterAll(async () => {
  await proxy.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});

/** @returns the path of the configuration */
function configure(name: string, changes: object = {}): string {
  const StorageDirectory = join(folder, name);
  mkdirSync(StorageDirectory);
  const section = {
    ...server.section(proxy.endpoint),
    RootPath: name,
    StorageStructure: 'legacy',
    UseTransferManager: true,
    ...changes,
  };
  const path = join(folder, `${name}.json`);
  writeFileSync(path, JSON.stringify({ StorageDirectory, [server.sectionName]: section }));
  return path;
}

/** Ends the command while such a request gets no answer. */
async function interrupt(argv: readonly string[], isHeld: (request: ProxiedRequest) => boolean) {
  proxy.setFault((request) => (isHeld(request) ? { kind: 'hang' } : undefined));
  const { child, result } = cli.start(argv);
  while (!proxy.requests().some(isHeld)) await sleep(20);
  child.kill('SIGINT');
  return result;
}

const isSecondPart = ({ query }: ProxiedRequest) => query.includes('partNumber=2');

function expectAbortedUpload() {
  expect(proxy.requests().at(-1)).toMatchObject({
    method: 'DELETE',
    query: expect.stringContaining('uploadId=') as string,
  });
}

test('an upload in parts is aborted', async () => {
  const config = configure('up');
  const path = join(folder, 'up', UUID.slice(0, 2), UUID.slice(2, 4));
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, UUID), makeBytes(12 * MIB));
  const { code, stderr } = await interrupt(['migrate', '--config', config], isSecondPart);
  expect([code, stderr]).toEqual([130, 'ended by SIGINT; run it again to go on\n']);
  expectAbortedUpload();
});

test('so is one of encrypt', async () => {
  expect(cli.run(['keygen', 'master.key']).code).toBe(0);
  const config = configure('sealed', {
    StorageEncryption: { MasterKey: [1, join(folder, 'master.key')] },
  });
  writeFileSync(join(folder, 'large.dcm'), makeBytes(12 * MIB));
  const argv = ['encrypt', '--config', config, 'large.dcm', `bucket:sealed/${UUID}.dcm.enc`];
  const { code, stderr } = await interrupt(argv, isSecondPart);
  expect([code, stderr]).toEqual([130, 'ended by SIGINT; run it again to go on\n']);
  expectAbortedUpload();
});

test('a file of the disk is not there, nor a temporary one', async () => {
  const config = configure('down');
  const key = `down/${UUID.slice(0, 2)}/${UUID.slice(2, 4)}/${UUID}`;
  await server.objects.write(key, makeBytes(12 * MIB));
  const argv = ['migrate', '--config', config, '--to', 'file-system'];
  const isLastRead = ({ method, headers, ...request }: ProxiedRequest) =>
    method === 'GET' && request.key === key && headers['range'] === undefined;
  const { code } = await interrupt(argv, isLastRead);
  expect(code).toBe(130);
  expect(readdirSync(join(folder, 'down'), { recursive: true })).toEqual([]);
});
