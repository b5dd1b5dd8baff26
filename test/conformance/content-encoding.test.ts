// SPDX-License-Identifier: GPL-3.0-or-later
// What other programs stored with Content-Encoding: neither server nor SDK nor we unpack it, so that what arrives is what the checksum
// is of. (Google does: google-sdk.test.ts.)

import { gzipSync } from 'node:zlib';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { BlobServiceClient } from '@azure/storage-blob';
import { expect, test } from 'vitest';
import { startAzure, startS3 } from '../../scripts/services.mjs';
import { createAzureStore } from '../../src/providers/azure/store.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import { Secret } from '../../src/text/secret.ts';
import { expectSameBytes, makeSink, never } from '../support/bodies.ts';
import { makeAzureSettings, makeLogger, makeS3Settings } from '../support/settings.ts';

const PACKED = gzipSync(Buffer.alloc(100_000, 'DICM'));
const log = makeLogger();

async function expectAsStored(store: ObjectStore): Promise<void> {
  try {
    const [whole, part] = [makeSink(), makeSink()];
    await store.get('packed', undefined, whole, { signal: never() });
    await store.get('packed', { start: 10, end: 50 }, part, { signal: never() });
    expectSameBytes(whole.bytes(), PACKED);
    expectSameBytes(part.bytes(), PACKED.subarray(10, 50));
    expect(await store.head('packed', { signal: never() })).toMatchObject({
      sizeBytes: PACKED.length,
    });
  } finally {
    await store.close();
  }
}

test('S3 hands it over as it is stored', async () => {
  const server = await startS3();
  try {
    const { accessKey, secretKey, endpoint, region } = server;
    await server.createBucket('bucket');
    const client = new S3Client({
      endpoint,
      region,
      credentials: { accessKeyId: accessKey, secretAccessKey: secretKey },
      forcePathStyle: true,
    });
    const object = { Bucket: 'bucket', Key: 'packed', Body: PACKED, ContentEncoding: 'gzip' };
    await client.send(new PutObjectCommand(object));
    client.destroy();
    const credentials = { accessKey, secretKey: new Secret(secretKey) };
    const settings = makeS3Settings({ endpoint, region, bucketName: 'bucket', credentials });
    await expectAsStored(createS3Store(settings, { log, verifyMd5: true }));
  } finally {
    await server.stop();
  }
});

test('Azure hands it over as it is stored', async () => {
  const server = await startAzure();
  try {
    const { connectionString } = server;
    const container =
      BlobServiceClient.fromConnectionString(connectionString).getContainerClient('bucket');
    await container.create();
    const blobHTTPHeaders = { blobContentEncoding: 'gzip' };
    const blob = container.getBlockBlobClient('packed');
    await blob.upload(PACKED, PACKED.length, { blobHTTPHeaders });
    const settings = makeAzureSettings(connectionString, { containerName: 'bucket' });
    await expectAsStored(createAzureStore(settings, { log, verifyMd5: true }));
  } finally {
    await server.stop();
  }
});
