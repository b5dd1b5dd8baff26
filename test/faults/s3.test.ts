// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when an S3 server, or the way to it, misbehaves. Each case runs with and without the lean path.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { S3Settings } from '../../src/config/settings.ts';
import { StorageError } from '../../src/errors.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
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
import {
  answerError,
  answerRaw,
  failWith,
  hang,
  reset,
  type ScriptedServer,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeLogger, makeS3Settings, TEST_SECRET_KEY } from '../support/settings.ts';

const MIB = 1024 * 1024;
/** CRC32 of makeBytes(1000), as a server would have stored it, is learned by putting it; this one belongs to nothing. */
const WRONG_CRC32 = 'AAAAAA==';

describe.each([
  { path: 'lean path', lean: true },
  { path: 'SDK path', lean: false },
])('S3 faults, $path', ({ lean }) => {
  let server: ScriptedServer;
  const stores: ObjectStore[] = [];
  const log = makeLogger();

  function open(changes: Partial<S3Settings> = {}): ObjectStore {
    const settings = makeS3Settings({ endpoint: server.endpoint, maxRetries: 3, ...changes });
    const store = withDeadline(createS3Store(settings, { log, lean }), settings.requestTimeoutMs);
    stores.push(store);
    return store;
  }

  beforeEach(async () => {
    server = await startScriptedServer();
  });

  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close();
    await server.close();
    expect(log.lines.join('\n')).not.toContain(TEST_SECRET_KEY);
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
      expect(server.requests.map(({ method, url }) => `${method} ${url.split('?')[0]}`)).toEqual([
        'PUT /bucket/key',
        'GET /bucket/key',
        'GET /bucket/key',
        'DELETE /bucket/key',
      ]);
      expect(server.requests.every(({ headers }) => headers['expect'] === undefined)).toBe(true);
    });

    test('keys are sent as they are, odd ones and double slashes included', async () => {
      const store = open();
      for (const key of ["a b/ü+&%/#?'", '//double//slash/', '.', 'a/../b', '~(*)!', '😀']) {
        await store.put(key, makeBody(small), { signal: never() });
        const path = server.requests.at(-1)?.url.split('?')[0] ?? '';
        expect(path).toMatch(/^[\w/.~%-]+$/);
        expect(decodeURIComponent(path)).toBe(`/bucket/${key}`);
      }
    });

    test('a write carries the settings that concern objects', async () => {
      const store = open({
        storageClass: 'STANDARD_IA',
        tags: { study: 'a b', 'x&y': '=' },
        serverSideEncryption: 'aws:kms',
        kmsKeyId: 'arn:aws:kms:eu-west-1:111122223333:key/abc',
      });
      await put(store);
      expect(server.requests).toHaveLength(1);
      expect(server.requests[0]?.headers).toMatchObject({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-tagging': 'study=a%20b&x%26y=%3D',
        'x-amz-server-side-encryption': 'aws:kms',
        'x-amz-server-side-encryption-aws-kms-key-id': 'arn:aws:kms:eu-west-1:111122223333:key/abc',
      });
    });

    test('ChecksumMode WhenSupported sends CRC32 and asks for checksums', async () => {
      const store = open();
      await put(store);
      await get(store);
      expect(server.requests[0]?.headers['x-amz-checksum-crc32']).toMatch(/^.{6}==$/);
      expect(server.requests[0]?.headers['content-md5']).toBeUndefined();
      expect(server.requests[1]?.headers['x-amz-checksum-mode']).toBe('ENABLED');
    });

    test('ChecksumMode WhenRequired sends Content-MD5 and no header of checksums', async () => {
      const store = open({ checksumMode: 'WhenRequired' });
      await put(store);
      await get(store);
      await store.delete('key', { signal: never() });
      expect(server.requests[0]?.headers['content-md5']).toMatch(/^.{22}==$/);
      for (const { headers } of server.requests) {
        const names = Object.keys(headers).filter((name) => /checksum/.test(name));
        expect(names).toEqual([]);
      }
    });

    test('large contents go in parts, with the settings on the upload, and read back whole', async () => {
      const store = open({
        transfer: { always: true, poolSize: 3, partSizeBytes: 5 * MIB },
        storageClass: 'STANDARD_IA',
        tags: { a: 'b' },
      });
      const bytes = makeBytes(11 * MIB);
      const body = makeBody(bytes);
      await store.put('key', body, { signal: never() });
      expect(server.requests.map(({ method }) => method)).toEqual([
        'POST',
        'PUT',
        'PUT',
        'PUT',
        'POST',
      ]);
      expect(server.requests[0]?.headers).toMatchObject({
        'x-amz-storage-class': 'STANDARD_IA',
        'x-amz-tagging': 'a=b',
      });
      expectSameBytes((await get(store)).bytes(), bytes);
      // No part is ever held as a whole.
      expect(body.largestRead()).toBeLessThanOrEqual(MIB);
    });

    test('over plain HTTP the signature covers the content', async () => {
      const store = open({ transfer: { always: true, poolSize: 2, partSizeBytes: 5 * MIB } });
      await put(store);
      await put(store, makeBytes(6 * MIB));
      const sent = server.requests.filter(({ method }) => method === 'PUT');
      expect(sent).toHaveLength(3);
      for (const { headers, body } of sent) {
        const digest = createHash('sha256').update(body()).digest('hex');
        expect(headers['x-amz-content-sha256']).toBe(digest);
        expect(headers['authorization']).toContain('x-amz-content-sha256');
      }
    });

    test('a write without the transfer manager is one PUT of any size up to 64 MB', async () => {
      const store = open();
      await put(store, makeBytes(12 * MIB));
      expect(server.requests.map(({ method }) => method)).toEqual(['PUT']);
    });
  });

  describe('failures that pass', () => {
    test.each<[string, Step]>([
      ['503', failWith(503, 'ServiceUnavailable')],
      ['500', failWith(500, 'InternalError')],
      ['503 SlowDown', failWith(503, 'SlowDown')],
      [
        '429 with Retry-After',
        failWith(429, 'TooManyRequests', { headers: { 'retry-after': '1' } }),
      ],
      ['a reset before the answer', reset()],
      [
        'an answer that is not XML',
        answerRaw({ 'content-length': 9 }, Buffer.from('<<garbage'), (s) => s.end(), '500 Oops'),
      ],
    ])('%s, then success: both write and read succeed', async (_name, fault) => {
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
      const throttled = failWith(429, 'TooManyRequests', { headers: { 'retry-after': '1' } });
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

    test.each<[string, (object: Buffer, crc32: string) => Step]>([
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
        'long',
        (object, crc32) =>
          answerRaw(
            { 'content-length': object.length + 1, 'x-amz-checksum-crc32': crc32 },
            Buffer.concat([object, Buffer.from([0])]),
            (s) => s.end(),
          ),
      ],
      [
        'altered',
        (object, crc32) =>
          answerRaw(
            { 'content-length': object.length, 'x-amz-checksum-crc32': crc32 },
            Buffer.concat([object.subarray(1), Buffer.from([0])]),
            () => undefined,
          ),
      ],
    ])('a body that is %s is read again', async (_name, makeFault) => {
      const store = open();
      await put(store);
      const object = server.objects.get('/bucket/key');
      if (object === undefined) throw new Error('nothing was put');
      const crc32 = object.headers['x-amz-checksum-crc32'] ?? '';
      server.script(makeFault(object.bytes, crc32));
      expectSameBytes((await get(store)).bytes(), small);
    });

    test('bytes behind the announced end of a body do not reach the sink', async () => {
      const store = open();
      await put(store);
      server.script(
        answerRaw({ 'content-length': 1_000 }, Buffer.concat([small, small]), (s) => s.end()),
      );
      expectSameBytes((await get(store)).bytes(), small);
      expectSameBytes((await get(store)).bytes(), small);
    });

    test('a clock that is 20 minutes off is corrected from the answer', async () => {
      const store = open();
      const serverTime = new Date(Date.now() + 20 * 60_000);
      const skewed: Step = async (exchange) => {
        const sent = exchange.recorded.headers['x-amz-date'] ?? '';
        const sentMs = Date.parse(sent.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
        exchange.response.setHeader('date', serverTime.toUTCString());
        if (Math.abs(sentMs - serverTime.getTime()) < 60_000) {
          await exchange.proceed();
          return;
        }
        await failWith(403, 'RequestTimeTooSkewed', {
          headers: { date: serverTime.toUTCString() },
          xml: `<ServerTime>${serverTime.toISOString()}</ServerTime>`,
        })(exchange);
      };
      server.always(skewed);
      await put(store);
      const before = server.requests.length;
      await put(store);
      // Once corrected, nothing is sent twice.
      expect(server.requests.length - before).toBe(1);
    });

    test('a bucket that moved is followed to its region', async () => {
      const store = open();
      server.always(async (exchange) => {
        const isThere = exchange.recorded.headers['authorization']?.includes('/eu-west-3/s3/');
        if (isThere === true) await exchange.proceed();
        else {
          await failWith(301, 'PermanentRedirect', {
            headers: { 'x-amz-bucket-region': 'eu-west-3' },
          })(exchange);
        }
      });
      await put(store);
      expect(server.objects.size).toBe(1);
    });

    test('a completed multipart upload whose answer got lost is not a failure', async () => {
      const store = open({ transfer: { always: true, poolSize: 2, partSizeBytes: 5 * MIB } });
      const bytes = makeBytes(6 * MIB);
      const proceed: Step = (exchange) => exchange.proceed();
      const lost: Step = async ({ readBody, request, socket }) => {
        await readBody();
        const uploadId = new URL(request.url ?? '', 'http://x').searchParams.get('uploadId');
        expect(uploadId).not.toBeNull();
        server.objects.set('/bucket/key', {
          bytes: Buffer.from(bytes),
          headers: { etag: '"etag-2"' },
        });
        socket.resetAndDestroy();
      };
      server.script(proceed, proceed, proceed, lost, failWith(404, 'NoSuchUpload'));
      await put(store, bytes);
    });
  });

  describe('failures that stay', () => {
    test('500 without end is given up after MaxRetries, with the request id', async () => {
      const store = open({ maxRetries: 2 });
      server.always(failWith(500, 'InternalError'));
      const error = await expectFailure(
        put(store),
        'UNAVAILABLE',
        /cannot write "key".*InternalError/,
      );
      expect(error.requestId).toBe('REQUEST0ID');
      expect(error.cause).toBeInstanceOf(Error);
      expect(server.requests).toHaveLength(lean ? 4 : 3);
    });

    test('500 without end is given up at the deadline', async () => {
      const store = open({ maxRetries: 100, requestTimeoutMs: 700 });
      server.always(failWith(500, 'InternalError'));
      const start = performance.now();
      await expectFailure(put(store), 'TIMEOUT', /RequestTimeout/);
      expect(performance.now() - start).toBeLessThan(1_500);
    });

    test('throttling without end is THROTTLED', async () => {
      const store = open({ maxRetries: 1 });
      server.always(failWith(503, 'SlowDown'));
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
        answerRaw(
          { 'content-length': 1_000, 'x-amz-checksum-crc32': WRONG_CRC32 },
          small,
          () => undefined,
        ),
        'INTEGRITY',
      ],
    ])('a body that is %s each time is an error', async (_name, fault, code) => {
      const store = open({ maxRetries: 1 });
      server.always(fault);
      await expectFailure(get(store), code);
    });

    test('a range that arrives whole is verified like the whole', async () => {
      const store = open({ maxRetries: 1 });
      await put(store);
      server.always(
        answerRaw(
          {
            'content-length': 1_000,
            'content-range': 'bytes 0-999/1000',
            'x-amz-checksum-crc32': WRONG_CRC32,
          },
          small,
          () => undefined,
          '206 Partial Content',
        ),
      );
      await expectFailure(get(store, { start: 0, end: 1_000 }), 'INTEGRITY');
      // Of a part, the checksum says nothing.
      server.always(
        answerRaw(
          {
            'content-length': 10,
            'content-range': 'bytes 0-9/1000',
            'x-amz-checksum-crc32': WRONG_CRC32,
          },
          small.subarray(0, 10),
          () => undefined,
          '206 Partial Content',
        ),
      );
      expectSameBytes((await get(store, { start: 0, end: 10 })).bytes(), small.subarray(0, 10));
    });

    test.each([
      ['crc32', 'y/Q5Jg=='],
      ['crc32c', '4waSgw=='],
      ['crc64nvme', 'rosUhgp5mIg='],
      ['sha1', '98O8HYCOBHMq32eZZczDTKeuNEE='],
      ['sha256', 'FeKw08M4keuw8e9gnsQZQgwg4yDOlMZfvIwzEkSOsiU='],
    ])('whatever checksum the server has is verified: %s', async (algorithm, checksum) => {
      const store = open({ maxRetries: 0 });
      const content = Buffer.from('123456789');
      const altered = Buffer.from('123456780');
      const head = { 'content-length': 9, [`x-amz-checksum-${algorithm}`]: checksum };
      server.script(answerRaw(head, content, () => undefined));
      expect(Buffer.from((await get(store)).bytes()).toString()).toBe('123456789');
      server.always(answerRaw(head, altered, () => undefined));
      await expectFailure(get(store), 'INTEGRITY', new RegExp(algorithm));
    });

    test('an ETag that is an MD5 is verified on demand, one that is none is left alone', async () => {
      const md5 = '25f9e794323b453885f5181f1b624d0b';
      const altered = Buffer.from('123456780');
      const settings = makeS3Settings({ endpoint: server.endpoint, maxRetries: 0 });
      const careful = createS3Store(settings, { log, lean, verifyEtag: true });
      stores.push(careful);
      server.always(answerRaw({ 'content-length': 9, etag: `"${md5}"` }, altered, () => undefined));
      await expectFailure(get(careful), 'INTEGRITY', /ETag/);
      await get(open());
      const kms = {
        'content-length': 9,
        etag: `"${md5}"`,
        'x-amz-server-side-encryption': 'aws:kms',
      };
      server.always(answerRaw(kms, altered, () => undefined));
      await get(careful);
      server.always(
        answerRaw({ 'content-length': 9, etag: `"${md5}-2"` }, altered, () => undefined),
      );
      await get(careful);
    });

    test('a checksum of checksums is not mistaken for one of the content', async () => {
      const store = open({ maxRetries: 0 });
      server.script(
        answerRaw(
          { 'content-length': 1_000, 'x-amz-checksum-crc32': `${WRONG_CRC32}-2` },
          small,
          () => undefined,
        ),
      );
      expectSameBytes((await get(store)).bytes(), small);
    });

    test.each<[string, string, string]>([
      ['another range', '206 Partial Content', 'bytes 11-20/1000'],
      ['a shorter range', '206 Partial Content', 'bytes 10-18/1000'],
      ['one that starts later', '206 Partial Content', 'bytes 11-19/1000'],
      ['nonsense', '206 Partial Content', 'bytes */1000'],
    ])('a range answered by %s is an error', async (_name, status, contentRange) => {
      const store = open({ maxRetries: 0 });
      server.always(
        answerRaw(
          { 'content-length': 10, 'content-range': contentRange },
          small.subarray(0, 10),
          (s) => s.end(),
          status,
        ),
      );
      await expectFailure(get(store, { start: 10, end: 20 }), 'INTEGRITY');
    });

    test.each<[string, string, 'SHORT_BODY' | 'INTEGRITY']>([
      ['fewer', '5\r\nabcde\r\n0\r\n\r\n', 'SHORT_BODY'],
      ['more', 'b\r\nabcdefghijk\r\n0\r\n\r\n', 'INTEGRITY'],
    ])('%s bytes than the range has, in chunks, are an error', async (_name, chunks, code) => {
      const store = open({ maxRetries: 0 });
      const head = { 'transfer-encoding': 'chunked', 'content-range': 'bytes 10-19/1000' };
      server.always(answerRaw(head, Buffer.from(chunks), () => undefined, '206 Partial Content'));
      await expectFailure(get(store, { start: 10, end: 20 }), code);
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

    test('a server that stops in the middle of a body is left at the deadline', async () => {
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

    test('an early 403 ends a large write at once, and nothing reads its body afterwards', async () => {
      const store = open();
      server.always(({ response }) => {
        answerError(response, 403, 'AccessDenied', { headers: { connection: 'close' } });
      });
      const body = makeBody(makeBytes(32 * MIB));
      await expectFailure(
        store.put('key', body, { signal: never() }).finally(() => {
          body.end();
        }),
        'ACCESS_DENIED',
        /s3:PutObject/,
      );
      await sleep(200);
      expect(body.readsAfterEnd()).toBe(0);
    });

    test('success before all bytes were sent is no success', async () => {
      const store = open({ maxRetries: 1 });
      server.always(({ response }) => {
        response.writeHead(200, { etag: '"x"', 'content-length': '0' }).end();
      });
      await expectFailure(put(store, makeBytes(32 * MIB)), 'UNAVAILABLE');
    });

    test('a failed part ends the multipart upload, which is then aborted', async () => {
      const store = open({
        maxRetries: 0,
        transfer: { always: true, poolSize: 2, partSizeBytes: 5 * MIB },
      });
      server.script((exchange) => exchange.proceed());
      server.always(async (exchange) => {
        const isPart = exchange.recorded.url.includes('partNumber=2');
        await (isPart ? failWith(403, 'AccessDenied')(exchange) : exchange.proceed());
      });
      await expectFailure(put(store, makeBytes(22 * MIB)), 'ACCESS_DENIED');
      await expect.poll(() => server.openUploads()).toBe(0);
      expect(server.objects.size).toBe(0);
      expect(server.requests.at(-1)?.method).toBe('DELETE');
    });

    test.each<[string, number, Parameters<typeof failWith>[2], string, RegExp]>([
      ['NoSuchBucket', 404, {}, 'BAD_CONFIG', /BucketName/],
      [
        'SignatureDoesNotMatch',
        403,
        { xml: '<StringToSign>AWS4-SIGNED</StringToSign>' },
        'ACCESS_DENIED',
        /SecretKey/,
      ],
      ['InvalidAccessKeyId', 403, {}, 'ACCESS_DENIED', /AccessKey/],
      ['ExpiredToken', 400, {}, 'ACCESS_DENIED', /expired/],
      ['AccessDenied', 403, {}, 'ACCESS_DENIED', /s3:GetObject/],
      ['InvalidObjectState', 403, {}, 'ACCESS_DENIED', /Glacier/],
      ['PermanentRedirect', 301, {}, 'BAD_CONFIG', /Region/],
      [
        'AuthorizationHeaderMalformed',
        400,
        { xml: '<Region>eu-north-1</Region>' },
        'BAD_CONFIG',
        /eu-north-1.*Region/,
      ],
      ['Whatever', 418, {}, 'INTERNAL', /418/],
    ])('%s is explained', async (code, status, options, expected, message) => {
      const store = open({ maxRetries: 1 });
      server.always(failWith(status, code, options));
      const error = await expectFailure(get(store), expected as StorageError['code'], message);
      expect(error.requestId).toBe('REQUEST0ID');
      const everything = JSON.stringify(error, [
        ...Object.getOwnPropertyNames(error),
        'StringToSign',
      ]);
      expect(everything).not.toContain('AWS4-SIGNED');
    });

    test('a clock that is off and stays so is explained with the difference', async () => {
      const store = open({ maxRetries: 1 });
      const serverTime = new Date(Date.now() - 20 * 60_000);
      server.always(async (exchange) => {
        // A date that wanders, so that the correction never fits.
        await failWith(403, 'RequestTimeTooSkewed', {
          headers: { date: serverTime.toUTCString() },
        })(exchange);
      });
      await expectFailure(get(store), 'ACCESS_DENIED', /20 minutes ahead of/);
    });

    test('something that is no S3 server is recognised', async () => {
      const store = open({ maxRetries: 0 });
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(404, { 'content-type': 'text/html' }).end('<html>nothing here</html>');
      });
      await expectFailure(get(store), 'BAD_CONFIG', /Endpoint/);
    });
  });

  describe('aborts', () => {
    const reason = new StorageError('TIMEOUT', 'the request is over');

    test('before the start: nothing is sent', async () => {
      const store = open();
      await put(store);
      const before = server.requests.length;
      const aborted = AbortSignal.abort(reason);
      await expectFailure(store.get('key', undefined, makeSink(), { signal: aborted }), 'TIMEOUT');
      await expectFailure(
        store.put('key', makeBody(small), { signal: AbortSignal.abort() }),
        'ABORTED',
      );
      expect(server.requests.length).toBe(before);
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

    test('while writing: the connection ends and the body is left alone', async () => {
      const store = open();
      let resume: () => void = () => undefined;
      server.always(({ request }) => {
        resume = () => request.resume();
      });
      const controller = new AbortController();
      const body = makeBody(makeBytes(48 * MIB));
      const writing = store.put('key', body, { signal: controller.signal });
      await expect.poll(() => server.requests.length).toBe(1);
      controller.abort();
      body.end();
      await expectFailure(writing, 'ABORTED');
      // A server that does not read does not see the end either.
      resume();
      await expect.poll(() => server.openSockets()).toBe(0);
      await sleep(100);
      expect(body.readsAfterEnd()).toBe(0);
      expect(server.requests).toHaveLength(1);
    });

    test('while waiting for a connection: nothing is sent once there is one', async () => {
      const store = open({ maxConnections: 1 });
      let release: () => void = () => undefined;
      server.script(async (exchange) => {
        await new Promise<void>((resolve) => {
          release = resolve;
        });
        await exchange.proceed();
      });
      const first = put(store);
      await expect.poll(() => server.requests.length).toBe(1);
      const controller = new AbortController();
      const second = store.delete('key', { signal: controller.signal });
      const third = store.head('key', { signal: never() });
      await sleep(20);
      controller.abort();
      await expectFailure(second, 'ABORTED');
      release();
      await first;
      expect(await third).toEqual({ sizeBytes: 1_000 });
      expect(server.requests.map(({ method }) => method)).toEqual(['PUT', 'HEAD']);
    });

    test('while waiting for the next attempt: no further request', async () => {
      const store = open({ maxRetries: 50 });
      server.always(failWith(503, 'SlowDown', { headers: { 'retry-after': '30' } }));
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

  test('EnableAwsSdkLogs writes lines without secrets, signatures or contents', async () => {
    const store = open({ enableSdkLogs: true });
    const from = log.lines.length;
    server.script(failWith(503, 'SlowDown'));
    await store.put('key', makeBody(Buffer.from('the patient is called Meier')), {
      signal: never(),
    });
    const lines = log.lines.slice(from).join('\n');
    expect(lines).toMatch(
      /^info: AWS SDK info: command=PutObjectCommand bucket=bucket key=key .*attempts=2/m,
    );
    expect(lines).not.toMatch(/Meier|Signature|Credential|authorization/i);
  });
});
