// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when Google Cloud Storage, or the way to it, misbehaves.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { GoogleSettings } from '../../src/config/settings.ts';
import type { StorageErrorCode } from '../../src/errors.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';
import { makeGoogleSettings } from '../support/google.ts';
import {
  answerGoogle,
  crc32cOf,
  failGoogle,
  parseMultipart,
  TEST_REQUEST_ID,
} from '../support/google-memory.ts';
import {
  answerRaw,
  hang,
  reset,
  type ScriptedServer,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeLogger } from '../support/settings.ts';

const MIB = 1024 * 1024;
/** More than goes in one request. */
const LARGE_BYTES = 18 * MIB;

describe('Google faults', () => {
  let server: ScriptedServer;
  const stores: ObjectStore[] = [];
  const log = makeLogger();

  function open(changes: Partial<GoogleSettings> = {}): ObjectStore {
    const settings = makeGoogleSettings({ endpoint: server.endpoint, maxRetries: 3, ...changes });
    const store = withDeadline(createGoogleStore(settings, { log }), settings.requestTimeoutMs);
    stores.push(store);
    return store;
  }

  beforeEach(async () => {
    server = await startScriptedServer({ answer: answerGoogle });
  });

  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
    await server.close();
    expect(log.lines.join('\n')).not.toContain('upload_id');
  });

  const small = makeBytes(1_000);
  const put = (store: ObjectStore, bytes = small) =>
    store.put('key', makeBody(bytes), { signal: never() });
  async function get(store: ObjectStore, range?: { start: number; end: number }) {
    const sink = makeSink();
    await store.get('key', range, sink, { signal: never() });
    return sink;
  }
  const methods = () => server.requests.map(({ method }) => method);

  describe('requests without faults', () => {
    test('a write is one POST, a read one GET, a range one GET, a removal one DELETE', async () => {
      const store = open();
      await put(store);
      await get(store);
      await get(store, { start: 10, end: 20 });
      await store.delete('key', { signal: never() });
      expect(server.requests.map(({ method, url }) => `${method} ${url.split('?')[0]}`)).toEqual([
        'POST /upload/storage/v1/b/bucket/o',
        'GET /storage/v1/b/bucket/o/key',
        'GET /storage/v1/b/bucket/o/key',
        'DELETE /storage/v1/b/bucket/o/key',
      ]);
      expect(server.requests.every(({ headers }) => headers['authorization'] === undefined)).toBe(
        true,
      );
    });

    test.each([0, 1, 1_000, MIB - 8_192, MIB - 8_191, MIB, MIB + 1, 16 * MIB])(
      'a write of %i bytes is one request, with its checksum and class',
      async (sizeBytes) => {
        const store = open({ storageClass: 'NEARLINE' });
        const bytes = makeBytes(sizeBytes);
        await put(store, bytes);
        expect(methods()).toEqual(['POST']);
        const sent = parseMultipart(server.requests[0]?.body() ?? Buffer.alloc(0));
        expectSameBytes(sent.bytes, bytes);
        expect(sent.metadata).toEqual({
          name: 'key',
          contentType: 'application/octet-stream',
          crc32c: crc32cOf(bytes),
          storageClass: 'NEARLINE',
        });
      },
    );

    test('a body that can write into memory is read by that', async () => {
      const store = open();
      for (const sizeBytes of [70_000, 3 * MIB]) {
        const bytes = makeBytes(sizeBytes);
        const body = {
          sizeBytes,
          read: () => {
            throw new Error('read into new memory');
          },
          readInto: (start: number, target: Uint8Array) => {
            target.set(bytes.subarray(start, start + target.length));
          },
        };
        await store.put('key', body, { signal: never() });
        expectSameBytes((await get(store)).bytes(), bytes);
      }
    });

    test('a large content goes over a session in one stream', async () => {
      const store = open({ storageClass: 'COLDLINE' });
      const bytes = makeBytes(LARGE_BYTES);
      const body = makeBody(bytes);
      await store.put('key', body, { signal: never() });
      expect(methods()).toEqual(['POST', 'PUT']);
      expect(JSON.parse(server.requests[0]?.body().toString() ?? '')).toMatchObject({
        crc32c: crc32cOf(bytes),
        storageClass: 'COLDLINE',
      });
      expectSameBytes((await get(store)).bytes(), bytes);
      expect(body.largestRead()).toBeLessThanOrEqual(MIB);
    });
  });

  describe('failures that pass', () => {
    test.each<[string, Step]>([
      ['503', failGoogle(503, 'Backend Error', 'backendError')],
      ['500', failGoogle(500, 'Internal Error', 'internalError')],
      ['408', failGoogle(408, 'Request Timeout', 'uploadBrokenConnection')],
      ['429', failGoogle(429, 'Too many', 'rateLimitExceeded', { 'retry-after': '1' })],
      ['403 for the rate', failGoogle(403, 'Rate Limit Exceeded', 'userRateLimitExceeded')],
      ['a reset before the answer', reset()],
      [
        'an answer that is not JSON',
        answerRaw({ 'content-length': 9 }, Buffer.from('<<garbage'), (s) => s.end(), '502 Oops'),
      ],
    ])('%s, then success: write, read and removal succeed', async (_name, fault) => {
      const store = open();
      server.script(fault);
      await put(store);
      server.script(fault);
      expectSameBytes((await get(store)).bytes(), small);
      server.script(fault);
      await store.delete('key', { signal: never() });
      expect(server.objects.size).toBe(0);
    });

    test('Retry-After is waited for', async () => {
      const store = open();
      server.script(failGoogle(429, 'Too many', 'rateLimitExceeded', { 'retry-after': '1' }));
      const start = performance.now();
      await put(store);
      expect(performance.now() - start).toBeGreaterThan(950);
    });

    test('a connection that breaks while a content is sent in one request', async () => {
      const store = open();
      const bytes = makeBytes(8 * MIB);
      server.script(({ request, socket }) => {
        request.once('data', () => socket.resetAndDestroy());
      });
      await put(store, bytes);
      expectSameBytes((await get(store)).bytes(), bytes);
    });

    test('what arrived altered is sent again', async () => {
      const store = open();
      const message = 'Provided CRC32C "a" doesn\'t match calculated CRC32C "b".';
      server.script(failGoogle(400, message, 'invalid'));
      await put(store);
      expect(methods()).toEqual(['POST', 'POST']);
    });

    const hash = `crc32c=${crc32cOf(small)},md5=AAAAAAAAAAAAAAAAAAAAAA==`;
    test.each<[string, Step]>([
      ['short', answerRaw({ 'content-length': 1_000 }, small.subarray(0, 100), (s) => s.end())],
      [
        'broken by a reset',
        answerRaw({ 'content-length': 1_000 }, small.subarray(0, 100), (s) => s.resetAndDestroy()),
      ],
      [
        'altered',
        answerRaw(
          { 'content-length': 1_000, 'x-goog-hash': hash },
          Buffer.concat([small.subarray(1), Buffer.from([0])]),
          () => undefined,
        ),
      ],
    ])('a body that is %s is read again', async (_name, fault) => {
      const store = open();
      await put(store);
      server.script(fault);
      expectSameBytes((await get(store)).bytes(), small);
    });
  });

  describe('a session for a large content', () => {
    const bytes = makeBytes(LARGE_BYTES);
    const proceed: Step = (exchange) => exchange.proceed();

    /** Keeps the first bytes of what is sent, as Google does in multiples of 256 KiB, then breaks off. */
    const keepAndReset =
      (keptBytes: number): Step =>
      ({ recorded, request, socket }) => {
        const id = new URL(recorded.url, 'http://server').searchParams.get('upload_id') ?? '';
        const upload = server.uploads.get(id);
        const received: Buffer[] = [];
        request.on('data', (chunk: Buffer) => {
          received.push(chunk);
          const all = Buffer.concat(received);
          if (all.length < keptBytes) return;
          upload?.set(
            0,
            Buffer.concat([upload.get(0) ?? Buffer.alloc(0), all.subarray(0, keptBytes)]),
          );
          socket.resetAndDestroy();
        });
      };

    test('goes on from where the server has it', async () => {
      const store = open();
      server.script(proceed, keepAndReset(2 * MIB), proceed, keepAndReset(MIB));
      await put(store, bytes);
      expect(server.requests.map(({ headers }) => headers['content-range'])).toEqual([
        undefined,
        `bytes 0-${LARGE_BYTES - 1}/${LARGE_BYTES}`,
        `bytes */${LARGE_BYTES}`,
        `bytes ${2 * MIB}-${LARGE_BYTES - 1}/${LARGE_BYTES}`,
        `bytes */${LARGE_BYTES}`,
        `bytes ${3 * MIB}-${LARGE_BYTES - 1}/${LARGE_BYTES}`,
      ]);
      expectSameBytes((await get(store)).bytes(), bytes);
    });

    test('that the server has lost is begun anew', async () => {
      const store = open();
      server.script(proceed, keepAndReset(MIB), failGoogle(410, 'Gone', 'gone'));
      await put(store, bytes);
      expect(methods()).toEqual(['POST', 'PUT', 'PUT', 'POST', 'PUT']);
      expectSameBytes((await get(store)).bytes(), bytes);
    });

    test('whose last answer got lost is complete', async () => {
      const store = open();
      server.script(proceed, async ({ readBody, recorded, socket }) => {
        const id = new URL(recorded.url, 'http://server').searchParams.get('upload_id') ?? '';
        server.uploads.get(id)?.set(0, await readBody());
        socket.resetAndDestroy();
      });
      await put(store, bytes);
      expect(methods()).toEqual(['POST', 'PUT', 'PUT']);
      expectSameBytes((await get(store)).bytes(), bytes);
    });

    test('that fails is cancelled', async () => {
      const store = open({ maxRetries: 0 });
      server.script(proceed, failGoogle(403, 'no', 'forbidden'));
      await expectFailure(put(store, bytes), 'ACCESS_DENIED');
      await expect.poll(() => server.openUploads()).toBe(0);
      expect(server.requests.at(-1)?.method).toBe('DELETE');
    });

    test('that is aborted is cancelled, and the body left alone', async () => {
      const store = open();
      server.script(proceed, ({ request }) => {
        request.pause();
      });
      const controller = new AbortController();
      const body = makeBody(makeBytes(64 * MIB));
      const writing = store.put('key', body, { signal: controller.signal });
      await expect.poll(() => server.requests.length).toBe(2);
      controller.abort();
      body.end();
      await expectFailure(writing, 'ABORTED');
      await expect.poll(() => server.openUploads()).toBe(0);
      expect(body.readsAfterEnd()).toBe(0);
    });

    test('is cancelled when the store is closed', async () => {
      const store = open();
      server.script(proceed, ({ request }) => {
        request.pause();
      });
      const writing = store.put('key', makeBody(bytes), { signal: never() });
      writing.catch(() => undefined);
      await expect.poll(() => server.requests.length).toBe(2);
      await store.close();
      await expectFailure(writing, 'CLOSED');
      expect(server.openUploads()).toBe(0);
    });

    test('without progress is given up', async () => {
      const store = open({ maxRetries: 2 });
      server.script(proceed);
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(308).end();
      });
      await expectFailure(put(store, bytes), 'UNAVAILABLE', /took nothing/);
    });

    test('whose content changed on the way is an error', async () => {
      const store = open({ maxRetries: 1 });
      server.script(proceed);
      server.always(
        failGoogle(400, 'Provided CRC32C "a" doesn\'t match calculated "b"', 'invalid'),
      );
      await expectFailure(put(store, bytes), 'INTEGRITY');
    });
  });

  describe('failures that stay', () => {
    test('500 without end is given up after MaxRetries, with the request id', async () => {
      const store = open({ maxRetries: 2 });
      server.always(failGoogle(500, 'Internal Error', 'internalError'));
      const error = await expectFailure(
        put(store),
        'UNAVAILABLE',
        /cannot write "key" in Google Cloud Storage bucket "bucket".*internalError/,
      );
      expect(error.requestId).toBe(TEST_REQUEST_ID);
      expect(error.cause).toBeInstanceOf(Error);
      expect(server.requests).toHaveLength(3);
    });

    test('500 without end is given up at the deadline', async () => {
      const store = open({ maxRetries: 100, requestTimeoutMs: 700 });
      server.always(failGoogle(500, 'Internal Error', 'internalError'));
      const start = performance.now();
      await expectFailure(put(store), 'TIMEOUT', /RequestTimeout/);
      expect(performance.now() - start).toBeLessThan(1_500);
    });

    test('a server that stored something else is found out', async () => {
      const store = open({ maxRetries: 1 });
      const json = Buffer.from('{"size":"1000","crc32c":"AAAAAA=="}');
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(200, { 'content-length': json.length }).end(json);
      });
      await expectFailure(put(store), 'INTEGRITY');
      expect(server.requests).toHaveLength(2);
    });

    const wrongHash = { 'x-goog-hash': 'crc32c=AAAAAA==' };
    test.each<[string, Step, StorageErrorCode]>([
      [
        'short',
        answerRaw({ 'content-length': 1_000 }, small.subarray(0, 100), (s) => s.end()),
        'SHORT_BODY',
      ],
      [
        'altered',
        answerRaw({ 'content-length': 1_000, ...wrongHash }, small, () => undefined),
        'INTEGRITY',
      ],
      [
        'unpacked on the way',
        answerRaw(
          { 'transfer-encoding': 'chunked', 'x-goog-stored-content-encoding': 'gzip' },
          Buffer.from('1\r\nx\r\n0\r\n\r\n'),
          () => undefined,
        ),
        'INTEGRITY',
      ],
    ])('a body that is %s each time is an error', async (_name, fault, code) => {
      const store = open({ maxRetries: 1 });
      server.always(fault);
      await expectFailure(get(store), code);
    });

    test('a range that arrives whole is verified like the whole, a part is not', async () => {
      const store = open({ maxRetries: 0 });
      const answer = (end: number) =>
        answerRaw(
          { 'content-length': end, 'content-range': `bytes 0-${end - 1}/1000`, ...wrongHash },
          small.subarray(0, end),
          () => undefined,
          '206 Partial Content',
        );
      server.always(answer(1_000));
      await expectFailure(get(store, { start: 0, end: 1_000 }), 'INTEGRITY');
      server.always(answer(10));
      expectSameBytes((await get(store, { start: 0, end: 10 })).bytes(), small.subarray(0, 10));
    });

    test('a range past the end is BAD_RANGE, however the server says so', async () => {
      const store = open({ maxRetries: 0 });
      await put(store);
      await expectFailure(get(store, { start: 990, end: 1_001 }), 'BAD_RANGE');
      await expectFailure(get(store, { start: 1_000, end: 1_001 }), 'BAD_RANGE');
    });

    test('a server that never answers is left at the deadline', async () => {
      const store = open({ requestTimeoutMs: 600 });
      server.always(hang());
      const start = performance.now();
      await expectFailure(get(store), 'TIMEOUT', /cannot read "key"/);
      await expectFailure(put(store), 'TIMEOUT', /cannot write "key"/);
      expect(performance.now() - start).toBeLessThan(2_500);
    });

    test('a server that stops in the middle of a body is left, and the sink alone', async () => {
      const store = open({ requestTimeoutMs: 600 });
      server.always(
        answerRaw({ 'content-length': 1_000 }, small.subarray(0, 100), () => undefined),
      );
      const sink = makeSink();
      await expectFailure(
        store.get('key', undefined, sink, { signal: never() }).finally(() => {
          sink.end();
        }),
        'TIMEOUT',
      );
      await sleep(100);
      expect(sink.callsAfterEnd()).toBe(0);
    });

    test.each<[number, string, string, StorageErrorCode, RegExp]>([
      [404, 'No such object: bucket/key', 'notFound', 'NOT_FOUND', /no such object/],
      [404, 'The specified bucket does not exist.', 'notFound', 'BAD_CONFIG', /\.BucketName/],
      [
        403,
        "orthanc@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).",
        'forbidden',
        'ACCESS_DENIED',
        /allow storage\.objects\.get/,
      ],
      [
        403,
        "orthanc@p.iam.gserviceaccount.com does not have storage.objects.list access to the Google Cloud Storage bucket. Permission 'storage.objects.list' denied on resource (or it may not exist).",
        'forbidden',
        'NOT_FOUND',
        /no such object/,
      ],
      [
        403,
        'The billing account for the owning project is disabled in state absent',
        'accountDisabled',
        'ACCESS_DENIED',
        /billing/,
      ],
      [
        403,
        'Cloud Storage API has not been used in project 1 before or it is disabled.',
        'accessNotConfigured',
        'ACCESS_DENIED',
        /enable storage\.googleapis\.com/,
      ],
      [
        403,
        "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x",
        'forbidden',
        'ACCESS_DENIED',
        /VPC Service Controls/,
      ],
      [
        403,
        'Request had insufficient authentication scopes.',
        'insufficientPermissions',
        'ACCESS_DENIED',
        /cloud-platform/,
      ],
      [
        403,
        "Object 'bucket/key' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until 2030",
        'retentionPolicyNotMet',
        'ACCESS_DENIED',
        /retention policy/,
      ],
      [
        400,
        'Bucket is a requester pays bucket but no user project provided.',
        'required',
        'BAD_CONFIG',
        /GOOGLE_CLOUD_QUOTA_PROJECT/,
      ],
      [401, 'Invalid Credentials', 'authError', 'ACCESS_DENIED', /ServiceAccountFile/],
      [418, 'Whatever', 'odd', 'INTERNAL', /418/],
      [301, 'Moved', 'moved', 'BAD_CONFIG', /\.Endpoint/],
    ])('%i %s is explained', async (status, message, reason, code, expected) => {
      const store = open({ maxRetries: 1 });
      server.always(failGoogle(status, message, reason));
      const error = await expectFailure(get(store), code, expected);
      expect(error.requestId).toBe(TEST_REQUEST_ID);
    });

    test('of a missing object, plain text is enough', async () => {
      const store = open();
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(404, { 'content-type': 'text/html' }).end('No such object: bucket/key');
      });
      await expectFailure(get(store), 'NOT_FOUND');
      expect(await store.head('key', { signal: never() })).toBeUndefined();
      await store.delete('key', { signal: never() });
    });

    test('a bucket that is missing is not taken for a missing object', async () => {
      const store = open();
      server.always(failGoogle(404, 'The specified bucket does not exist.', 'notFound'));
      await expectFailure(store.head('key', { signal: never() }), 'BAD_CONFIG');
      await expectFailure(store.delete('key', { signal: never() }), 'BAD_CONFIG');
      await expectFailure(put(store), 'BAD_CONFIG');
    });

    test('something that is no server of Google is recognised', async () => {
      const store = open({ maxRetries: 0 });
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(200, { 'content-type': 'text/html' }).end('<html>hello</html>');
      });
      await expectFailure(put(store), 'UNAVAILABLE', /GoogleCloudStorage\.Endpoint/);
    });
  });

  describe('aborts', () => {
    test('before the start: nothing is sent', async () => {
      const store = open();
      await expectFailure(
        store.put('key', makeBody(small), { signal: AbortSignal.abort() }),
        'ABORTED',
      );
      expect(server.requests).toHaveLength(0);
    });

    test('while reading: the connection ends and the sink is left alone', async () => {
      const store = open();
      server.always(
        answerRaw({ 'content-length': 1_000 }, small.subarray(0, 100), () => undefined),
      );
      const controller = new AbortController();
      const sink = makeSink();
      const reading = store.get('key', undefined, sink, { signal: controller.signal });
      await expect.poll(() => sink.begins()).toBe(1);
      controller.abort();
      sink.end();
      await expectFailure(reading, 'ABORTED');
      await expect.poll(() => server.openSockets()).toBe(0);
      expect(sink.callsAfterEnd()).toBe(0);
      expect(server.requests).toHaveLength(1);
    });

    test('while waiting to repeat: at once', async () => {
      const store = open();
      server.always(failGoogle(429, 'Too many', 'rateLimitExceeded', { 'retry-after': '30' }));
      const controller = new AbortController();
      const writing = store.put('key', makeBody(small), { signal: controller.signal });
      await expect.poll(() => server.requests.length).toBe(1);
      controller.abort();
      await expectFailure(writing, 'ABORTED');
    });
  });
});
