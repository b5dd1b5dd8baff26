// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when Azure, or the way to it, misbehaves. Each case runs with and without the lean path.

import { setTimeout as sleep } from 'node:timers/promises';
import { setLogLevel } from '@azure/logger';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../src/config/secret.ts';
import type { AzureSettings } from '../../src/config/settings.ts';
import { StorageError, type StorageErrorCode } from '../../src/errors.ts';
import { type AzureDependencies, createAzureStore } from '../../src/providers/azure/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import {
  type AzureErrorOptions,
  answerAzure,
  answerAzureError,
  connectionStringOf,
  failAzure,
  md5Of,
  TEST_REQUEST_ID,
} from '../support/azure-memory.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';
import {
  answerRaw,
  hang,
  reset,
  type ScriptedServer,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeAzureSettings, makeLogger, TEST_ACCOUNT_KEY } from '../support/settings.ts';

const MIB = 1024 * 1024;
const PATH = '/account/container/key';
/** MD5 of nothing, and so of none of the contents here. */
const WRONG_MD5 = '1B2M2Y8AsgTpgAmY7PhCfg==';
const IN_BLOCKS = { singlePutMaxBytes: 5 * MIB, blockBytes: 5 * MIB, listPage: 100 };

describe.each([
  { path: 'lean path', lean: true },
  { path: 'SDK path', lean: false },
])('Azure faults, $path', ({ lean }) => {
  let server: ScriptedServer;
  const stores: ObjectStore[] = [];
  const log = makeLogger();

  function open(
    changes: Partial<AzureSettings> = {},
    deps: Partial<AzureDependencies> = {},
  ): ObjectStore {
    const usual = { maxRetries: 3, ...changes };
    const settings = makeAzureSettings(connectionStringOf(server), usual);
    const store = createAzureStore(settings, { log, lean, verifyEtag: true, ...deps });
    const bounded = withDeadline(store, settings.requestTimeoutMs);
    stores.push(bounded);
    return bounded;
  }

  beforeEach(async () => {
    server = await startScriptedServer({ answer: answerAzure });
  });

  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
    await server.close();
    expect(log.lines.join('\n')).not.toContain(TEST_ACCOUNT_KEY);
  });

  const small = makeBytes(1_000);
  const put = (store: ObjectStore, bytes = small) =>
    store.put('key', makeBody(bytes), { signal: never() });
  async function get(store: ObjectStore, range?: { start: number; end: number }) {
    const sink = makeSink();
    await store.get('key', range, sink, { signal: never() });
    return sink;
  }

  describe('requests without faults', () => {
    test('a write is one PUT, a read one GET, a range one GET, a removal one DELETE', async () => {
      const store = open();
      await put(store);
      await get(store);
      await get(store, { start: 10, end: 20 });
      await store.delete('key', { signal: never() });
      expect(server.requests.map(({ method, url }) => `${method} ${url}`)).toEqual([
        `PUT ${PATH}`,
        `GET ${PATH}`,
        `GET ${PATH}`,
        `DELETE ${PATH}`,
      ]);
    });

    test('a write carries MD5 and tier', async () => {
      await put(open({ accessTier: 'Cool' }));
      expect(server.requests).toHaveLength(1);
      expect(server.requests[0]?.headers).toMatchObject({
        'content-md5': md5Of(small),
        'x-ms-access-tier': 'Cool',
        'x-ms-blob-type': 'BlockBlob',
        'content-type': 'application/octet-stream',
        'content-length': '1000',
      });
    });

    test('a large content goes in blocks, each with its MD5, the whole with its own', async () => {
      const store = open({ accessTier: 'Cold' }, { sizes: IN_BLOCKS });
      const bytes = makeBytes(11 * MIB);
      const body = makeBody(bytes);
      await store.put('key', body, { signal: never() });
      const parts = server.requests.slice(0, -1);
      expect(parts.map(({ url }) => /comp=(\w+)/.exec(url)?.[1])).toEqual(Array(3).fill('block'));
      expect(parts.every(({ headers }) => headers['content-md5'] !== undefined)).toBe(true);
      expect(server.requests.at(-1)?.headers).toMatchObject({
        'x-ms-blob-content-md5': md5Of(bytes),
        'x-ms-access-tier': 'Cold',
      });
      expectSameBytes((await get(store)).bytes(), bytes);
      // No block is ever held as a whole.
      expect(body.largestRead()).toBeLessThanOrEqual(MIB);
    });

    test('a write of up to 64 MB is one PUT', async () => {
      await put(open(), makeBytes(12 * MIB));
      expect(server.requests.map(({ method }) => method)).toEqual(['PUT']);
    });

    test('the MD5 of a range is asked for where it is cheap', async () => {
      const bytes = makeBytes(5 * MIB);
      await put(open(), bytes);
      const askedFor = async (store: ObjectStore, end: number) => {
        await get(store, { start: 0, end });
        return server.requests.at(-1)?.headers['x-ms-range-get-content-md5'];
      };
      const trusting = open({}, { verifyEtag: false });
      const strict = open();
      expect(await askedFor(trusting, 65_536)).toBe('true');
      expect(await askedFor(trusting, 65_537)).toBeUndefined();
      expect(await askedFor(strict, 4 * MIB)).toBe('true');
      // Azure refuses more.
      expect(await askedFor(strict, 4 * MIB + 1)).toBeUndefined();
    });
  });

  describe('failures that pass', () => {
    test.each<[string, Step]>([
      ['503 ServerBusy', failAzure(503, 'ServerBusy')],
      ['500', failAzure(500, 'InternalError')],
      ['500 OperationTimedOut', failAzure(500, 'OperationTimedOut')],
      [
        '429 with Retry-After',
        failAzure(429, 'TooManyRequests', { headers: { 'retry-after': '1' } }),
      ],
      ['a reset before the answer', reset()],
      [
        'an answer that is not XML',
        answerRaw({ 'content-length': 9 }, Buffer.from('<<garbage'), (s) => s.end(), '500 Oops'),
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
      const throttled = failAzure(503, 'ServerBusy', { headers: { 'retry-after': '1' } });
      server.script(throttled, throttled);
      const start = performance.now();
      await put(store);
      expect(performance.now() - start).toBeGreaterThan(950);
    });

    test('a connection that breaks while a large content is sent', async () => {
      const store = open();
      const bytes = makeBytes(8 * MIB);
      server.script(({ request, socket }) => {
        request.once('data', () => socket.resetAndDestroy());
      });
      await put(store, bytes);
      expectSameBytes((await get(store)).bytes(), bytes);
    });

    test('a content that arrives altered is sent again', async () => {
      const store = open();
      server.script(failAzure(400, 'Md5Mismatch'), failAzure(400, 'Md5Mismatch'));
      await put(store);
      expectSameBytes((await get(store)).bytes(), small);
    });

    test.each<[string, (object: Buffer, md5: string) => Step]>([
      [
        'short',
        (object) =>
          answerRaw({ 'content-length': object.length }, object.subarray(0, 100), (s) => s.end()),
      ],
      [
        'broken by a reset',
        (object) =>
          answerRaw({ 'content-length': object.length }, object.subarray(0, 100), (s) =>
            s.resetAndDestroy(),
          ),
      ],
      [
        'altered',
        (object, md5) =>
          answerRaw(
            { 'content-length': object.length, 'content-md5': md5, etag: '"x"' },
            Buffer.concat([object.subarray(1), Buffer.from([0])]),
            () => undefined,
          ),
      ],
    ])('a body that is %s is read again', async (_name, makeFault) => {
      const store = open();
      await put(store);
      server.script(makeFault(Buffer.from(small), md5Of(small)));
      expectSameBytes((await get(store)).bytes(), small);
    });

    test('a range that arrives altered is read again', async () => {
      const store = open();
      await put(store);
      const head = {
        'content-length': 10,
        'content-range': 'bytes 10-19/1000',
        'content-md5': md5Of(small.subarray(10, 20)),
        etag: '"x"',
      };
      const altered = answerRaw(head, small.subarray(11, 21), () => undefined, '206 Partial');
      server.script(altered);
      const sink = await get(store, { start: 10, end: 20 });
      expectSameBytes(sink.bytes(), small.subarray(10, 20));
      expect(server.requests).toHaveLength(3);
    });

    test('blocks that another upload of the same object threw away are sent again', async () => {
      const store = open({}, { sizes: IN_BLOCKS });
      const bytes = makeBytes(6 * MIB);
      const proceed: Step = (exchange) => exchange.proceed();
      server.script(proceed, proceed, failAzure(400, 'InvalidBlockList'));
      await put(store, bytes);
      expect(server.requests).toHaveLength(6);
      expectSameBytes((await get(store)).bytes(), bytes);
    });
  });

  describe('failures that stay', () => {
    test('500 without end is given up after MaxRetries, with the request id', async () => {
      const store = open({ maxRetries: 2 });
      server.always(failAzure(500, 'InternalError'));
      const error = await expectFailure(
        put(store),
        'UNAVAILABLE',
        /cannot write "key".*InternalError/,
      );
      expect(error.requestId).toBe(TEST_REQUEST_ID);
      expect(error.cause).toBeInstanceOf(Error);
      expect(server.requests).toHaveLength(lean ? 4 : 3);
    });

    test('500 without end is given up at the deadline', async () => {
      const store = open({ maxRetries: 100, requestTimeoutMs: 700 });
      server.always(failAzure(500, 'InternalError'));
      const start = performance.now();
      await expectFailure(put(store), 'TIMEOUT', /RequestTimeout/);
      expect(performance.now() - start).toBeLessThan(1_500);
    });

    test('throttling without end is THROTTLED', async () => {
      const store = open({ maxRetries: 1 });
      server.always(failAzure(503, 'ServerBusy'));
      await expectFailure(put(store), 'THROTTLED', /MaxConnections/);
    });

    test.each<[string, Step, 'SHORT_BODY' | 'INTEGRITY']>([
      [
        'short',
        answerRaw({ 'content-length': 1_000 }, small.subarray(0, 100), (s) => s.end()),
        'SHORT_BODY',
      ],
      [
        'altered',
        answerRaw({ 'content-length': 1_000, 'content-md5': WRONG_MD5 }, small, () => undefined),
        'INTEGRITY',
      ],
    ])('a body that is %s each time is an error', async (_name, fault, code) => {
      server.always(fault);
      await expectFailure(get(open({ maxRetries: 1 })), code);
    });

    test('where Orthanc verifies, whole reads are not hashed again', async () => {
      const store = open({}, { verifyEtag: false });
      server.always(
        answerRaw(
          { 'content-length': 1_000, 'content-md5': WRONG_MD5, etag: '"x"' },
          small,
          () => undefined,
        ),
      );
      expectSameBytes((await get(store)).bytes(), small);
    });

    test.each([
      ['in one request', {}],
      ['in blocks', { sizes: IN_BLOCKS }],
    ])('what went %s is verified by its CRC32, however it is read', async (_way, deps) => {
      const bytes = makeBytes(11 * MIB);
      const store = open({ maxRetries: 1 }, { verifyEtag: false, ...deps });
      await put(store, bytes);
      expectSameBytes((await get(store)).bytes(), bytes);

      const [path, stored] = [...server.objects][0] ?? [];
      if (path === undefined || stored === undefined) throw new Error('nothing was stored');
      const altered = Buffer.from(stored.bytes);
      altered[5 * MIB] = (altered[5 * MIB] ?? 0) ^ 1;
      server.objects.set(path, { ...stored, bytes: altered });
      await expectFailure(get(store), 'INTEGRITY', /CRC32/);
      await expectFailure(get(store, { start: 0, end: bytes.length }), 'INTEGRITY', /CRC32/);
    });

    test('a large range that is the whole is verified like the whole', async () => {
      const bytes = makeBytes(5 * MIB);
      server.always(
        answerRaw(
          {
            'content-length': bytes.length,
            'content-range': `bytes 0-${bytes.length - 1}/${bytes.length}`,
            'x-ms-blob-content-md5': WRONG_MD5,
          },
          bytes,
          () => undefined,
          '206 Partial Content',
        ),
      );
      const store = open({ maxRetries: 1 });
      await expectFailure(get(store, { start: 0, end: bytes.length }), 'INTEGRITY', /MD5/);
    });

    test('a range answered by the whole object is an error, not the wrong bytes', async () => {
      const store = open({ maxRetries: 0 });
      server.always(answerRaw({ 'content-length': 1_000 }, small, () => undefined));
      await expectFailure(get(store, { start: 10, end: 20 }), 'INTEGRITY', /no Content-Range/);
    });

    test('a server that never answers is left at the deadline', async () => {
      const store = open({ requestTimeoutMs: 600 });
      server.always(hang());
      const start = performance.now();
      await expectFailure(get(store), 'TIMEOUT', /cannot read "key"/);
      await expectFailure(put(store), 'TIMEOUT', /cannot write "key"/);
      expect(performance.now() - start).toBeLessThan(2_500);
    });

    test('an early 403 ends a large write at once, and nothing reads its body afterwards', async () => {
      const store = open();
      server.always(({ response }) => {
        answerAzureError(response, 403, 'AuthorizationPermissionMismatch', {
          headers: { connection: 'close' },
        });
      });
      const body = makeBody(makeBytes(32 * MIB));
      await expectFailure(
        store.put('key', body, { signal: never() }).finally(() => {
          body.end();
        }),
        'ACCESS_DENIED',
      );
      await sleep(200);
      expect(body.readsAfterEnd()).toBe(0);
    });

    test('success before all bytes were sent is no success', async () => {
      const store = open({ maxRetries: 1 });
      server.always(({ response }) => {
        response.writeHead(201, { etag: '"x"', 'content-length': '0' }).end();
      });
      await expectFailure(put(store, makeBytes(32 * MIB)), 'UNAVAILABLE');
    });

    test('a failed block ends the upload, and nothing is stored', async () => {
      const store = open({ maxRetries: 0 }, { sizes: IN_BLOCKS });
      let blocks = 0;
      server.always(async (exchange) => {
        blocks += 1;
        await (blocks === 2 ? failAzure(403, 'Whatever')(exchange) : exchange.proceed());
      });
      await expectFailure(put(store, makeBytes(22 * MIB)), 'ACCESS_DENIED');
      expect(server.objects.size).toBe(0);
    });

    test.each<[string, number, AzureErrorOptions, StorageErrorCode, RegExp]>([
      ['ContainerNotFound', 404, {}, 'BAD_CONFIG', /ContainerName/],
      ['ContainerBeingDeleted', 409, {}, 'UNAVAILABLE', /being deleted/],
      [
        'AuthenticationFailed',
        403,
        {
          xml: '<AuthenticationErrorDetail>The MAC signature found in the HTTP request "SIGNED" is not the same as any computed signature.</AuthenticationErrorDetail>',
        },
        'ACCESS_DENIED',
        /account key is wrong.*AzureBlobStorage\.ConnectionString/,
      ],
      ['KeyBasedAuthenticationNotPermitted', 403, {}, 'ACCESS_DENIED', /AccountUrl/],
      ['AuthorizationFailure', 403, {}, 'ACCESS_DENIED', /firewall/],
      ['BlobArchived', 409, {}, 'ACCESS_DENIED', /Archive tier.*rehydrate/],
      ['InvalidUri', 400, {}, 'BAD_CONFIG', /ContainerName/],
      ['AccountIsDisabled', 403, {}, 'ACCESS_DENIED', /disabled/],
      ['InvalidRange', 416, {}, 'BAD_RANGE', /range/],
      ['Whatever', 418, {}, 'INTERNAL', /418.*The message of Whatever/],
    ])('%s is explained', async (code, status, options, expected, message) => {
      const store = open({ maxRetries: 1 });
      server.always(failAzure(status, code, options));
      const error = await expectFailure(get(store), expected, message);
      expect(error.requestId).toBe(TEST_REQUEST_ID);
      const names = Object.getOwnPropertyNames(error);
      const cause = error.cause instanceof Error ? Object.getOwnPropertyNames(error.cause) : [];
      const everything = JSON.stringify(error, [...names, ...cause]);
      expect(everything).not.toMatch(/SIGNED|SharedKey/);
    });

    test('a clock that is off is explained with the difference', async () => {
      const store = open({ maxRetries: 1 });
      const date = new Date(Date.now() - 20 * 60_000).toUTCString();
      server.always(failAzure(403, 'AuthenticationFailed', { headers: { date } }));
      await expectFailure(get(store), 'ACCESS_DENIED', /20 minutes ahead of/);
    });

    test('something that is no Azure is recognised', async () => {
      const store = open({ maxRetries: 0 });
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(404, { 'content-type': 'text/html' }).end('<html>nothing here</html>');
      });
      await expectFailure(get(store), 'BAD_CONFIG', /no Azure Blob service/);
    });
  });

  test("the SDK's own log goes into ours, without keys, signatures and contents", async () => {
    const signature = 'c2lnbmF0dXJlIHRoYXQgbm8gbG9n';
    const text = `BlobEndpoint=${server.endpoint}/account;SharedAccessSignature=sv=2024-11-04&sp=rwd&sig=${signature}`;
    const bySignature = open({
      account: { kind: 'connection-string', connectionString: new Secret(text) },
    });
    const from = log.lines.length;
    setLogLevel('verbose');
    try {
      for (const store of [open(), bySignature]) {
        server.script(failAzure(503, 'ServerBusy'));
        await put(store, Buffer.from('the patient is called Meier'));
        await get(store);
      }
    } finally {
      setLogLevel(undefined);
    }
    const lines = log.lines.slice(from).join('\n');
    expect(lines).toMatch(/^info: Azure SDK: azure:/m);
    expect(lines).not.toMatch(/Meier|SharedKey account/);
    expect(lines).not.toContain(signature);
    expect(lines).not.toContain(TEST_ACCOUNT_KEY);
  });

  describe('aborts', () => {
    const reason = new StorageError('TIMEOUT', 'the request is over');

    test('before the start: nothing is sent', async () => {
      const store = open();
      const aborted = AbortSignal.abort(reason);
      await expectFailure(store.get('key', undefined, makeSink(), { signal: aborted }), 'TIMEOUT');
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

    test('while waiting for the next attempt: no further request', async () => {
      const store = open({ maxRetries: 50 });
      server.always(failAzure(503, 'ServerBusy', { headers: { 'retry-after': '30' } }));
      const controller = new AbortController();
      const writing = store.put('key', makeBody(small), { signal: controller.signal });
      await expect.poll(() => server.requests.length).toBe(1);
      await sleep(50);
      controller.abort();
      await expectFailure(writing, 'ABORTED');
      await sleep(100);
      expect(server.requests.length).toBe(1);
    });

    test('close fails what is under way with CLOSED and ends all connections', async () => {
      const store = open();
      await put(store);
      server.always(hang());
      const reading = store.get('key', undefined, makeSink(), { signal: never() });
      const failed = expectFailure(reading, 'CLOSED');
      await expect.poll(() => server.requests.length).toBe(2);
      const start = performance.now();
      await store.close();
      await failed;
      expect(performance.now() - start).toBeLessThan(500);
      await expect.poll(() => server.openSockets()).toBe(0);
      await expectFailure(put(store), 'CLOSED');
    });
  });
});
