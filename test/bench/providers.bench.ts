// SPDX-License-Identifier: GPL-3.0-or-later
// One measurement in one process: client CPU per operation. Started by providers.mjs, which bundles it and makes the table.
// Arguments: provider (s3, azure, google), path (http, lean, sdk), operation (put, get), bytes, endpoint, file of authorities or "", a service
// account's key.

import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { Storage } from '@google-cloud/storage';
import { Secret } from '../../src/config/secret.ts';
import type { NetworkSettings } from '../../src/config/settings.ts';
import { createAzureStore } from '../../src/providers/azure/store.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import type { Body, ObjectStore, Sink } from '../../src/store/object-store.ts';

const WARM_UP_OPERATIONS = 300;
const MEASURE_MS = 1_500;
const CONCURRENCY = 4;

const [
  provider = '',
  path = '',
  operation = '',
  bytesText = '',
  endpoint = '',
  authorities = '',
  serviceAccountFile = '',
] = process.argv.slice(2);
const sizeBytes = Number(bytesText);
const content = Buffer.alloc(sizeBytes, 'content of no meaning ');
const target = Buffer.alloc(sizeBytes);
const { signal } = new AbortController();

// As the bridge does it: content is copied out, results are copied in.
const body: Body = {
  sizeBytes,
  read: (start, end) => Uint8Array.prototype.slice.call(content, start, end),
};
const sink: Sink = {
  begin: () => undefined,
  write: (offset, bytes) => {
    target.set(bytes, offset);
  },
};

function createOperation(): () => Promise<void> {
  if (path === 'http') return createHttpOperation();
  if (provider === 'google' && path === 'sdk') return createGoogleSdkOperation();
  const store = createStore();
  const key = `key-${sizeBytes}`;
  return operation === 'put'
    ? () => store.put(key, body, { signal })
    : () => store.get(key, undefined, sink, { signal });
}

function createStore(): ObjectStore {
  const log = {
    error: console.error,
    warning: console.error,
    info: () => undefined,
    debug: () => undefined,
  };
  const network: NetworkSettings = {
    connectionTimeoutMs: 5_000,
    requestTimeoutMs: 60_000,
    maxConnections: 25,
    maxRetries: 0,
    caCertificatesFile: authorities === '' ? undefined : authorities,
    proxyUrl: undefined,
  };
  const deps = { log, lean: path === 'lean', verifyEtag: true };
  switch (provider) {
    case 's3':
      return createS3Store(
        {
          ...network,
          bucketName: 'bucket',
          region: 'us-east-1',
          credentials: { accessKey: 'access', secretKey: new Secret('secret') },
          endpoint,
          virtualAddressing: false,
          storageClass: undefined,
          tags: {},
          serverSideEncryption: undefined,
          kmsKeyId: undefined,
          checksumMode: 'WhenSupported',
          transfer: { always: false, poolSize: 10, partSizeBytes: 5 * 1024 * 1024 },
          enableSdkLogs: false,
        },
        deps,
      );
    case 'azure':
      return createAzureStore(
        {
          ...network,
          account: {
            kind: 'connection-string',
            connectionString: new Secret(
              `AccountName=account;AccountKey=${Buffer.alloc(64).toString('base64')};BlobEndpoint=${endpoint}`,
            ),
          },
          containerName: 'bucket',
          createContainerIfNotExists: true,
          accessTier: undefined,
        },
        deps,
      );
    case 'google':
      return createGoogleStore(
        { ...network, bucketName: 'bucket', serviceAccountFile, endpoint, storageClass: undefined },
        deps,
      );
    default:
      throw new Error(`no such provider: ${provider}`);
  }
}

/** Google's SDK as it comes, which this plugin does not contain. */
function createGoogleSdkOperation(): () => Promise<void> {
  const storage = new Storage({
    apiEndpoint: endpoint,
    projectId: 'none',
    retryOptions: { autoRetry: false },
  });
  const file = storage.bucket('bucket').file(`key-${sizeBytes}`);
  return operation === 'put'
    ? () => file.save(Buffer.from(body.read(0, sizeBytes).buffer), { resumable: false })
    : async () => {
        const [bytes] = await file.download();
        sink.write(0, bytes);
      };
}

/** The floor: the same bytes over Node's own client, without signature, checksum or checks. */
function createHttpOperation(): () => Promise<void> {
  const client = endpoint.startsWith('https:') ? https : http;
  const agent = new client.Agent({
    keepAlive: true,
    maxSockets: 25,
    ...(authorities === '' ? {} : { ca: readFileSync(authorities) }),
  });
  const url = `${endpoint}/bucket/key-${sizeBytes}`;
  return () =>
    new Promise((resolve, reject) => {
      const method = operation === 'put' ? 'PUT' : 'GET';
      const headers = operation === 'put' ? { 'content-length': sizeBytes } : {};
      const request = client.request(url, { method, headers, agent }, (response) => {
        let offset = 0;
        response.on('data', (chunk: Buffer) => {
          if (operation === 'get') target.set(chunk, offset);
          offset += chunk.length;
        });
        response.on('end', resolve);
        response.on('error', reject);
      });
      request.on('error', reject);
      request.end(operation === 'put' ? body.read(0, sizeBytes) : undefined);
    });
}

async function main(): Promise<void> {
  const operate = createOperation();
  for (let index = 0; index < WARM_UP_OPERATIONS; index++) await operate();
  let operations = 0;
  const cpu = process.cpuUsage();
  const end = performance.now() + MEASURE_MS;
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      while (performance.now() < end) {
        await operate();
        operations += 1;
      }
    }),
  );
  const { user, system } = process.cpuUsage(cpu);
  process.stdout.write(`${(user + system) / 1_000 / operations}\n`);
  process.exit(0);
}

void main();
