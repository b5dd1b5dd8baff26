// SPDX-License-Identifier: GPL-3.0-or-later
// One measurement in one process: client CPU per operation, what of it other threads took (V8's collector, mostly), and collections per
// operation. Started by providers.mjs, which bundles it and makes the table.
// Arguments: provider (s3, azure, google), path (http, plugin, sdk), operation (put, get), bytes, endpoint, file of authorities or "", a service
// account's key.

import { readdirSync, readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { PerformanceObserver } from 'node:perf_hooks';
import { GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { BlobServiceClient, StorageSharedKeyCredential } from '@azure/storage-blob';
import { Storage } from '@google-cloud/storage';
import { createBody, createSink, createStore } from './stores.ts';

const WARM_UP_OPERATIONS = 300;
const MEASURE_MS = 1_500;
const CONCURRENCY = 4;
const ACCESS_KEY = 'account';
const SECRET_KEY = Buffer.alloc(64).toString('base64');

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

const body = createBody(content);
const sink = createSink(target);

function createOperation(): () => Promise<void> {
  if (path === 'http') return createHttpOperation();
  if (path === 'sdk') return createSdkOperation();
  const store = createStore({
    provider,
    endpoint,
    bucket: 'bucket',
    accessKey: ACCESS_KEY,
    secretKey: SECRET_KEY,
    authorities,
    serviceAccountFile,
  });
  const key = `key-${sizeBytes}`;
  return operation === 'put'
    ? () => store.put(key, body, { signal })
    : () => store.get(key, undefined, sink, { signal });
}

/** The SDKs as they come, by their own HTTP clients. */
function createSdkOperation(): () => Promise<void> {
  const copy = () => Buffer.from(body.read(0, sizeBytes).buffer);
  const Key = `key-${sizeBytes}`;
  switch (provider) {
    case 's3': {
      const credentials = { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET_KEY };
      const options = { endpoint, credentials, region: 'r', forcePathStyle: true, maxAttempts: 1 };
      const client = new S3Client(options);
      const target = { Bucket: 'bucket', Key };
      return operation === 'put'
        ? async () => {
            await client.send(new PutObjectCommand({ ...target, Body: copy() }));
          }
        : async () => {
            const { Body } = await client.send(new GetObjectCommand(target));
            sink.write(0, (await Body?.transformToByteArray()) ?? new Uint8Array());
          };
    }
    case 'azure': {
      const credential = new StorageSharedKeyCredential(ACCESS_KEY, SECRET_KEY);
      const service = new BlobServiceClient(endpoint, credential);
      const blob = service.getContainerClient('bucket').getBlockBlobClient(Key);
      return operation === 'put'
        ? async () => {
            await blob.upload(copy(), sizeBytes);
          }
        : async () => {
            await blob.downloadToBuffer(target, 0, sizeBytes);
          };
    }
    default: {
      const retryOptions = { autoRetry: false };
      const storage = new Storage({ apiEndpoint: endpoint, projectId: 'none', retryOptions });
      const file = storage.bucket('bucket').file(Key);
      return operation === 'put'
        ? () => file.save(copy(), { resumable: false })
        : async () => {
            const [bytes] = await file.download();
            sink.write(0, bytes);
          };
    }
  }
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

/** User and system time of all threads but the first. @see proc_pid_stat(5), fields 14 and 15, in ticks of 10 ms */
function readOtherThreadsMs(): number {
  const folder = '/proc/self/task';
  return readdirSync(folder)
    .filter((thread) => Number(thread) !== process.pid)
    .map((thread) => {
      const text = readFileSync(`${folder}/${thread}/stat`, 'utf8');
      const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
      return (Number(fields[11]) + Number(fields[12])) * 10;
    })
    .reduce((sum, ms) => sum + ms, 0);
}

async function main(): Promise<void> {
  const operate = createOperation();
  for (let index = 0; index < WARM_UP_OPERATIONS; index++) await operate();
  let operations = 0;
  let collections = 0;
  new PerformanceObserver((list) => {
    collections += list.getEntries().length;
  }).observe({ entryTypes: ['gc'] });
  const others = readOtherThreadsMs();
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
  const figures = [(user + system) / 1_000, readOtherThreadsMs() - others, collections];
  process.stdout.write(`${figures.map((figure) => figure / operations).join(' ')}\n`);
  process.exit(0);
}

void main();
