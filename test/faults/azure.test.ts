// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when Azure, or the way to it, misbehaves.

import { setTimeout as sleep } from 'node:timers/promises';
import { setLogLevel } from '@azure/logger';
import { describe, expect, test } from 'vitest';
import { crc32, encodeCrc32 } from '../../src/checksums/checksums.ts';
import type { AzureSettings } from '../../src/providers/azure/settings.ts';
import { type AzureDependencies, createAzureStore } from '../../src/providers/azure/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { Secret } from '../../src/text/secret.ts';
import {
  answerAzure,
  answerAzureError,
  connectionStringOf,
  failAzure,
  md5Of,
  TEST_REQUEST_ID,
} from '../support/azure-memory.ts';
import { expectFailure, expectSameBytes, makeBody, makeBytes, never } from '../support/bodies.ts';
import { answerRaw, type Step } from '../support/scripted-server.ts';
import { makeAzureSettings, TEST_ACCOUNT_KEY } from '../support/settings.ts';
import { SMALL, useBench } from './bench.ts';
import { storeFaults } from './store-faults.ts';

const MIB = 1024 * 1024;
const PATH = '/account/container/key';
/** MD5 of nothing, and so of none of the contents here. */
const WRONG_MD5 = '1B2M2Y8AsgTpgAmY7PhCfg==';
const IN_BLOCKS = { singlePutMaxBytes: 5 * MIB, blockBytes: 5 * MIB, listPage: 100 };

const useAzure = () =>
  useBench<Partial<AzureSettings>, Partial<AzureDependencies>>({
    answer: answerAzure,
    create: (server, changes, log, deps) => {
      const usual = { maxRetries: 3, ...changes };
      const settings = makeAzureSettings(connectionStringOf(server), usual);
      const store = createAzureStore(settings, { log, verifyMd5: true, ...deps });
      return withDeadline(store, settings.requestTimeoutMs);
    },
    secret: TEST_ACCOUNT_KEY,
  });

describe('Azure', () => {
  storeFaults({
    useBench: useAzure,
    requests: [`PUT ${PATH}`, `GET ${PATH}`, `GET ${PATH}`, `DELETE ${PATH}`],
    internalError: failAzure(500, 'InternalError'),
    internalErrorWord: /InternalError/,
    requestId: TEST_REQUEST_ID,
    throttled: (seconds) =>
      failAzure(429, 'TooManyRequests', { headers: { 'retry-after': String(seconds) } }),
    earlyDenial: ({ response }) => {
      answerAzureError(response, 403, 'AuthorizationPermissionMismatch', {
        headers: { connection: 'close' },
      });
    },
    writeDenied: /write/,
    success: { status: 201, body: '' },
    contentMismatch: failAzure(400, 'Md5Mismatch'),
    missingBucket: failAzure(404, 'ContainerNotFound'),
    missingBucketMessage: /AzureBlobStorage\.ContainerName/,
    passing: [
      ['503 ServerBusy', failAzure(503, 'ServerBusy')],
      ['500 OperationTimedOut', failAzure(500, 'OperationTimedOut')],
    ],
    checksumOf: (bytes) => ({ 'x-ms-meta-orthanc_crc32': encodeCrc32(crc32(bytes, 0)) }),
    listing: (keys, next = '') => {
      const blobs = keys.map(
        (key) =>
          `<Blob><Name>${key}</Name><Properties><Content-Length>1</Content-Length><Last-Modified>Thu, 01 Jan 2026 00:00:00 GMT</Last-Modified></Properties></Blob>`,
      );
      return `<EnumerationResults><Blobs>${blobs.join('')}</Blobs><NextMarker>${next}</NextMarker></EnumerationResults>`;
    },
    explained: [
      [
        'ContainerBeingDeleted',
        failAzure(409, 'ContainerBeingDeleted'),
        'UNAVAILABLE',
        /being deleted/,
      ],
      [
        'AuthenticationFailed',
        failAzure(403, 'AuthenticationFailed', {
          xml: '<AuthenticationErrorDetail>The MAC signature found in the HTTP request "SIGNED" is not the same as any computed signature.</AuthenticationErrorDetail>',
        }),
        'ACCESS_DENIED',
        /account key is wrong.*AzureBlobStorage\.ConnectionString/,
      ],
      [
        'KeyBasedAuthenticationNotPermitted',
        failAzure(403, 'KeyBasedAuthenticationNotPermitted'),
        'ACCESS_DENIED',
        /AccountUrl/,
      ],
      ['AuthorizationFailure', failAzure(403, 'AuthorizationFailure'), 'ACCESS_DENIED', /firewall/],
      ['BlobArchived', failAzure(409, 'BlobArchived'), 'ACCESS_DENIED', /Archive tier.*rehydrate/],
      ['InvalidUri', failAzure(400, 'InvalidUri'), 'BAD_CONFIG', /ContainerName/],
      ['AccountIsDisabled', failAzure(403, 'AccountIsDisabled'), 'ACCESS_DENIED', /disabled/],
      ['InvalidRange', failAzure(416, 'InvalidRange'), 'BAD_RANGE', /range/],
      ['an unknown word', failAzure(418, 'Whatever'), 'INTERNAL', /418.*The message of Whatever/],
    ],
    mixedUp: 'INTEGRITY',
    hidden: /SIGNED|SharedKey/,
    strangerMessage: /no Azure Blob service/,
    addressSetting: 'AzureBlobStorage.ConnectionString',
  });

  describe('requests', () => {
    const bench = useAzure();
    const { open, put, get } = bench;

    test('a write carries MD5 and tier', async () => {
      await put(open({ accessTier: 'Cool' }));
      expect(bench.server.requests).toHaveLength(1);
      expect(bench.server.requests[0]?.headers).toMatchObject({
        'content-md5': md5Of(SMALL),
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
      const parts = bench.server.requests.slice(0, -1);
      expect(parts.map(({ url }) => /comp=(\w+)/.exec(url)?.[1])).toEqual(Array(3).fill('block'));
      expect(parts.every(({ headers }) => headers['content-md5'] !== undefined)).toBe(true);
      expect(bench.server.requests.at(-1)?.headers).toMatchObject({
        'x-ms-blob-content-md5': md5Of(bytes),
        'x-ms-access-tier': 'Cold',
      });
      expectSameBytes((await get(store)).bytes(), bytes);
      // No block is ever held as a whole.
      expect(body.largestRead()).toBeLessThanOrEqual(MIB);
    });

    test('a block that is refused until the deadline is told', async () => {
      bench.server.always(failAzure(503, 'ServerBusy', { headers: { 'retry-after': '30' } }));
      const failed = put(
        open({ requestTimeoutMs: 1_500 }, { sizes: IN_BLOCKS }),
        makeBytes(6 * MIB),
      );
      await expectFailure(failed, 'TIMEOUT', /RequestTimeout.*fewer requests.*503, ServerBusy/);
    });

    test('a write of up to 64 MB is one PUT', async () => {
      await put(open(), makeBytes(12 * MIB));
      expect(bench.server.requests.map(({ method }) => method)).toEqual(['PUT']);
    });

    test('the MD5 of a range is asked for where it is cheap', async () => {
      const bytes = makeBytes(5 * MIB);
      await put(open(), bytes);
      const askedFor = async (store: ObjectStore, end: number) => {
        await get(store, { start: 0, end });
        return bench.server.requests.at(-1)?.headers['x-ms-range-get-content-md5'];
      };
      const trusting = open({}, { verifyMd5: false });
      const strict = open();
      expect(await askedFor(trusting, 65_536)).toBe('true');
      expect(await askedFor(trusting, 65_537)).toBeUndefined();
      expect(await askedFor(strict, 4 * MIB)).toBe('true');
      // Azure refuses more.
      expect(await askedFor(strict, 4 * MIB + 1)).toBeUndefined();
    });
  });

  describe('faults of its own kind', () => {
    const bench = useAzure();
    const { open, put, get } = bench;

    test('a look-up in a bucket that is missing says so too', async () => {
      bench.server.always(failAzure(404, 'ContainerNotFound'));
      await expectFailure(open().head('key', { signal: never() }), 'BAD_CONFIG');
    });

    test('a body whose MD5 is another one is an error, where nothing else tells', async () => {
      const head = { 'content-length': 1_000, 'content-md5': WRONG_MD5 };
      bench.server.always(answerRaw(head, SMALL, () => undefined));
      await expectFailure(get(open({ maxRetries: 1 })), 'INTEGRITY', /MD5/);
    });

    test('a range that arrives altered is read again', async () => {
      const store = open();
      await put(store);
      const head = {
        'content-length': 10,
        'content-range': 'bytes 10-19/1000',
        'content-md5': md5Of(SMALL.subarray(10, 20)),
        etag: '"x"',
      };
      const altered = answerRaw(head, SMALL.subarray(11, 21), () => undefined, '206 Partial');
      bench.server.script(altered);
      const sink = await get(store, { start: 10, end: 20 });
      expectSameBytes(sink.bytes(), SMALL.subarray(10, 20));
      expect(bench.server.requests).toHaveLength(3);
    });

    test('blocks that another upload of the same object threw away are sent again', async () => {
      const store = open({}, { sizes: IN_BLOCKS });
      const bytes = makeBytes(6 * MIB);
      const proceed: Step = (exchange) => exchange.proceed();
      bench.server.script(proceed, proceed, failAzure(400, 'InvalidBlockList'));
      await put(store, bytes);
      expect(bench.server.requests).toHaveLength(6);
      expectSameBytes((await get(store)).bytes(), bytes);
    });

    test('a failed block ends the upload, nothing is stored, and nothing reads the body afterwards', async () => {
      const store = open({ maxRetries: 0 }, { sizes: IN_BLOCKS });
      let blocks = 0;
      bench.server.always(async (exchange) => {
        blocks += 1;
        await (blocks === 2 ? failAzure(403, 'Whatever')(exchange) : exchange.proceed());
      });
      const body = makeBody(makeBytes(64 * MIB));
      const writing = store.put('key', body, { signal: never() });
      await expectFailure(
        writing.finally(() => {
          body.end();
        }),
        'ACCESS_DENIED',
      );
      expect(bench.server.objects.size).toBe(0);
      await sleep(200);
      expect(body.readsAfterEnd()).toBe(0);
    });

    test('where Orthanc verifies, whole reads are not hashed again', async () => {
      const store = open({}, { verifyMd5: false });
      bench.server.always(
        answerRaw(
          { 'content-length': 1_000, 'content-md5': WRONG_MD5, etag: '"x"' },
          SMALL,
          () => undefined,
        ),
      );
      expectSameBytes((await get(store)).bytes(), SMALL);
    });

    test.each([
      ['in one request', {}],
      ['in blocks', { sizes: IN_BLOCKS }],
    ])('what went %s is verified by its CRC32, however it is read', async (_way, deps) => {
      const bytes = makeBytes(11 * MIB);
      const store = open({ maxRetries: 1 }, { verifyMd5: false, ...deps });
      await put(store, bytes);
      expectSameBytes((await get(store)).bytes(), bytes);

      const [path, stored] = [...bench.server.objects][0] ?? [];
      if (path === undefined || stored === undefined) throw new Error('nothing was stored');
      const altered = Buffer.from(stored.bytes);
      altered[5 * MIB] = (altered[5 * MIB] ?? 0) ^ 1;
      bench.server.objects.set(path, { ...stored, bytes: altered });
      await expectFailure(get(store), 'INTEGRITY', /CRC32/);
      await expectFailure(get(store, { start: 0, end: bytes.length }), 'INTEGRITY', /CRC32/);
    });

    test('a large range that is the whole is verified like the whole', async () => {
      const bytes = makeBytes(5 * MIB);
      bench.server.always(
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

    test('a clock that is off is explained with the difference', async () => {
      const store = open({ maxRetries: 1 });
      const date = new Date(Date.now() - 20 * 60_000).toUTCString();
      bench.server.always(failAzure(403, 'AuthenticationFailed', { headers: { date } }));
      await expectFailure(get(store), 'ACCESS_DENIED', /20 minutes ahead of/);
    });

    test("the SDK's own log goes into ours, without keys, signatures and contents", async () => {
      const signature = 'c2lnbmF0dXJlIHRoYXQgbm8gbG9n';
      const text = `BlobEndpoint=${bench.server.endpoint}/account;SharedAccessSignature=sv=2024-11-04&sp=rwd&sig=${signature}`;
      const bySignature = open({
        account: { kind: 'connection-string', connectionString: new Secret(text) },
      });
      setLogLevel('verbose');
      try {
        for (const store of [open(), bySignature]) {
          bench.server.script(failAzure(503, 'ServerBusy'));
          await put(store, Buffer.from('the patient is called Meier'));
          await get(store);
        }
      } finally {
        setLogLevel(undefined);
      }
      const lines = bench.log.lines.join('\n');
      expect(lines).toMatch(/^info: Azure SDK: azure:/m);
      expect(lines).not.toMatch(/Meier|SharedKey account/);
      expect(lines).not.toContain(signature);
      expect(lines).not.toContain(TEST_ACCOUNT_KEY);
    });
  });
});
