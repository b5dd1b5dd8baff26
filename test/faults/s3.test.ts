// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when an S3 server, or the way to it, misbehaves.

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { crc32, encodeCrc32 } from '../../src/checksums/checksums.ts';
import type { StoreDependencies } from '../../src/config/settings.ts';
import type { S3Settings } from '../../src/providers/s3/settings.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';
import { answerS3, answerS3Error, failS3, TEST_REQUEST_ID } from '../support/s3-memory.ts';
import { answerRaw, BLOCKED, type Step } from '../support/scripted-server.ts';
import { makeS3Settings, TEST_SECRET_KEY } from '../support/settings.ts';
import { SMALL, useBench } from './bench.ts';
import { type Explained, storeFaults } from './store-faults.ts';

const MIB = 1024 * 1024;
/** CRC32 of nothing. */
const WRONG_CRC32 = 'AAAAAA==';
/** What S3 shows of a request whose signature is wrong. */
const SIGNED = 'AWS4-SIGNED';

const useS3 = () =>
  useBench<Partial<S3Settings>, Partial<StoreDependencies>>({
    answer: answerS3,
    create: ({ endpoint }, changes, log, deps) => {
      const settings = makeS3Settings({ endpoint, maxRetries: 3, ...changes });
      const store = createS3Store(settings, { log, ...deps });
      return withDeadline(store, settings.requestTimeoutMs);
    },
    secret: TEST_SECRET_KEY,
  });

function readAmzDate(date: string): number {
  return Date.parse(date.replace(/^(....)(..)(..T..)(..)(..Z)$/, '$1-$2-$3:$4:$5'));
}

describe('S3', () => {
  storeFaults({
    useBench: useS3,
    requests: ['PUT /bucket/key', 'GET /bucket/key', 'GET /bucket/key', 'DELETE /bucket/key'],
    internalError: failS3(500, 'InternalError'),
    internalErrorWord: /InternalError/,
    requestId: TEST_REQUEST_ID,
    throttled: (seconds) =>
      failS3(429, 'TooManyRequests', { headers: { 'retry-after': String(seconds) } }),
    earlyDenial: ({ response }) => {
      answerS3Error(response, 403, 'AccessDenied', { headers: { connection: 'close' } });
    },
    writeDenied: /s3:PutObject/,
    success: { status: 200, body: '' },
    contentMismatch: failS3(400, 'BadDigest'),
    missingBucket: failS3(404, 'NoSuchBucket'),
    missingBucketMessage: /AwsS3Storage\.BucketName/,
    passing: [
      ['503', failS3(503, 'ServiceUnavailable')],
      ['503 SlowDown', failS3(503, 'SlowDown')],
      ['400 RequestTimeout', failS3(400, 'RequestTimeout')],
      ['409 OperationAborted', failS3(409, 'OperationAborted')],
      ['409 ConditionalRequestConflict', failS3(409, 'ConditionalRequestConflict')],
    ],
    checksumOf: (bytes) => ({ 'x-amz-checksum-crc32': encodeCrc32(crc32(bytes, 0)) }),
    listing: (keys, next) => {
      const contents = keys.map(
        (key) =>
          `<Contents><Key>${key}</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>`,
      );
      const token =
        next === undefined ? '' : `<NextContinuationToken>${next}</NextContinuationToken>`;
      return `<ListBucketResult><IsTruncated>${next !== undefined}</IsTruncated>${token}${contents.join('')}</ListBucketResult>`;
    },
    explained: [
      [
        'SignatureDoesNotMatch',
        failS3(403, 'SignatureDoesNotMatch', { xml: `<StringToSign>${SIGNED}</StringToSign>` }),
        'ACCESS_DENIED',
        /SecretKey/,
      ],
      [
        'SignatureDoesNotMatch behind a proxy',
        failS3(403, 'SignatureDoesNotMatch', {
          xml: `<StringToSign>${SIGNED}</StringToSign>`,
          headers: { server: 'nginx/1.27', via: '1.1 gateway' },
        }),
        'ACCESS_DENIED',
        /something between changes the requests.*SecretKey.*via "1\.1 gateway".*"nginx/,
      ],
      ['InvalidAccessKeyId', failS3(403, 'InvalidAccessKeyId'), 'ACCESS_DENIED', /AccessKey/],
      ...(
        [
          // Garage 2.5.
          [403, 'AccessDenied', 'Forbidden: Invalid signature', 'secret'],
          [403, 'AccessDenied', 'Forbidden: No such key: GK31c2f218a2e44f485b94239e', 'access'],
          // s3s 0.14, gofakes3, Cloudflare R2, and gateways that know no code for it.
          [403, 'NotSignedUp', 'Your account is not signed up', 'access'],
          [403, 'InvalidAccessKeyID', 'The Access Key Id is not in our records.', 'access'],
          [400, 'InvalidArgument', 'Credential access key has length 20, should be 32', 'access'],
          [403, 'AccessDenied', 'The access key ID you provided does not exist', 'access'],
          [401, 'Unauthorized', 'The signature does not match the request', 'secret'],
        ] as const
      ).map(
        ([status, code, message, wrong]): Explained => [
          `${code} with "${message}"`,
          failS3(status, code, { message }),
          'ACCESS_DENIED',
          wrong === 'secret'
            ? /the secret key does not belong to the access key.*AwsS3Storage\.SecretKey/
            : /the server does not know the access key.*AwsS3Storage\.AccessKey/,
        ],
      ),
      [
        'AccessDenied in other words',
        failS3(403, 'AccessDenied', { message: 'No permission for the key of this object' }),
        'ACCESS_DENIED',
        /access is denied to these credentials; allow s3:GetObject/,
      ],
      ...['SecondLevelDomainForbidden', 'VirtualHostDomainRequired'].map(
        (code): Explained => [
          code,
          failS3(403, code),
          'BAD_CONFIG',
          /AwsS3Storage\.VirtualAddressing to true/,
        ],
      ),
      ...(
        [
          [501, 'NotImplemented', 'A header you provided implies functionality'],
          [400, 'InvalidArgument', "Unsupported header 'x-amz-checksum-mode' received"],
          [400, 'InvalidRequest', 'Value for x-amz-checksum-crc32 header is invalid.'],
        ] as const
      ).map(
        ([status, code, message]): Explained => [
          `${code} with "${message}"`,
          failS3(status, code, { message }),
          'BAD_CONFIG',
          /ChecksumMode "WhenRequired"/,
        ],
      ),
      ['ExpiredToken', failS3(400, 'ExpiredToken'), 'ACCESS_DENIED', /expired/],
      ['AccessDenied', failS3(403, 'AccessDenied'), 'ACCESS_DENIED', /s3:GetObject/],
      ['InvalidObjectState', failS3(403, 'InvalidObjectState'), 'ACCESS_DENIED', /Glacier/],
      ['PermanentRedirect', failS3(301, 'PermanentRedirect'), 'BAD_CONFIG', /Region/],
      [
        'AuthorizationHeaderMalformed',
        failS3(400, 'AuthorizationHeaderMalformed', { xml: '<Region>eu-north-1</Region>' }),
        'BAD_CONFIG',
        /eu-north-1.*Region/,
      ],
      ['an unknown word', failS3(418, 'Whatever'), 'INTERNAL', /418/],
    ],
    mixedUp: 'INTEGRITY',
    hidden: new RegExp(SIGNED),
    strangerMessage: /AwsS3Storage\.Endpoint/,
    addressSetting: 'AwsS3Storage.Endpoint',
  });

  describe('requests', () => {
    const bench = useS3();
    const { open, put, get } = bench;

    test('keys are sent as they are, odd ones and double slashes included', async () => {
      const store = open();
      for (const key of ["a b/ü+&%/#?'", '//double//slash/', '.', 'a/../b', '~(*)!', '😀']) {
        await store.put(key, makeBody(SMALL), { signal: never() });
        const path = bench.server.requests.at(-1)?.url.split('?')[0] ?? '';
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
      expect(bench.server.requests).toHaveLength(1);
      expect(bench.server.requests[0]?.headers).toMatchObject({
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
      expect(bench.server.requests[0]?.headers['x-amz-checksum-crc32']).toMatch(/^.{6}==$/);
      expect(bench.server.requests[0]?.headers['content-md5']).toBeUndefined();
      expect(bench.server.requests[1]?.headers['x-amz-checksum-mode']).toBe('ENABLED');
    });

    test('ChecksumMode WhenRequired sends Content-MD5 and no header of checksums', async () => {
      const store = open({ checksumMode: 'WhenRequired' });
      await put(store);
      await get(store);
      await store.delete('key', { signal: never() });
      expect(bench.server.requests[0]?.headers['content-md5']).toMatch(/^.{22}==$/);
      for (const { headers } of bench.server.requests) {
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
      expect(bench.server.requests.map(({ method }) => method)).toEqual([
        'POST',
        'PUT',
        'PUT',
        'PUT',
        'POST',
      ]);
      expect(bench.server.requests[0]?.headers).toMatchObject({
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
      const sent = bench.server.requests.filter(({ method }) => method === 'PUT');
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
      expect(bench.server.requests.map(({ method }) => method)).toEqual(['PUT']);
    });
  });

  describe('faults of its own kind', () => {
    const bench = useS3();
    const { open, put, get } = bench;

    test('a clock that is 20 minutes off is corrected from the answer', async () => {
      const store = open();
      const serverTime = new Date(Date.now() + 20 * 60_000);
      const skewed: Step = async (exchange) => {
        const sent = exchange.recorded.headers['x-amz-date'] ?? '';
        const sentMs = readAmzDate(sent);
        exchange.response.setHeader('date', serverTime.toUTCString());
        if (Math.abs(sentMs - serverTime.getTime()) < 60_000) {
          await exchange.proceed();
          return;
        }
        await failS3(403, 'RequestTimeTooSkewed', {
          headers: { date: serverTime.toUTCString() },
          xml: `<ServerTime>${serverTime.toISOString()}</ServerTime>`,
        })(exchange);
      };
      bench.server.always(skewed);
      await put(store);
      const before = bench.server.requests.length;
      await put(store);
      // Once corrected, nothing is sent twice.
      expect(bench.server.requests.length - before).toBe(1);
    });

    test('a clock that is off is corrected for all requests under way, without retries', async () => {
      const store = open({ maxRetries: 0 });
      const date = new Date(Date.now() - 20 * 60_000).toUTCString();
      let refused = 0;
      bench.server.always(async (exchange) => {
        exchange.response.setHeader('date', date);
        const sent = exchange.recorded.headers['x-amz-date'] ?? '';
        const isRight = Math.abs(Date.parse(date) - readAmzDate(sent)) < 60_000;
        if (!isRight) refused += 1;
        await (isRight ? exchange.proceed() : failS3(403, 'RequestTimeTooSkewed')(exchange));
      });
      await Promise.all([put(store), put(store), put(store)]);
      expect(refused).toBeGreaterThan(0);
    });

    test('a clock that is off and stays so is explained with the difference', async () => {
      const store = open({ maxRetries: 1 });
      const serverTime = new Date(Date.now() - 20 * 60_000);
      bench.server.always(async (exchange) => {
        // A date that wanders, so that the correction never fits.
        await failS3(403, 'RequestTimeTooSkewed', {
          headers: { date: serverTime.toUTCString() },
        })(exchange);
      });
      await expectFailure(get(store), 'ACCESS_DENIED', /20 minutes ahead of/);
    });

    /** Answers for eu-west-3 alone. */
    const serveElsewhere = (status: number, code: string) => {
      const refuse = failS3(status, code, { headers: { 'x-amz-bucket-region': 'eu-west-3' } });
      bench.server.always(async (exchange) => {
        const isThere = exchange.recorded.headers['authorization']?.includes('/eu-west-3/s3/');
        await (isThere === true ? exchange.proceed() : refuse(exchange));
      });
    };

    test.each([
      [301, 'PermanentRedirect'],
      [307, 'TemporaryRedirect'],
      [400, 'AuthorizationHeaderMalformed'],
    ])('a bucket that moved is followed to its region: %i %s', async (status, code) => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      const store = open({ maxRetries: 0, transfer });
      serveElsewhere(status, code);
      await store
        .list('', { signal: never() })
        [Symbol.asyncIterator]()
        .next()
        .catch(() => undefined);
      expect(bench.methods()).toEqual(['GET', 'GET']);
      // From now on nothing is sent twice, in parts neither.
      await put(store);
      await put(store, makeBytes(6 * MIB));
      await get(store);
      expect(bench.methods().slice(2)).toEqual(['PUT', 'POST', 'PUT', 'PUT', 'POST', 'GET']);
    });

    test('requests at the same time are all followed there, and look-ups are too', async () => {
      const store = open({ maxRetries: 0 });
      serveElsewhere(400, 'BadRequest');
      await Promise.all(
        ['a', 'b', 'c'].map((key) =>
          expect(store.head(key, { signal: never() })).resolves.toBe(undefined),
        ),
      );
    });

    test.each([
      ['a region that is none', 301, 'PermanentRedirect', 'eu-west-3.example.org'],
      ['another mistake', 400, 'InvalidArgument', 'eu-west-3'],
    ])('%s is not followed', async (_name, status, code, region) => {
      bench.server.always(failS3(status, code, { headers: { 'x-amz-bucket-region': region } }));
      await expect(put(open())).rejects.toThrow();
      expect(bench.methods()).toEqual(['PUT']);
    });

    test('a completed multipart upload whose answer got lost is not a failure', async () => {
      const store = open({ transfer: { always: true, poolSize: 2, partSizeBytes: 5 * MIB } });
      const bytes = makeBytes(6 * MIB);
      const proceed: Step = (exchange) => exchange.proceed();
      const lost: Step = async ({ readBody, request, socket }) => {
        await readBody();
        const uploadId = new URL(request.url ?? '', 'http://x').searchParams.get('uploadId');
        expect(uploadId).not.toBeNull();
        bench.server.objects.set('/bucket/key', {
          bytes: Buffer.from(bytes),
          headers: { etag: '"etag-2"' },
        });
        socket.resetAndDestroy();
      };
      bench.server.script(proceed, proceed, proceed, lost, failS3(404, 'NoSuchUpload'));
      await put(store, bytes);
    });

    test.each([
      ['an error', '<Error><Code>InternalError</Code></Error>', /InternalError/],
      ['an error and a line break', '<Error><Code>InternalError</Code></Error>\n', /InternalError/],
      ['nothing that is known', '<CompleteMultipartUploadResult/>', /did not say .* complete/],
      ["somebody else's page", `<html>${BLOCKED}</html>`, /no store answers/],
    ])('a completion answered 200 with %s is none', async (_name, body, message) => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      const store = open({ maxRetries: 1, transfer });
      bench.server.always(async (exchange) => {
        const { method, url } = exchange.recorded;
        if (method !== 'POST' || !url.includes('uploadId=')) {
          await exchange.proceed();
          return;
        }
        await exchange.readBody();
        exchange.response.writeHead(200, { 'content-length': body.length }).end(body);
      });
      await expectFailure(put(store, makeBytes(6 * MIB)), 'UNAVAILABLE', message);
      await expect.poll(() => bench.server.openUploads()).toBe(0);
      expect(bench.server.objects.size).toBe(0);
    });

    test('a part that is refused until the deadline is told', async () => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      bench.server.script((exchange) => exchange.proceed());
      bench.server.always(failS3(503, 'SlowDown', { headers: { 'retry-after': '30' } }));
      const failed = put(open({ requestTimeoutMs: 1_500, transfer }), makeBytes(11 * MIB));
      await expectFailure(failed, 'TIMEOUT', /RequestTimeout.*fewer requests.*503, SlowDown/);
    });

    test('an upload that is begun after the abort is aborted', async () => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      const store = open({ transfer });
      const controller = new AbortController();
      bench.server.script(async ({ readBody, proceed }) => {
        await readBody();
        controller.abort();
        await sleep(200);
        await proceed();
      });
      const body = makeBody(makeBytes(6 * MIB));
      await expectFailure(store.put('key', body, { signal: controller.signal }), 'ABORTED');
      await expect.poll(() => bench.methods()).toEqual(['POST', 'DELETE']);
      expect(bench.server.openUploads()).toBe(0);
    });

    const otherKey = '<Key>00000000-1fa1-4d2e-883f-0016d3cc0000.dcm</Key>';
    const otherChecksum = '<ChecksumCRC32>AAAAAA==</ChecksumCRC32>';
    test.each([
      ['a start', /uploads/, `<UploadId>another</UploadId>${otherKey}`],
      ['a completion', /uploadId/, `<ETag>"another"</ETag>${otherKey}`],
      ['a completion, by its checksum', /uploadId/, `<ETag>"another"</ETag>${otherChecksum}`],
    ])('%s of another upload is repeated', async (_name, url, words) => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      const store = open({ transfer });
      let isGiven = false;
      bench.server.always(async ({ readBody, recorded, response, proceed }) => {
        response.setHeader('x-amz-checksum-type', 'FULL_OBJECT');
        if (isGiven || recorded.method !== 'POST' || !url.test(recorded.url)) {
          await proceed();
          return;
        }
        isGiven = true;
        await readBody();
        const body = `<CompleteMultipartUploadResult>${words}</CompleteMultipartUploadResult>`;
        response.writeHead(200, { 'content-type': 'application/xml' }).end(body);
      });
      const bytes = makeBytes(6 * MIB);
      const key = '1b4e28ba-2fa1-4d2e-883f-0016d3cc0000.dcm';
      await store.put(key, makeBody(bytes), { signal: never() });
      expect(isGiven).toBe(true);
      expectSameBytes(bench.server.objects.get(`/bucket/${key}`)?.bytes ?? SMALL, bytes);
    });

    test('a success with the checksum of another content, or of another part, is repeated', async () => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      const store = open({ transfer });
      const other: Step = async ({ readBody, response }) => {
        await readBody();
        const head = { etag: '"other"', 'x-amz-checksum-crc32': 'AAAAAA==', 'content-length': 0 };
        response.writeHead(200, head).end();
      };
      bench.server.script(other);
      await put(store);
      expect(bench.methods()).toEqual(['PUT', 'PUT']);
      bench.server.script((exchange) => exchange.proceed(), other);
      const bytes = makeBytes(6 * MIB);
      await put(store, bytes);
      expectSameBytes(bench.server.objects.get('/bucket/key')?.bytes ?? SMALL, bytes);
    });

    test('a failed part ends the multipart upload, which is then aborted', async () => {
      const store = open({
        maxRetries: 0,
        transfer: { always: true, poolSize: 2, partSizeBytes: 5 * MIB },
      });
      bench.server.script((exchange) => exchange.proceed());
      bench.server.always(async (exchange) => {
        const isPart = exchange.recorded.url.includes('partNumber=2');
        await (isPart ? failS3(403, 'AccessDenied')(exchange) : exchange.proceed());
      });
      await expectFailure(put(store, makeBytes(22 * MIB)), 'ACCESS_DENIED');
      await expect.poll(() => bench.server.openUploads()).toBe(0);
      expect(bench.server.objects.size).toBe(0);
      expect(bench.server.requests.at(-1)?.method).toBe('DELETE');
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
      bench.server.script(answerRaw(head, content, () => undefined));
      expect(Buffer.from((await get(store)).bytes()).toString()).toBe('123456789');
      bench.server.always(answerRaw(head, altered, () => undefined));
      await expectFailure(get(store), 'INTEGRITY', new RegExp(algorithm));
    });

    describe('of a server that keeps no checksum', () => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };

      /** As gateways do that know no checksums, or drop the metadata too. */
      function forget(names: RegExp): void {
        bench.server.always(async (exchange) => {
          const { headers } = exchange.recorded;
          for (const name of Object.keys(headers).filter((each) => names.test(each))) {
            delete (headers as Record<string, string | undefined>)[name];
          }
          await exchange.proceed();
        });
      }

      function flip(offset: number): void {
        const object = bench.server.objects.get('/bucket/key');
        if (object !== undefined) object.bytes[offset] = (object.bytes[offset] ?? 0) ^ 1;
      }

      test.each([
        ['WhenSupported', 1_000, 500],
        ['WhenRequired', 1_000, 999],
        ['WhenSupported', 11 * MIB, 3 * MIB],
        ['WhenRequired', 11 * MIB, 0],
        ['WhenSupported', 10 * MIB, 10 * MIB - 1],
      ] as const)('%s, %i bytes: a bit that flips at %i is found', async (mode, size, offset) => {
        forget(/^x-amz-checksum/);
        const store = open({ maxRetries: 0, checksumMode: mode, transfer });
        const bytes = makeBytes(size);
        await put(store, bytes);
        expectSameBytes((await get(store)).bytes(), bytes);
        flip(offset);
        await expectFailure(get(store), 'INTEGRITY', /x-amz-meta-orthanc-crc32/);
      });

      test('an ETag of other 32 digits does no harm', async () => {
        const etag = { etag: `"${'0123456789abcdef'.repeat(2)}"` };
        forget(/^x-amz-checksum/);
        const store = open({ maxRetries: 0 }, { verifyMd5: true });
        await put(store);
        const object = bench.server.objects.get('/bucket/key');
        if (object !== undefined) {
          bench.server.objects.set('/bucket/key', {
            ...object,
            headers: { ...object.headers, ...etag },
          });
        }
        expectSameBytes((await get(store)).bytes(), SMALL);
        flip(1);
        await expectFailure(get(store), 'INTEGRITY', /x-amz-meta-orthanc-crc32/);
      });

      describe("nor our metadata, or of another program's object", () => {
        const md5Of = (bytes: Uint8Array) => createHash('md5').update(bytes).digest('hex');
        let etagOf: (bytes: Uint8Array) => string;

        /** Each object gets an ETag when it is stored. */
        function answerEtags(): void {
          bench.server.always(async (exchange) => {
            const { response, recorded } = exchange;
            const { headers } = recorded;
            for (const name of Object.keys(headers)) {
              if (/^x-amz-(checksum|meta)/.test(name)) {
                delete (headers as Record<string, string | undefined>)[name];
              }
            }
            const send = response.writeHead.bind(response);
            const key = recorded.url.split('?')[0] ?? '';
            response.writeHead = ((status: number, head: object) => {
              const bytes = bench.server.objects.get(key)?.bytes;
              return send(status, {
                ...head,
                ...(bytes === undefined ? {} : { etag: `"${etagOf(bytes)}"` }),
              });
            }) as typeof response.writeHead;
            await exchange.proceed();
          });
        }

        test('an ETag that is none leaves it readable, once the server is found out', async () => {
          etagOf = (bytes) => md5Of(Buffer.concat([bytes, Buffer.from('salt')]));
          answerEtags();
          const store = open({ maxRetries: 0 }, { verifyMd5: true });
          await put(store);
          expectSameBytes((await get(store)).bytes(), SMALL);
          const before = bench.methods().length;
          expectSameBytes((await get(store)).bytes(), SMALL);
          // Found out once, by an object of its own that is removed.
          expect(bench.methods().slice(before)).toEqual(['GET']);
          expect([...bench.server.objects.keys()]).toEqual(['/bucket/key']);
        });

        test('an ETag that is one tells of damage, and the message of both causes', async () => {
          etagOf = (bytes) => (bytes.length === SMALL.length ? md5Of(SMALL) : md5Of(bytes));
          answerEtags();
          const store = open({ maxRetries: 0 }, { verifyMd5: true });
          await put(store);
          flip(1);
          const message = /ETag.*object is damaged.*ETags of this server are none.*verify --deep/;
          await expectFailure(get(store), 'INTEGRITY', message);
          expect([...bench.server.objects.keys()]).toEqual(['/bucket/key']);
        });

        test('an ETag that cannot be tried is believed', async () => {
          etagOf = () => '0123456789abcdef'.repeat(2);
          answerEtags();
          const store = open({ maxRetries: 0 }, { verifyMd5: true });
          await put(store);
          bench.server.always(
            answerRaw(
              { 'content-length': SMALL.length, etag: `"${etagOf(SMALL)}"` },
              SMALL,
              () => undefined,
            ),
          );
          await expectFailure(get(store), 'INTEGRITY', /ETag/);
        });

        test('who insists on a checksum is refused, or given what an ETag vouches for', async () => {
          const store = open({ maxRetries: 0 });
          const insist = () =>
            store.get('key', undefined, makeSink(), { signal: never(), requireChecksum: true });
          etagOf = md5Of;
          answerEtags();
          await put(store);
          await insist();
          etagOf = (bytes) => `${md5Of(bytes)}-2`;
          await expectFailure(insist(), 'INTEGRITY', /nothing tells whether/);
          expectSameBytes((await get(store)).bytes(), SMALL);
        });
      });
    });

    test('a server that gives all answers one number is served all the same', async () => {
      bench.server.always(async (exchange) => {
        const { response } = exchange;
        const set = response.setHeader.bind(response);
        response.setHeader = (name, value) =>
          set(name, name === 'x-amz-request-id' ? '4442587FB7D0A2F9' : value);
        await exchange.proceed();
      });
      const store = open({ maxRetries: 1 });
      for (let round = 0; round < 5; round++) {
        await put(store);
        expectSameBytes((await get(store)).bytes(), SMALL);
        await store.delete('key', { signal: never() });
      }
      // Found out once, in the worst case by one request more.
      expect(bench.methods().length).toBeLessThanOrEqual(17);
    });

    test('a part without an ETag ends the upload, since nobody could complete it', async () => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      bench.server.always(async (exchange) => {
        const { response, recorded } = exchange;
        if (!recorded.url.includes('partNumber=')) {
          await exchange.proceed();
          return;
        }
        await exchange.readBody();
        response.writeHead(200, { 'x-amz-request-id': TEST_REQUEST_ID, 'content-length': 0 }).end();
      });
      const putting = put(open({ maxRetries: 1, transfer }), makeBytes(6 * MIB));
      await expectFailure(putting, 'UNAVAILABLE', /no ETag of part \d of "key"/);
      await expect.poll(() => bench.server.openUploads()).toBe(0);
    });

    test('a lost answer to a completion is told by our checksum from an older object', async () => {
      const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * MIB };
      const store = open({ transfer });
      await put(store, makeBytes(6 * MIB, 1));
      const proceed: Step = (exchange) => exchange.proceed();
      const lost: Step = async ({ readBody, socket }) => {
        await readBody();
        socket.resetAndDestroy();
      };
      bench.server.script(proceed, proceed, proceed, lost, failS3(404, 'NoSuchUpload'));
      await expectFailure(put(store, makeBytes(6 * MIB, 2)), 'UNAVAILABLE');
    });

    test('an ETag that is an MD5 is verified on demand, one that is none is left alone', async () => {
      const md5 = '25f9e794323b453885f5181f1b624d0b';
      const altered = Buffer.from('123456780');
      const careful = open({ maxRetries: 0 }, { verifyMd5: true });
      bench.server.always(
        answerRaw({ 'content-length': 9, etag: `"${md5}"` }, altered, () => undefined),
      );
      await expectFailure(get(careful), 'INTEGRITY', /ETag/);
      await get(open());
      const kms = {
        'content-length': 9,
        etag: `"${md5}"`,
        'x-amz-server-side-encryption': 'aws:kms',
      };
      bench.server.always(answerRaw(kms, altered, () => undefined));
      await get(careful);
      bench.server.always(
        answerRaw({ 'content-length': 9, etag: `"${md5}-2"` }, altered, () => undefined),
      );
      await get(careful);
    });

    test('a checksum of checksums is not mistaken for one of the content', async () => {
      const store = open({ maxRetries: 0 });
      bench.server.script(
        answerRaw(
          { 'content-length': 1_000, 'x-amz-checksum-crc32': `${WRONG_CRC32}-2` },
          SMALL,
          () => undefined,
        ),
      );
      expectSameBytes((await get(store)).bytes(), SMALL);
    });

    test('a listing that breaks off is not taken for a whole one', async () => {
      const xml =
        '<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>key</NextMarker><Contents><Key>key</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>';
      bench.server.always(
        answerRaw({ 'content-length': xml.length }, Buffer.from(xml), () => undefined),
      );
      const keys: string[] = [];
      const listing = async () => {
        for await (const { key } of open().list('', { signal: never() })) keys.push(key);
      };
      await expectFailure(listing(), 'UNAVAILABLE', /breaks off.*ListObjectsV2/);
    });

    test('EnableAwsSdkLogs writes lines without secrets, signatures or contents', async () => {
      const store = open({ enableSdkLogs: true });
      bench.server.script(failS3(503, 'SlowDown'));
      await store.put('key', makeBody(Buffer.from('the patient is called Meier')), {
        signal: never(),
      });
      const lines = bench.log.lines.join('\n');
      expect(lines).toMatch(
        /^info: AWS SDK info: command=PutObjectCommand bucket=bucket key=key .*attempts=2/m,
      );
      expect(lines).not.toMatch(/Meier|Signature|Credential|authorization/i);
    });

    test("EnableAwsSdkLogs warns of what fails, but not of the check's own failures", async () => {
      const store = open({ enableSdkLogs: true, maxRetries: 0 });
      const warnings = () => bench.log.lines.filter((line) => line.startsWith('warning: AWS SDK'));
      await store.check({ signal: never() });
      expect(bench.log.lines.join('\n')).toMatch(/^info: AWS SDK error: .*error=NoSuchKey/m);
      expect(warnings()).toEqual([]);
      bench.server.script(failS3(500, 'InternalError'));
      await expectFailure(
        store.put('key', makeBody(makeBytes(1)), { signal: never() }),
        'UNAVAILABLE',
      );
      expect(warnings()).toEqual([expect.stringContaining('error=InternalError')]);
    });
  });
});
