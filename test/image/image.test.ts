// SPDX-License-Identifier: GPL-3.0-or-later
// npm run image:test: docker/Dockerfile, built and started by the conventions of the official image. Needs root on Debian.
// OOS_OFFICIAL=DIR takes the official entry point's own files (docker/orthanc of orthanc-builder) in place of the stand-ins;
// OOS_IMAGE=orthancteam/orthanc:26.8.1 takes the official image itself, where a registry of images can be reached.

import type { ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';

import { removeTree } from '../../scripts/lib/cache.mjs';
import { say } from '../../scripts/lib/log.mjs';
import { freePort } from '../../scripts/lib/ports.mjs';
import { waitForExit } from '../../scripts/lib/run.mjs';
import { startAzure, startGoogle, startS3 } from '../../scripts/services.mjs';
import { makeDicom } from '../support/dicom.ts';
import {
  buildImage,
  type Container,
  createContainer,
  ensureBase,
  type ImageFacts,
  inspectImage,
  removeUnused,
  sizeOf,
} from './buildah.ts';

const MEGABYTE = 1_000_000;
/** Added to the official image. */
const LIMIT_MB = 90;
const BUCKET = 'orthanc';
const PASSWORD = 'a-password';
const PLUGIN = '/usr/share/orthanc/plugins/libOrthancObjectStorage.so';

let base: string;
let image: string;
let facts: ImageFacts;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'image-test-'));
  await chmod(folder, 0o755); // for a container's own user
  base = process.env['OOS_IMAGE'] ?? (await ensureBase(process.env['OOS_OFFICIAL']));
  image = await buildImage(base);
  facts = await inspectImage(image);
});

afterAll(async () => {
  await removeTree(folder);
  await removeUnused();
});

interface Running {
  readonly container: Container;
  readonly child: ChildProcess;
  readonly output: () => string;
  request(method: string, path: string, body?: Uint8Array): Promise<Response>;
  /** By Orthanc's REST API, as buildah does not pass signals on. @returns the exit status */
  stop(): Promise<number>;
}

async function startContainer(
  env: Readonly<Record<string, string>>,
  options: {
    readonly secrets?: Readonly<Record<string, string>>;
    readonly volumes?: readonly string[];
    readonly user?: string;
    readonly from?: string;
  } = {},
): Promise<Running> {
  const own = await mkdtemp(join(folder, 'container-'));
  await chmod(own, 0o755);
  const secrets = join(own, 'secrets');
  await mkdir(secrets);
  for (const [name, value] of Object.entries(options.secrets ?? {})) {
    await writeFile(join(secrets, name), `${value}\n`);
  }
  const port = await freePort();
  const container = await createContainer(options.from ?? image, {
    env: {
      ORTHANC_PASSWORD: PASSWORD,
      ORTHANC__HTTP_PORT: String(port),
      ORTHANC__DICOM_PORT: String(await freePort()),
      ...env,
    },
    volumes: [`${secrets}:/run/secrets:ro`, ...(options.volumes ?? [])],
    ...(options.user === undefined ? {} : { user: options.user }),
  });
  const child = container.start(facts);
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr?.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const ending = waitForExit(child);
  const authorization = `Basic ${Buffer.from(`orthanc:${PASSWORD}`).toString('base64')}`;
  const request: Running['request'] = (method, path, body) =>
    fetch(`http://127.0.0.1:${port}${path}`, {
      method,
      headers: { authorization },
      ...(body === undefined ? {} : { body }),
    });
  return {
    container,
    child,
    output: () => output,
    request,
    stop: async () => {
      await request('POST', '/tools/shutdown');
      const status = await ending;
      await container.remove();
      return status;
    },
  };
}

async function untilReady(running: Running): Promise<void> {
  for (let attempt = 0; attempt < 600; attempt += 1) {
    const { exitCode } = running.child;
    if (exitCode !== null) throw new Error(`It ended with ${exitCode}:\n${running.output()}`);
    const answer = await running.request('GET', '/system').catch(() => undefined);
    if (answer?.ok === true) return;
    await sleep(100);
  }
  throw new Error(`It does not answer:\n${running.output()}`);
}

async function storeAndRead(running: Running): Promise<void> {
  const file = makeDicom({ sopInstanceUid: '1.2.31.1', pixelBytes: 50_000 });
  const stored = await running.request('POST', '/instances', file);
  expect(stored.status, running.output()).toBe(200);
  const { ID } = (await stored.json()) as { ID: string };
  // From the bucket, not from Orthanc's memory.
  const read = await running.request('GET', `/instances/${ID}/file`);
  expect(Buffer.compare(Buffer.from(await read.arrayBuffer()), file)).toBe(0);
}

const NO_CACHE = { ORTHANC__MAXIMUM_STORAGE_CACHE_SIZE: '0' };

test(`it adds at most ${LIMIT_MB} MB to the official image`, async () => {
  const added = ((await sizeOf(image)) - (await sizeOf(base))) / MEGABYTE;
  say(`  docker/Dockerfile adds ${added.toFixed(1)} MB`);
  expect(added).toBeLessThanOrEqual(LIMIT_MB);
  expect(added).toBeGreaterThan(10);
});

test('S3 by variables and secrets, and the probe does not ask the bucket', async () => {
  const store = await startS3();
  await store.createBucket(BUCKET);
  const running = await startContainer(
    {
      ...NO_CACHE,
      ORTHANC__AWS_S3_STORAGE__BUCKET_NAME: BUCKET,
      ORTHANC__AWS_S3_STORAGE__REGION: store.region,
      ORTHANC__AWS_S3_STORAGE__ENDPOINT: store.endpoint,
      ORTHANC__AWS_S3_STORAGE__VIRTUAL_ADDRESSING: 'false',
      ORTHANC__AWS_S3_STORAGE__MAX_RETRIES: '0',
      ORTHANC__AWS_S3_STORAGE__ACCESS_KEY: store.accessKey,
      ORTHANC__STORAGE_LOADER_THREADS_COUNT: '20',
      // Another name for the file.
      ORTHANC__AWS_S3_STORAGE__SECRET_KEY_SECRET: 'bucket-key',
    },
    { secrets: { 'bucket-key': store.secretKey } },
  );
  await untilReady(running);
  await storeAndRead(running);
  const objects = await readdir(join(store.folder, 'data', BUCKET));
  expect(objects.filter((name) => name.endsWith('.dcm'))).toHaveLength(1);

  const check = await running.container.exec(
    'orthanc-object-storage',
    'check',
    '--config',
    '/tmp/orthanc.json',
  );
  expect(check.stdout + check.stderr).toContain('the configuration and the store are fine');
  const plugins = (await (await running.request('GET', '/plugins')).json()) as string[];
  expect(plugins).toContain('object-storage');
  expect(running.output()).not.toContain('StorageLoaderThreadsCount');
  expect(running.output()).not.toContain(store.secretKey);

  await store.stop();
  expect(facts.Healthcheck?.Test[0]).toBe('CMD');
  const probe = await running.container.exec(...(facts.Healthcheck?.Test.slice(1) ?? []));
  expect(probe, running.output()).toMatchObject({ code: 0 });
  expect(await running.stop()).toBe(0);
});

test("Azure, as the image's user orthanc, where the section alone stops the official image", async () => {
  const store = await startAzure();
  const env = {
    ...NO_CACHE,
    ORTHANC__AZURE_BLOB_STORAGE__CONTAINER_NAME: BUCKET,
  };
  const secrets = { ORTHANC__AZURE_BLOB_STORAGE__CONNECTION_STRING: store.connectionString };
  const official = await startContainer(env, { secrets, from: base });
  expect(await waitForExit(official.child)).not.toBe(0);
  expect(official.output()).toContain('failed to install libOrthancAzureBlobStorage.so');
  await official.container.remove();

  const running = await startContainer(env, { secrets, user: 'orthanc' });
  await untilReady(running);
  await storeAndRead(running);
  expect(await running.stop()).toBe(0);
  await store.stop();
});

test('Google, encrypted, cached, with plugins in a folder that is mounted', async () => {
  const store = await startGoogle();
  await store.createBucket(BUCKET);
  const [plugins, cache] = [join(folder, 'plugins'), join(folder, 'cache')];
  for (const path of [plugins, cache]) await mkdir(path);
  const running = await startContainer(
    {
      ...NO_CACHE,
      ORTHANC__GOOGLE_CLOUD_STORAGE__BUCKET_NAME: BUCKET,
      ORTHANC__GOOGLE_CLOUD_STORAGE__ENDPOINT: store.endpoint,
      ORTHANC__GOOGLE_CLOUD_STORAGE__STORAGE_ENCRYPTION__ENABLE: 'true',
      ORTHANC__GOOGLE_CLOUD_STORAGE__STORAGE_ENCRYPTION__FORMAT: 'A2',
      ORTHANC__GOOGLE_CLOUD_STORAGE__STORAGE_ENCRYPTION__MASTER_KEY: '[1, "/run/secrets/master"]',
      ORTHANC__GOOGLE_CLOUD_STORAGE__LOCAL_CACHE__DIRECTORY: '/var/cache/orthanc-object-storage',
    },
    {
      secrets: { master: randomBytes(32).toString('base64') },
      volumes: [`${plugins}:/run/orthanc/plugins`, `${cache}:/var/cache/orthanc-object-storage`],
    },
  );
  await untilReady(running);
  await storeAndRead(running);
  const [object = ''] = await readdir(join(store.folder, 'data', BUCKET));
  const bytes = await readFile(join(store.folder, 'data', BUCKET, object));
  expect(bytes.subarray(0, 2).toString()).toBe('A2');
  expect(await readdir(plugins)).toEqual(['libOrthancObjectStorage.so']);
  expect(await readdir(cache)).not.toEqual([]);
  expect(await running.stop()).toBe(0);
  await store.stop();
});

test('OBJECT_STORAGE_PLUGIN_ENABLED=false leaves the plugin out, true takes it without a section', async () => {
  const env = { ORTHANC__AWS_S3_STORAGE__BUCKET_NAME: BUCKET };
  for (const [enabled, variables] of [
    ['false', env],
    ['true', {}],
  ] as const) {
    const running = await startContainer({ ...variables, OBJECT_STORAGE_PLUGIN_ENABLED: enabled });
    await untilReady(running);
    const { code } = await running.container.exec('test', '-e', PLUGIN);
    expect(code === 0, enabled).toBe(enabled === 'true');
    expect(running.output().includes('Orthanc keeps its own storage')).toBe(enabled === 'true');
    expect(await running.stop()).toBe(0);
  }
});
