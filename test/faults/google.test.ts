// SPDX-License-Identifier: GPL-3.0-or-later
// What a user notices when Google Cloud Storage, or the way to it, misbehaves.

import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { GoogleSettings } from '../../src/providers/google/settings.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { expectFailure, expectSameBytes, makeBody, makeBytes, never } from '../support/bodies.ts';
import { makeGoogleSettings } from '../support/google.ts';
import {
  answerGoogle,
  answerGoogleError,
  answerPlainly,
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
  mixedUp: 'INTEGRITY',
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

  test('that is begun after the abort is cancelled', async () => {
    const store = open();
    const controller = new AbortController();
    bench.server.script(async ({ readBody, proceed: answer }) => {
      await readBody();
      controller.abort();
      await setTimeout(200);
      await answer();
    });
    const writing = store.put('key', makeBody(bytes), { signal: controller.signal });
    await expectFailure(writing, 'ABORTED');
    await expect.poll(() => bench.methods()).toEqual(['POST', 'DELETE']);
    expect(bench.server.openUploads()).toBe(0);
  });

  test.each([
    ['more than there is', 2 * bytes.length],
    ['all, and is not done', bytes.length - 1],
  ])('of which the server says that it has %s is asked again', async (_name, last) => {
    const store = open();
    bench.server.script(proceed, async ({ readBody, response }) => {
      await readBody();
      response.writeHead(308, { range: `bytes=0-${last}` }).end();
    });
    await put(store, bytes);
    const [, , asked, sent] = bench.server.requests.map(({ headers }) => headers['content-range']);
    expect(asked).toBe(`bytes */${bytes.length}`);
    expect(sent).toBe(`bytes 0-${bytes.length - 1}/${bytes.length}`);
    expectSameBytes((await get(store)).bytes(), bytes);
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

/** An answer without any header of Google's. @param type null: none */
const answerWith =
  (
    status: number,
    body: string | Uint8Array,
    type: string | null = 'application/json',
    headers: Readonly<Record<string, string>> = {},
  ): Step =>
  async ({ readBody, response }) => {
    await readBody();
    const head = type === null ? {} : { 'content-type': type };
    response.writeHead(status, {
      ...head,
      'content-length': Buffer.byteLength(body),
      ...headers,
    });
    response.end(body);
  };

describe("a server that sends none of Google's headers", () => {
  const bench = useBench<Partial<GoogleSettings>, undefined>({
    answer: answerPlainly,
    create: ({ endpoint }, changes, log) =>
      createGoogleStore(makeGoogleSettings({ endpoint, maxRetries: 0, ...changes }), { log }),
    secret: 'upload_id',
  });
  const { open, put, get } = bench;
  const JSON_TYPE = 'application/json';
  const HTML = 'text/html; charset=utf-8';
  const described = { kind: 'storage#object', name: 'key' };
  const crc32c = crc32cOf(SMALL);
  const proceed: Step = (exchange) => exchange.proceed();

  test.each([0, 1_000, LARGE_BYTES])('is a store for %i bytes', async (sizeBytes) => {
    const store = open();
    const bytes = makeBytes(sizeBytes);
    await put(store, bytes);
    expectSameBytes((await get(store)).bytes(), bytes);
    expect(await store.head('key', { signal: never() })).toMatchObject({ sizeBytes });
    if (sizeBytes > 20) {
      expectSameBytes((await get(store, { start: 10, end: 20 })).bytes(), bytes.subarray(10, 20));
    }
    await store.delete('key', { signal: never() });
    expect(bench.server.objects.size).toBe(0);
    await store.delete('key', { signal: never() });
    await expectFailure(get(store), 'NOT_FOUND');
    expect(await store.head('key', { signal: never() })).toBeUndefined();
  });

  describe('answers an upload', () => {
    const stored = JSON.stringify({ ...described, size: '1000', crc32c });
    test.each<[string, Step]>([
      ['under the type of a page', answerWith(200, stored, HTML)],
      ['under no type', answerWith(201, stored, null)],
      ['with the size as a number', answerWith(200, '{"size":1000}')],
      ['with the checksum alone', answerWith(200, JSON.stringify({ ...described, crc32c }))],
    ])('%s', async (_name, answer) => {
      bench.server.script(answer);
      await put(open());
      expect(bench.methods()).toEqual(['POST']);
    });

    test.each<[string, Step, number]>([
      ['nothing', answerWith(200, '', null), 1_000],
      ['nothing, as a page', answerWith(201, '', HTML), 1_000],
      ['an empty object', answerWith(200, '{}'), 1_000],
      ['the name alone', answerWith(200, JSON.stringify(described)), 1_000],
      ['the name alone, of an empty object', answerWith(200, JSON.stringify(described)), 0],
    ])('by %s, and the object is asked for', async (_name, answer, sizeBytes) => {
      bench.server.script(async (exchange) => {
        await exchange.readBody();
        const { bytes } = parseMultipart(exchange.recorded.body());
        bench.server.objects.set('/bucket/key', { bytes, headers: {} });
        await answer(exchange);
      });
      await put(open(), makeBytes(sizeBytes));
      expect(bench.methods()).toEqual(['POST', 'GET']);
      // Nothing is stored this time.
      bench.server.objects.clear();
      bench.server.script(answer);
      await expectFailure(put(open(), makeBytes(sizeBytes)), 'INTEGRITY', /does not say/);
    });

    test.each<[string, string]>([
      ['another size', '{"size":"999"}'],
      ['a size that is none', '{"size":""}'],
      ['no size of what has one', `{"kind":"storage#object","size":null}`],
      ['another checksum', JSON.stringify({ size: '1000', crc32c: 'AAAAAA==' })],
    ])('by %s: that is an error', async (_name, body) => {
      bench.server.always(answerWith(200, body));
      await expectFailure(put(open()), 'INTEGRITY');
    });
  });

  describe('begins a large upload by', () => {
    const session = '/upload/storage/v1/b/bucket/o?upload_id=';
    test.each<[string, (id: string) => Step]>([
      ['a Location alone', (id) => answerWith(200, '', null, { location: session + id })],
      ['one with status 201', (id) => answerWith(201, '', null, { location: session + id })],
      [
        'one of another host and scheme',
        (id) => answerWith(200, '', HTML, { Location: `https://elsewhere.example${session}${id}` }),
      ],
      [
        'one beside words',
        (id) => answerWith(200, 'Go on there', HTML, { location: session + id }),
      ],
    ])('%s', async (_name, answer) => {
      const bytes = makeBytes(LARGE_BYTES);
      bench.server.script(async (exchange) => {
        await exchange.readBody();
        const id = `${exchange.recorded.body().toString('base64url')}.9`;
        bench.server.uploads.set(id, new Map([[0, Buffer.alloc(0)]]));
        await answer(id)(exchange);
      });
      await put(open(), bytes);
      expect(bench.methods()).toEqual(['POST', 'PUT']);
      expectSameBytes((await get(open())).bytes(), bytes);
    });

    test.each<[string, Step, RegExp]>([
      ['JSON alone', answerWith(200, '{}'), /began no upload/],
      ['nothing', answerWith(200, '', null), /no store answers/],
      [
        'a page that also has a Location',
        answerWith(200, '<html>Log in</html>', HTML, { location: '/login' }),
        /no store answers/,
      ],
    ])('%s: that is none', async (_name, answer, message) => {
      bench.server.script(answer);
      await expectFailure(put(open(), makeBytes(LARGE_BYTES)), 'UNAVAILABLE', message);
    });
  });

  test.each(['bytes=0-1048575', 'bytes 0-1048575', 'bytes 0-1048575/18874368', '0-1048575'])(
    'says what it has of a large upload as "%s"',
    async (range) => {
      const bytes = makeBytes(LARGE_BYTES);
      bench.server.script(proceed, async (exchange) => {
        const [id = ''] = bench.server.uploads.keys();
        const all = await exchange.readBody();
        bench.server.uploads.get(id)?.set(0, all.subarray(0, MIB));
        exchange.response.writeHead(308, { range }).end();
      });
      await put(open(), bytes);
      expect(bench.server.requests.at(-1)?.headers['content-range']).toBe(
        `bytes ${MIB}-${LARGE_BYTES - 1}/${LARGE_BYTES}`,
      );
      expectSameBytes((await get(open())).bytes(), bytes);
    },
  );

  test('has nothing of a large upload where it does not say what', async () => {
    const bytes = makeBytes(LARGE_BYTES);
    bench.server.script(proceed, answerWith(308, '', HTML), answerWith(308, '', HTML));
    await put(open({ maxRetries: 1 }), bytes);
    expectSameBytes((await get(open())).bytes(), bytes);
  });

  test('ends a large upload without a word, and the object is asked for', async () => {
    const bytes = Buffer.from(makeBytes(LARGE_BYTES));
    const end: Step = async (exchange) => {
      const bytes = await exchange.readBody();
      bench.server.objects.set('/bucket/key', { bytes, headers: {} });
      await answerWith(201, '', HTML)(exchange);
    };
    bench.server.script(proceed, end);
    await put(open(), bytes);
    expect(bench.methods()).toEqual(['POST', 'PUT', 'GET']);
    expectSameBytes((await get(open())).bytes(), bytes);
  });

  describe('answers a read', () => {
    const part = SMALL.subarray(10, 20);
    const range = { 'content-range': 'bytes 10-19/1000' };
    test.each<[string, string | null, Readonly<Record<string, string>>]>([
      ['with its checksum', null, { 'x-goog-hash': `crc32c=${crc32c}` }],
      ['as the type that was stored', 'application/octet-stream', {}],
      ['as DICOM', 'application/dicom', {}],
      ['with an ETag', null, { etag: 'x' }],
      [
        'that was not packed',
        'application/octet-stream',
        { 'x-goog-stored-content-encoding': 'identity' },
      ],
    ])('of the whole %s', async (_name, type, headers) => {
      bench.server.script(answerWith(200, SMALL, type, headers));
      expectSameBytes((await get(open())).bytes(), SMALL);
    });

    test.each([null, 'text/plain', 'application/octet-stream'])(
      'of a range by Content-Range (type %s)',
      async (type) => {
        bench.server.script(answerWith(206, part, type, range));
        expectSameBytes((await get(open(), { start: 10, end: 20 })).bytes(), part);
      },
    );

    test.each<[string, Step]>([
      [
        'a page, even with ranges and an ETag',
        answerWith(206, part, HTML, { ...range, etag: 'x' }),
      ],
      ['the range of a page', answerWith(206, part, HTML, range)],
      ['plain text', answerWith(200, 'Blocked!!!', 'text/plain')],
      ['JSON', answerWith(200, '{"a":"b"}!')],
      ['nothing', answerWith(200, '', null)],
    ])('and %s is no content', async (_name, answer) => {
      bench.server.always(answer);
      const reading = get(open(), { start: 10, end: 20 });
      await expectFailure(reading, 'UNAVAILABLE', /no store answers/);
    });
  });

  describe('tells of a look-up', () => {
    test.each<[string, number]>([
      ['{"size":"12"}', 12],
      ['{"size":12}', 12],
      ['{"kind":"storage#object"}', 0],
      ['{"name":"key","bucket":"bucket"}', 0],
      ['{"generation":"17"}', 0],
    ])('%s: %i bytes', async (body, sizeBytes) => {
      for (const type of [JSON_TYPE, HTML, null]) {
        bench.server.script(answerWith(200, body, type));
        expect(await open().head('key', { signal: never() })).toMatchObject({ sizeBytes });
      }
    });

    test.each([
      '{}',
      '{"status":"ok"}',
      '{"size":""}',
      '{"size":"1e3"}',
      '{"size":-1}',
      '{"kind":"storage#object","size":null}',
      '{"kind":"storage#objects"}',
    ])('%s: no size', async (body) => {
      bench.server.always(answerWith(200, body));
      await expectFailure(
        open().head('key', { signal: never() }),
        'UNAVAILABLE',
        /told no size of "key"/,
      );
    });
  });

  describe('lists', () => {
    async function list(body: string, type = JSON_TYPE) {
      bench.server.always(answerWith(200, body, type));
      const found = [];
      for await (const object of open().list('', { signal: never() })) found.push(object);
      return found;
    }
    const time = '2026-01-02T03:04:05Z';
    const modified = new Date(time);

    test.each<[string, string, readonly object[]]>([
      ['nothing', '{"kind":"storage#objects"}', []],
      ['nothing, without a kind', '{"items":[]}', []],
      ['an empty last token', '{"kind":"storage#objects","nextPageToken":""}', []],
      [
        'an object without a size',
        `{"items":[{"name":"a","updated":"${time}"}]}`,
        [{ key: 'a', sizeBytes: 0, modified }],
      ],
      [
        'a size as a number, and a time of creation alone',
        `{"items":[{"name":"a","size":7,"timeCreated":"${time}"}]}`,
        [{ key: 'a', sizeBytes: 7, modified }],
      ],
    ])('%s', async (_name, body, expected) => {
      expect(await list(body)).toEqual(expected);
      expect(await list(body, HTML)).toEqual(expected);
    });

    test.each(['{"name":"a","size":"1"}', '{"name":"a","size":"1","updated":""}'])(
      'an object without a time, which is not left out: %s',
      async (item) => {
        const [object] = await list(`{"kind":"storage#objects","items":[${item}]}`);
        expect(object).toMatchObject({ key: 'a', sizeBytes: 1 });
        // Nothing takes it for an old one.
        expect(Math.abs(Date.now() - Number(object?.modified.getTime()))).toBeLessThan(10_000);
      },
    );

    test.each([
      ['{}', /no listing/],
      ['{"kind":"storage#object"}', /no listing/],
      ['[]', /no JSON object/],
      ['{"items":[{"size":"1"}]}', /without a name/],
      ['{"items":[{"name":"a","size":"x"}]}', /told no size of "a"/],
    ])('%s: that is none', async (body, message) => {
      await expectFailure(list(body), 'UNAVAILABLE', message);
    });
  });

  describe('acknowledges a removal', () => {
    test.each<[string, Step, readonly string[]]>([
      ['by 204', answerWith(204, '', null), ['DELETE']],
      ['in JSON', answerWith(200, '{}'), ['DELETE']],
      ['by an empty 200', answerWith(200, '', null), ['DELETE', 'GET']],
      ['by an empty page', answerWith(200, '', HTML), ['DELETE', 'GET']],
      ['in words', answerWith(200, 'OK', 'text/plain'), ['DELETE', 'GET']],
      ['as something to come', answerWith(202, '', null), ['DELETE', 'GET']],
    ])('%s', async (_name, answer, methods) => {
      bench.server.script(answer);
      await open().delete('key', { signal: never() });
      expect(bench.methods()).toEqual(methods);
    });

    test('of what is still there: that is an error', async () => {
      const store = open();
      await put(store);
      bench.server.script(answerWith(200, '', null));
      const removal = store.delete('key', { signal: never() });
      await expectFailure(removal, 'UNAVAILABLE', /"key" is removed, and still has it/);
    });
  });

  describe('says no', () => {
    const words = 'Live version of object bucket/key does not exist.';
    const errors = [{ reason: 'notFound', message: words }];
    test.each<[string, Step]>([
      ['without words', answerWith(404, '', null)],
      ['in plain text', answerWith(404, 'Not Found', 'text/plain')],
      [
        'in JSON',
        answerWith(404, JSON.stringify({ error: { code: 404, message: words, errors } })),
      ],
      [
        'in JSON within JSON',
        answerWith(
          404,
          JSON.stringify({ error: { message: JSON.stringify({ error: { errors } }) } }),
        ),
      ],
      [
        'in a list',
        answerWith(404, JSON.stringify([{ error: { message: words, status: 'NOT_FOUND' } }])),
      ],
      ['in words alone', answerWith(404, JSON.stringify({ error: words }))],
      [
        'in JSON under the type of a page',
        answerWith(404, JSON.stringify({ error: { message: words } }), HTML),
      ],
      [
        'in XML under the type of a page',
        answerWith(404, '<Error><Code>NoSuchKey</Code><Message>no</Message></Error>', HTML),
      ],
    ])('%s: there is no such object', async (_name, answer) => {
      bench.server.always(answer);
      const store = open();
      await expectFailure(get(store), 'NOT_FOUND', /no such object/);
      expect(await store.head('key', { signal: never() })).toBeUndefined();
      await store.delete('key', { signal: never() });
    });

    test('to a bucket in its own words', async () => {
      const message = '{"error": {"errors": [{"message": "Bucket bucket does not exist."}]}}';
      bench.server.always(answerWith(404, JSON.stringify({ error: { message } })));
      await expectFailure(get(open()), 'BAD_CONFIG', /GoogleCloudStorage\.BucketName/);
    });
  });
});
