// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when Google Cloud Storage, or the way to it, misbehaves.

import { describe, expect, test } from 'vitest';
import type { GoogleSettings } from '../../src/config/settings.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { expectFailure, expectSameBytes, makeBody, makeBytes, never } from '../support/bodies.ts';
import { makeGoogleSettings } from '../support/google.ts';
import {
  answerGoogle,
  answerGoogleError,
  crc32cOf,
  failGoogle,
  parseMultipart,
  TEST_REQUEST_ID,
} from '../support/google-memory.ts';
import { answerRaw, type Step } from '../support/scripted-server.ts';
import { SMALL, useBench } from './bench.ts';
import { storeFaults } from './store-faults.ts';

const MIB = 1024 * 1024;
/** More than goes in one request. */
const LARGE_BYTES = 18 * MIB;
const OBJECT = '/storage/v1/b/bucket/o/key';

const useGoogle = () =>
  useBench<Partial<GoogleSettings>, undefined>({
    answer: answerGoogle,
    create: ({ endpoint }, changes, log) => {
      const settings = makeGoogleSettings({ endpoint, maxRetries: 3, ...changes });
      return withDeadline(createGoogleStore(settings, { log }), settings.requestTimeoutMs);
    },
    // Whoever knows the address of an upload may write the object.
    secret: 'upload_id',
  });

storeFaults({
  useBench: useGoogle,
  requests: [
    'POST /upload/storage/v1/b/bucket/o',
    `GET ${OBJECT}`,
    `GET ${OBJECT}`,
    `DELETE ${OBJECT}`,
  ],
  extraAttempts: 0,
  internalError: failGoogle(500, 'Internal Error', 'internalError'),
  internalErrorWord: /in Google Cloud Storage bucket "bucket".*internalError/,
  requestId: TEST_REQUEST_ID,
  throttled: (seconds) =>
    failGoogle(429, 'Too many', 'rateLimitExceeded', { 'retry-after': String(seconds) }),
  earlyDenial: ({ response }) => {
    answerGoogleError(response, 403, 'no', 'forbidden', { connection: 'close' });
  },
  writeDenied: /storage\.objects\.create/,
  success: { status: 200, body: '{}' },
  contentMismatch: failGoogle(
    400,
    'Provided CRC32C "a" doesn\'t match calculated CRC32C "b".',
    'invalid',
  ),
  missingBucket: failGoogle(404, 'The specified bucket does not exist.', 'notFound'),
  missingBucketMessage: /GoogleCloudStorage\.BucketName/,
  passing: [
    ['503', failGoogle(503, 'Backend Error', 'backendError')],
    ['408', failGoogle(408, 'Request Timeout', 'uploadBrokenConnection')],
    ['403 for the rate', failGoogle(403, 'Rate Limit Exceeded', 'userRateLimitExceeded')],
  ],
  // Google adds an MD5, which composite objects lack.
  checksumOf: (bytes) => ({
    'x-goog-hash': `crc32c=${crc32cOf(bytes)},md5=AAAAAAAAAAAAAAAAAAAAAA==`,
  }),
  listing: (keys, nextPageToken) =>
    JSON.stringify({
      kind: 'storage#objects',
      items: keys.map((name) => ({ name, size: '1', updated: '2026-01-01T00:00:00Z' })),
      nextPageToken,
    }),
  explained: [
    [
      'a missing object',
      failGoogle(404, 'No such object: bucket/key', 'notFound'),
      'NOT_FOUND',
      /no such object/,
    ],
    [
      'a role without storage.objects.get',
      failGoogle(
        403,
        "orthanc@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist).",
        'forbidden',
      ),
      'ACCESS_DENIED',
      /allow storage\.objects\.get/,
    ],
    [
      'a missing object, where listing is not permitted',
      failGoogle(
        403,
        "orthanc@p.iam.gserviceaccount.com does not have storage.objects.list access to the Google Cloud Storage bucket. Permission 'storage.objects.list' denied on resource (or it may not exist).",
        'forbidden',
      ),
      'NOT_FOUND',
      /no such object/,
    ],
    [
      'a closed billing account',
      failGoogle(
        403,
        'The billing account for the owning project is disabled in state absent',
        'accountDisabled',
      ),
      'ACCESS_DENIED',
      /billing/,
    ],
    [
      'an API that is switched off',
      failGoogle(
        403,
        'Cloud Storage API has not been used in project 1 before or it is disabled.',
        'accessNotConfigured',
      ),
      'ACCESS_DENIED',
      /enable storage\.googleapis\.com/,
    ],
    [
      'VPC Service Controls',
      failGoogle(
        403,
        "Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x",
        'forbidden',
      ),
      'ACCESS_DENIED',
      /VPC Service Controls/,
    ],
    [
      'a machine with too narrow scopes',
      failGoogle(403, 'Request had insufficient authentication scopes.', 'insufficientPermissions'),
      'ACCESS_DENIED',
      /cloud-platform/,
    ],
    [
      'a retention policy',
      failGoogle(
        403,
        "Object 'bucket/key' is subject to bucket's retention policy or object retention and cannot be deleted or overwritten until 2030",
        'retentionPolicyNotMet',
      ),
      'ACCESS_DENIED',
      /retention policy/,
    ],
    [
      'a bucket whose readers pay',
      failGoogle(
        400,
        'Bucket is a requester pays bucket but no user project provided.',
        'required',
      ),
      'BAD_CONFIG',
      /GOOGLE_CLOUD_QUOTA_PROJECT/,
    ],
    [
      'a token that is refused',
      failGoogle(401, 'Invalid Credentials', 'authError'),
      'ACCESS_DENIED',
      /ServiceAccountFile/,
    ],
    ['an unknown word', failGoogle(418, 'Whatever', 'odd'), 'INTERNAL', /418/],
    ['a redirect', failGoogle(301, 'Moved', 'moved'), 'BAD_CONFIG', /\.Endpoint/],
  ],
  hidden: /upload_id/,
  strangerMessage: /GoogleCloudStorage\.Endpoint/,
  addressSetting: 'GoogleCloudStorage.Endpoint',
});

describe('requests', () => {
  const bench = useGoogle();
  const { open, put, get } = bench;

  test('over plain HTTP no credentials are sent', async () => {
    const store = open();
    await put(store);
    await get(store);
    const sent = bench.server.requests.map(({ headers }) => headers['authorization']);
    expect(sent).toEqual([undefined, undefined]);
  });

  test.each([0, 1, 1_000, MIB - 8_192, MIB - 8_191, MIB, MIB + 1, 16 * MIB])(
    'a write of %i bytes is one request, with its checksum and class',
    async (sizeBytes) => {
      const store = open({ storageClass: 'NEARLINE' });
      const bytes = makeBytes(sizeBytes);
      await put(store, bytes);
      expect(bench.methods()).toEqual(['POST']);
      const sent = parseMultipart(bench.server.requests[0]?.body() ?? Buffer.alloc(0));
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
    expect(bench.methods()).toEqual(['POST', 'PUT']);
    expect(JSON.parse(bench.server.requests[0]?.body().toString() ?? '')).toMatchObject({
      crc32c: crc32cOf(bytes),
      storageClass: 'COLDLINE',
    });
    expectSameBytes((await get(store)).bytes(), bytes);
    expect(body.largestRead()).toBeLessThanOrEqual(MIB);
  });
});

describe('a session for a large content', () => {
  const bench = useGoogle();
  const { open, put, get } = bench;
  const bytes = makeBytes(LARGE_BYTES);
  const proceed: Step = (exchange) => exchange.proceed();

  /** Keeps the first bytes of what is sent, as Google does in multiples of 256 KiB, then breaks off. */
  const keepAndReset =
    (keptBytes: number): Step =>
    ({ recorded, request, socket }) => {
      const id = new URL(recorded.url, 'http://server').searchParams.get('upload_id') ?? '';
      const upload = bench.server.uploads.get(id);
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
    bench.server.script(proceed, keepAndReset(2 * MIB), proceed, keepAndReset(MIB));
    await put(store, bytes);
    expect(bench.server.requests.map(({ headers }) => headers['content-range'])).toEqual([
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
    bench.server.script(proceed, keepAndReset(MIB), failGoogle(410, 'Gone', 'gone'));
    await put(store, bytes);
    expect(bench.methods()).toEqual(['POST', 'PUT', 'PUT', 'POST', 'PUT']);
    expectSameBytes((await get(store)).bytes(), bytes);
  });

  test('whose last answer got lost is complete', async () => {
    const store = open();
    bench.server.script(proceed, async ({ readBody, recorded, socket }) => {
      const id = new URL(recorded.url, 'http://server').searchParams.get('upload_id') ?? '';
      bench.server.uploads.get(id)?.set(0, await readBody());
      socket.resetAndDestroy();
    });
    await put(store, bytes);
    expect(bench.methods()).toEqual(['POST', 'PUT', 'PUT']);
    expectSameBytes((await get(store)).bytes(), bytes);
  });

  test('that fails is cancelled', async () => {
    const store = open({ maxRetries: 0 });
    bench.server.script(proceed, failGoogle(403, 'no', 'forbidden'));
    await expectFailure(put(store, bytes), 'ACCESS_DENIED');
    await expect.poll(() => bench.server.openUploads()).toBe(0);
    expect(bench.server.requests.at(-1)?.method).toBe('DELETE');
  });

  test('that is aborted is cancelled, and the body left alone', async () => {
    const store = open();
    bench.server.script(proceed, ({ request }) => {
      request.pause();
    });
    const controller = new AbortController();
    const body = makeBody(makeBytes(64 * MIB));
    const writing = store.put('key', body, { signal: controller.signal });
    await expect.poll(() => bench.server.requests.length).toBe(2);
    controller.abort();
    body.end();
    await expectFailure(writing, 'ABORTED');
    await expect.poll(() => bench.server.openUploads()).toBe(0);
    expect(body.readsAfterEnd()).toBe(0);
  });

  test('is cancelled when the store is closed', async () => {
    const store = open();
    bench.server.script(proceed, ({ request }) => {
      request.pause();
    });
    const writing = store.put('key', makeBody(bytes), { signal: never() });
    writing.catch(() => undefined);
    await expect.poll(() => bench.server.requests.length).toBe(2);
    await store.close();
    await expectFailure(writing, 'CLOSED');
    expect(bench.server.openUploads()).toBe(0);
  });

  test('without progress is given up', async () => {
    const store = open({ maxRetries: 2 });
    bench.server.script(proceed);
    bench.server.always(async ({ readBody, response }) => {
      await readBody();
      response.writeHead(308).end();
    });
    await expectFailure(put(store, bytes), 'UNAVAILABLE', /took nothing/);
  });

  test('whose content changed on the way is an error', async () => {
    const store = open({ maxRetries: 1 });
    bench.server.script(proceed);
    bench.server.always(
      failGoogle(400, 'Provided CRC32C "a" doesn\'t match calculated "b"', 'invalid'),
    );
    await expectFailure(put(store, bytes), 'INTEGRITY');
  });
});

describe('faults of its own kind', () => {
  const bench = useGoogle();
  const { open, put, get } = bench;

  test('a look-up in a bucket that is missing says so too', async () => {
    bench.server.always(failGoogle(404, 'The specified bucket does not exist.', 'notFound'));
    await expectFailure(open().head('key', { signal: never() }), 'BAD_CONFIG');
  });

  test('a body that was unpacked on the way is an error at once, since nothing verifies it', async () => {
    const head = { 'transfer-encoding': 'chunked', 'x-goog-stored-content-encoding': 'gzip' };
    bench.server.always(answerRaw(head, Buffer.from('1\r\nx\r\n0\r\n\r\n'), () => undefined));
    const words = /"key" is stored with Content-Encoding "gzip".*upload it again without/;
    await expectFailure(get(open()), 'INTEGRITY', words);
    await expectFailure(get(open(), { start: 0, end: 10 }), 'INTEGRITY', words);
    expect(bench.methods()).toEqual(['GET', 'GET']);
  });

  test('what Google does not unpack arrives as it is stored, whatever its encoding', async () => {
    const head = {
      'content-length': SMALL.length,
      'content-encoding': 'aws-chunked',
      'x-goog-stored-content-encoding': 'aws-chunked',
      'x-goog-hash': `crc32c=${crc32cOf(SMALL)}`,
    };
    bench.server.always(answerRaw(head, SMALL, () => undefined));
    expectSameBytes((await get(open())).bytes(), SMALL);
  });

  test('an answer to a write that is no JSON is recognised as no server of Google', async () => {
    bench.server.always(async ({ readBody, response }) => {
      await readBody();
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>hello</html>');
    });
    await expectFailure(
      put(open({ maxRetries: 0 })),
      'UNAVAILABLE',
      /GoogleCloudStorage\.Endpoint/,
    );
  });

  test.each([
    ['stored something else', '{"size":"1000","crc32c":"AAAAAA=="}'],
    ['does not say what it stored', '{"status":"ok"}'],
  ])('a server that %s is found out', async (_name, json) => {
    const store = open({ maxRetries: 1 });
    bench.server.always(async ({ readBody, response }) => {
      await readBody();
      response.writeHead(200, {
        'content-type': 'application/json',
        'content-length': json.length,
      });
      response.end(json);
    });
    await expectFailure(put(store), 'INTEGRITY');
    expect(bench.server.requests).toHaveLength(2);
  });

  test('JSON that is no listing is not taken for an empty one', async () => {
    bench.server.always(async ({ readBody, response }) => {
      await readBody();
      response.writeHead(200, { 'content-type': 'application/json' }).end('{"status":"ok"}');
    });
    const listing = open().list('', { signal: never() })[Symbol.asyncIterator]();
    await expectFailure(listing.next(), 'UNAVAILABLE', /no listing/);
  });

  test('a range past the end is BAD_RANGE, however the server says so', async () => {
    const store = open({ maxRetries: 0 });
    await put(store);
    await expectFailure(get(store, { start: 990, end: 1_001 }), 'BAD_RANGE');
    await expectFailure(get(store, { start: 1_000, end: 1_001 }), 'BAD_RANGE');
  });

  test('of a missing object, plain text is enough', async () => {
    const store = open();
    bench.server.always(async ({ readBody, response }) => {
      await readBody();
      const head = { 'content-type': 'text/html', 'x-guploader-uploadid': TEST_REQUEST_ID };
      response.writeHead(404, head).end('No such object: bucket/key');
    });
    await expectFailure(get(store), 'NOT_FOUND');
    expect(await store.head('key', { signal: never() })).toBeUndefined();
    await store.delete('key', { signal: never() });
  });
});
