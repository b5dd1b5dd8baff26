// SPDX-License-Identifier: GPL-3.0-or-later
// Google's own SDK reads what we write, and the other way round, over fake-gcs-server.

import { type Bucket, Storage } from '@google-cloud/storage';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type GoogleService, startGoogle } from '../../scripts/services.mjs';
import { createGoogleStore } from '../../src/providers/google/store.ts';
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
import { makeLogger } from '../support/settings.ts';

const MIB = 1024 * 1024;
const KEY = 'ro ot/ü&?#/key';
const SIZES = [0, 1_000, 3 * MIB, 20 * MIB];

let server: GoogleService;
let store: ObjectStore;
let bucket: Bucket;

beforeAll(async () => {
  server = await startGoogle();
  await server.createBucket('bucket');
  const settings = makeGoogleSettings({
    endpoint: server.endpoint,
    storageClass: 'NEARLINE',
    maxRetries: 1,
  });
  store = createGoogleStore(settings, { log: makeLogger() });
  bucket = new Storage({ apiEndpoint: server.endpoint, projectId: 'none' }).bucket('bucket');
});

afterAll(async () => {
  await store.close();
  await server.stop();
});

test.each(SIZES)(
  '%i bytes written by us are read by the SDK, which verifies them',
  async (size) => {
    const bytes = makeBytes(size);
    await store.put(KEY, makeBody(bytes), { signal: never() });
    const [read] = await bucket.file(KEY).download({ validation: 'crc32c' });
    expectSameBytes(read, bytes);
    const [metadata] = await bucket.file(KEY).getMetadata();
    expect(metadata).toMatchObject({
      contentType: 'application/octet-stream',
      storageClass: 'NEARLINE',
      size: String(size),
    });
  },
);

test.each(SIZES)('%i bytes written by the SDK are read by us, and verified', async (size) => {
  const bytes = makeBytes(size, 7);
  await bucket.file(KEY).save(Buffer.from(bytes), { resumable: size > 5 * MIB });
  const sink = makeSink();
  await store.get(KEY, undefined, sink, { signal: never() });
  expectSameBytes(sink.bytes(), bytes);
});

test('what somebody stored packed is refused rather than given unverified', async () => {
  await bucket.file('packed').save(Buffer.alloc(1_000), { gzip: true, resumable: false });
  await expectFailure(
    store.get('packed', undefined, makeSink(), { signal: never() }),
    'INTEGRITY',
    /Content-Encoding "gzip"/,
  );
});
