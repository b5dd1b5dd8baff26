// SPDX-License-Identifier: GPL-3.0-or-later
// Real object stores for development and tests, each a process of its own on 127.0.0.1.

import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { removeTree } from './lib/cache.mjs';
import { UserError } from './lib/log.mjs';
import { freePort } from './lib/ports.mjs';
import { spawnGuarded, stopProcess } from './lib/run.mjs';
import { createServerCommand } from './lib/servers.mjs';

/**
 * @typedef {object} ServiceOptions
 * @property {string} [folder] where it keeps its data; a temporary one, removed by stop(), if absent
 * @property {string} [logFile] its output; server.log beside the data if absent
 * @property {number} [port] a free one if absent
 * @property {Tls} [tls] HTTPS with these files; HTTP if absent
 *
 * @typedef {{ certificateFile: string, keyFile: string }} Tls
 *
 * @typedef {object} Service
 * @property {string} endpoint such as "http://127.0.0.1:41234"
 * @property {number} port
 * @property {string} folder
 * @property {string} logFile
 * @property {import('node:child_process').ChildProcess} process
 * @property {() => Promise<void>} stop ends it; calling it again does nothing
 *
 * @typedef {Service & { accessKey: string, secretKey: string, region: string }} S3Account
 * @typedef {S3Account & { createBucket: (name: string) => Promise<void> }} S3Service
 * @typedef {Service & { createBucket: (name: string) => Promise<void> }} GoogleService
 * @typedef {Service & { accountName: string, accountKey: string, connectionString: string }} AzureService
 *
 * @typedef {object} Invocation
 * @property {readonly string[]} args
 * @property {Record<string, string>} [env]
 * @property {number} [graceMs] as of stopProcess
 */

/** A server that has not answered by then will not. */
const startTimeoutMs = 30_000;
/** Another process may take the free port first. */
const startAttempts = 3;

/** The development account that Azurite documents; it has no secret. */
const azureAccount = {
  accountName: 'devstoreaccount1',
  accountKey:
    'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==',
};

/**
 * Starts versitygw, an S3 server over a folder. A bucket is a folder of it.
 * @param {ServiceOptions & { accessKey?: string, secretKey?: string }} [options]
 * @returns {Promise<S3Service>}
 */
export async function startS3(options = {}) {
  const { accessKey = 'local-access-key', secretKey = 'local-secret-key' } = options;
  const service = await startService('versitygw', options, (port, data) => ({
    args: [
      '--port',
      `127.0.0.1:${port}`,
      ...tlsArgs(options.tls, '--cert', '--key'),
      'posix',
      data,
    ],
    env: { ROOT_ACCESS_KEY: accessKey, ROOT_SECRET_KEY: secretKey },
  }));
  const createBucket = async (/** @type {string} */ name) => {
    await mkdir(join(service.folder, 'data', name), { recursive: true });
  };
  return { ...service, accessKey, secretKey, region: 'us-east-1', createBucket };
}

/** The other S3 servers: how each is told its port, its data and its one user. Their buckets are made by who uses them.
 * @type {Readonly<Record<'seaweedfs' | 'rclone' | 's3proxy' | 'moto',
 *   (port: number, data: string, user: { accessKey: string, secretKey: string }) => Promise<Invocation>>>} */
const otherS3 = {
  seaweedfs: async (port, data, user) => {
    const file = join(data, 'identities.json');
    const identity = { name: 'test', credentials: [user], actions: ['Admin'] };
    await writeFile(file, JSON.stringify({ identities: [identity] }));
    const ports = await Promise.all(
      ['master', 'volume', 'filer'].map(async (part) => `-${part}.port=${await freePort()}`),
    );
    return {
      // biome-ignore format: an option and its value stay together
      args: ['server', '-dir', data, '-ip=127.0.0.1', '-ip.bind=127.0.0.1', ...ports, '-filer', '-s3', `-s3.port=${port}`, `-s3.config=${file}`],
      // Told to end, it goes on for minutes to look for where it might write its log.
      graceMs: 0,
    };
  },
  rclone: async (port, data, { accessKey, secretKey }) => ({
    // biome-ignore format: an option and its value stay together
    args: ['serve', 's3', '--config', '', '--addr', `127.0.0.1:${port}`, '--auth-key', `${accessKey},${secretKey}`, data],
  }),
  s3proxy: async (port, data, { accessKey, secretKey }) => {
    const file = join(dirname(data), 's3proxy.properties');
    const properties = [
      `s3proxy.endpoint=http://127.0.0.1:${port}`,
      's3proxy.authorization=aws-v2-or-v4',
      `s3proxy.identity=${accessKey}`,
      `s3proxy.credential=${secretKey}`,
      'jclouds.provider=filesystem-nio2',
      `jclouds.filesystem.basedir=${data}`,
    ];
    await writeFile(file, properties.join('\n'));
    return { args: ['--properties', file] };
  },
  moto: async (port) => ({ args: ['--host', '127.0.0.1', '--port', `${port}`] }),
};

/**
 * Starts one of the S3 servers that people have and most tests do not need.
 * @param {keyof typeof otherS3} name
 * @returns {Promise<S3Account>}
 */
export async function startOtherS3(name) {
  const user = { accessKey: 'local-access-key', secretKey: 'local-secret-key' };
  const service = await startService(name, {}, (port, data) => otherS3[name](port, data, user));
  return { ...service, ...user, region: 'us-east-1' };
}

/**
 * Starts gcp-storage-emulator, another one that checks no credentials.
 * @returns {Promise<GoogleService>}
 */
export async function startGcpStorageEmulator() {
  const service = await startService('gcp-storage-emulator', {}, (port) => ({
    args: ['start', '--host=127.0.0.1', `--port=${port}`, '--in-memory'],
  }));
  return { ...service, createBucket: (name) => createGoogleBucket(service.endpoint, name) };
}

/**
 * Starts fake-gcs-server, which checks no credentials.
 * @param {ServiceOptions} [options]
 * @returns {Promise<GoogleService>}
 */
export async function startGoogle(options = {}) {
  const service = await startService('fake-gcs-server', options, (port, data) => ({
    // biome-ignore format: an option and its value stay together
    args: [
      '-scheme', options.tls === undefined ? 'http' : 'https', '-host', '127.0.0.1', '-port', `${port}`, '-public-host', `127.0.0.1:${port}`,
      '-backend', 'filesystem', '-filesystem-root', data,
      ...tlsArgs(options.tls, '-cert-location', '-private-key-location'),
    ],
  }));
  return { ...service, createBucket: (name) => createGoogleBucket(service.endpoint, name) };
}

/** @param {string} endpoint @param {string} name */
async function createGoogleBucket(endpoint, name) {
  const url = `${endpoint}/storage/v1/b?project=local`;
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ name }) });
  if (!response.ok && response.status !== 409) {
    throw new Error(`creating the bucket ${name}: ${response.status} ${await response.text()}`);
  }
}

/**
 * Starts Azurite's blob service. Containers are made by who uses them.
 * @param {ServiceOptions} [options]
 * @returns {Promise<AzureService>}
 */
export async function startAzure(options = {}) {
  const service = await startService('azurite', options, (port, data) => ({
    // biome-ignore format: an option and its value stay together
    args: [
      '--silent', '--skipApiVersionCheck', '--disableTelemetry',
      '--location', data, '--blobHost', '127.0.0.1', '--blobPort', `${port}`,
      ...tlsArgs(options.tls, '--cert', '--key'),
    ],
  }));
  const { accountName, accountKey } = azureAccount;
  const connectionString =
    `DefaultEndpointsProtocol=http;AccountName=${accountName};AccountKey=${accountKey};` +
    `BlobEndpoint=${service.endpoint}/${accountName};`;
  return { ...service, accountName, accountKey, connectionString };
}

/** @param {Tls | undefined} tls @param {string} certificate @param {string} key */
function tlsArgs(tls, certificate, key) {
  return tls === undefined ? [] : [certificate, tls.certificateFile, key, tls.keyFile];
}

/**
 * @param {import('./lib/servers.mjs').ServerName} name
 * @param {ServiceOptions} options
 * @param {(port: number, data: string) => Invocation | Promise<Invocation>} configure
 * @returns {Promise<Service>}
 */
async function startService(name, options, configure) {
  const createCommand = await createServerCommand(name);
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), `${name}-`)));
  const data = join(folder, 'data');
  await mkdir(data, { recursive: true });
  const logFile = options.logFile ?? join(folder, 'server.log');
  const removeFolder = options.folder === undefined ? () => removeTree(folder) : async () => {};

  for (let attempt = 1; ; attempt += 1) {
    const port = options.port ?? (await freePort());
    const { args, env = {}, graceMs } = await configure(port, data);
    const child = await spawnLogged(createCommand(args, env, folder), logFile);
    const endpoint = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
    const stop = async () => {
      await stopProcess(child, graceMs);
      await removeFolder();
    };
    const outcome = await waitUntilReady(endpoint, child);
    if (outcome === 'ready') return { endpoint, port, folder, logFile, process: child, stop };
    await stopProcess(child);
    if (outcome === 'ended' && options.port === undefined && attempt < startAttempts) continue;
    const log = (await readFile(logFile, 'utf8')).split('\n').slice(-20).join('\n');
    await removeFolder();
    throw new UserError(`${name} did not start (${outcome}); the end of its log:\n${log}`);
  }
}

/**
 * @param {{ argv: readonly string[], env: Record<string, string>, deathSignal: 'KILL' | 'TERM' }} command
 * @param {string} logFile
 */
async function spawnLogged({ argv, env, deathSignal }, logFile) {
  const log = createWriteStream(logFile, { flags: 'a' });
  await new Promise((resolve, reject) => log.once('open', resolve).once('error', reject));
  const stdio = /** @type {const} */ (['ignore', log, log]);
  // A process group of its own: Ctrl-C at the terminal must not end the store before Orthanc.
  const options = { env: { ...process.env, ...env }, stdio, detached: true, deathSignal };
  const child = spawnGuarded(argv, options);
  child.once('spawn', () => log.close()); // the child has the file open now
  return child;
}

/**
 * Any answer counts, also one that says "forbidden", or a certificate that nobody knows.
 * @param {string} endpoint
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<'ready' | 'ended' | 'no answer'>}
 */
async function waitUntilReady(endpoint, child) {
  let ended = false;
  child.once('exit', () => {
    ended = true;
  });
  child.once('error', () => {
    ended = true;
  });
  const deadline = performance.now() + startTimeoutMs;
  while (performance.now() < deadline) {
    if (ended) return 'ended';
    const hasAnswered = await fetch(endpoint, { signal: AbortSignal.timeout(2_000) }).then(
      (response) => response.arrayBuffer().then(Boolean, Boolean),
      (error) => error.cause?.code === 'DEPTH_ZERO_SELF_SIGNED_CERT',
    );
    // Whoever answers has to be our child, not the one that took its port.
    if (hasAnswered && !ended) return 'ready';
    await sleep(50);
  }
  return 'no answer';
}
