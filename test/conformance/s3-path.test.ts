// SPDX-License-Identifier: GPL-3.0-or-later
// A server of S3 below a path. versitygw knows none, so what stands in front of it takes the path off and signs anew: only what was signed
// for the path, as such servers want it.

import { createServer, request as send } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type S3Service, startS3 } from '../../scripts/services.mjs';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { Secret } from '../../src/text/secret.ts';
import { isSigned, signatureOf } from '../support/aws-signature.ts';
import { expectSameBytes, makeBody, makeBytes, makeSink, never } from '../support/bodies.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';

const PATH = '/storage/v1/s3';
const BUCKET = 'below-a-path';

let service: S3Service;

const front = createServer((request, response) => {
  const { method = '', url = '' } = request;
  const headers = request.headers as Record<string, string>;
  if (!url.startsWith(`${PATH}/`) || !isSigned({ method, url, headers }, service.secretKey)) {
    response.writeHead(403).end();
    return;
  }
  const path = url.slice(PATH.length);
  const signature = signatureOf({ method, url: path, headers }, service.secretKey);
  const authorization = headers['authorization']?.replace(/Signature=.*/, `Signature=${signature}`);
  const { hostname, port } = new URL(service.endpoint);
  const inner = send(
    { hostname, port, method, path, headers: { ...headers, authorization } },
    (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    },
  );
  request.pipe(inner);
});

beforeAll(async () => {
  service = await startS3();
  await service.createBucket(BUCKET);
  await new Promise<void>((resolve) => {
    front.listen(0, '127.0.0.1', resolve);
  });
});

afterAll(async () => {
  front.close();
  front.closeAllConnections();
  await service.stop();
});

test('is served in whole, in parts and by listing', async () => {
  const { accessKey, secretKey, region } = service;
  const settings = makeS3Settings({
    endpoint: `http://127.0.0.1:${(front.address() as AddressInfo).port}${PATH}`,
    region,
    bucketName: BUCKET,
    credentials: { accessKey, secretKey: new Secret(secretKey) },
    transfer: { always: true, poolSize: 4, partSizeBytes: 5 * 1024 * 1024 },
  });
  const store = createS3Store(settings, { log: makeLogger() });
  const options = { signal: never() };
  await store.check(options);
  for (const sizeBytes of [1_000, 12 * 1024 * 1024]) {
    const key = `folder/${sizeBytes} bytes`;
    const bytes = makeBytes(sizeBytes);
    await store.put(key, makeBody(bytes), options);
    const sink = makeSink();
    await store.get(key, undefined, sink, options);
    expectSameBytes(sink.bytes(), bytes);
    const listed: string[] = [];
    for await (const object of store.list('folder/', options)) listed.push(object.key);
    expect(listed).toEqual([key]);
    await store.delete(key, options);
    expect(await store.head(key, options)).toBeUndefined();
  }
  await store.close();
});
