// SPDX-License-Identifier: GPL-3.0-or-later
// The contract of a store, with the servers that people run beside those of test/conformance. Where one cannot be had, one skipped
// test says why.

import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { test } from 'vitest';
import { explainMissingServer } from '../../scripts/lib/servers.mjs';
import {
  type GoogleService,
  type S3Account,
  startGcpStorageEmulator,
  startOtherS3,
} from '../../scripts/services.mjs';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import type { S3Settings } from '../../src/providers/s3/settings.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { Secret } from '../../src/text/secret.ts';
import { type ConformanceTarget, storeConformance } from '../conformance/store-conformance.ts';
import { makeGoogleSettings } from '../support/google.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';

const MIB = 1024 * 1024;
const BUCKET = 'interop';

/** Of those that take long for each. */
const FEW = 50;
const UNCONDITIONAL_COMPLETION = 'it looks at no If-Match of CompleteMultipartUpload';
const conditionalWrite = (sizeBytes: number) =>
  `a write of ${sizeBytes} bytes may be for one version of the object alone`;

type Expectations = Pick<
  ConformanceTarget,
  'gaps' | 'checkFailures' | 'listedObjects' | 'mayMixWrites'
> & {
  readonly changes?: Partial<S3Settings>;
};

const S3_FAILURES: ConformanceTarget['checkFailures'] = {
  'missing bucket': 'BAD_CONFIG',
  'wrong secret': 'ACCESS_DENIED',
  'unknown user': 'ACCESS_DENIED',
};

const S3_SERVERS: Readonly<Record<Parameters<typeof startOtherS3>[0], Expectations>> = {
  seaweedfs: { checkFailures: S3_FAILURES, gaps: {} },
  // It keeps metadata beside the file, and locks neither.
  rclone: { checkFailures: S3_FAILURES, gaps: {}, mayMixWrites: true },
  s3proxy: {
    // It knows no checksum but Content-MD5.
    changes: { checksumMode: 'WhenRequired' },
    checkFailures: S3_FAILURES,
    gaps: { [conditionalWrite(5 * MIB + 1)]: UNCONDITIONAL_COMPLETION },
  },
  moto: {
    // It asks nobody for credentials.
    checkFailures: { 'missing bucket': 'BAD_CONFIG' },
    gaps: { [conditionalWrite(5 * MIB + 1)]: UNCONDITIONAL_COMPLETION },
    listedObjects: FEW,
  },
};

for (const name of Object.keys(S3_SERVERS) as (keyof typeof S3_SERVERS)[]) {
  const { changes = {}, ...expectations } = S3_SERVERS[name];
  let server: S3Account | undefined;
  await describeServer(name, {
    ...expectations,
    multipartFromBytes: 5 * MIB,
    async start() {
      server = await startOtherS3(name);
      const { endpoint, region, accessKey, secretKey } = server;
      const credentials = { accessKeyId: accessKey, secretAccessKey: secretKey };
      const client = new S3Client({
        endpoint,
        region,
        credentials,
        forcePathStyle: true,
        requestChecksumCalculation: 'WHEN_REQUIRED',
      });
      await client.send(new CreateBucketCommand({ Bucket: BUCKET }));
      // SeaweedFS lays out its volumes at the first write, which takes longer than any other.
      await client.send(new PutObjectCommand({ Bucket: BUCKET, Key: 'first', Body: 'first' }));
      client.destroy();
    },
    stop: async () => server?.stop(),
    open(limits, mistake) {
      if (server === undefined) throw new Error('not started');
      const { endpoint, region, accessKey, secretKey } = server;
      const settings = makeS3Settings({
        endpoint,
        region,
        bucketName: mistake === 'missing bucket' ? 'no-such-bucket' : BUCKET,
        credentials: {
          accessKey: mistake === 'unknown user' ? 'unknown' : accessKey,
          secretKey: new Secret(mistake === 'wrong secret' ? 'wrong' : secretKey),
        },
        transfer: { always: true, poolSize: 4, partSizeBytes: 5 * MIB },
        ...limits,
        ...changes,
      });
      return createS3Store(settings, { log: makeLogger() });
    },
  });
}

let emulator: GoogleService | undefined;
await describeServer('gcp-storage-emulator', {
  multipartFromBytes: 16 * MIB,
  async start() {
    emulator = await startGcpStorageEmulator();
    await emulator.createBucket(BUCKET);
  },
  stop: async () => emulator?.stop(),
  open(limits, mistake) {
    if (emulator === undefined) throw new Error('not started');
    const bucketName = mistake === 'missing bucket' ? 'no-such-bucket' : BUCKET;
    const settings = makeGoogleSettings({ endpoint: emulator.endpoint, bucketName, ...limits });
    return createGoogleStore(settings, { log: makeLogger() });
  },
  // It asks nobody for credentials.
  checkFailures: { 'missing bucket': 'BAD_CONFIG' },
  gaps: {
    [conditionalWrite(10)]: 'gcp-storage-emulator 2026.7.19 looks at no ifGenerationMatch',
    [conditionalWrite(16 * MIB + 1)]:
      'gcp-storage-emulator 2026.7.19 looks at no ifGenerationMatch',
  },
  listedObjects: FEW,
  // It answers one after the other, and lets five wait.
  maxConnections: 5,
});

async function describeServer(
  name: Parameters<typeof explainMissingServer>[0],
  target: Omit<ConformanceTarget, 'name' | 'isBrief'>,
): Promise<void> {
  const missing = await explainMissingServer(name);
  if (missing === undefined) storeConformance({ ...target, name, isBrief: true });
  else test.skip(`${name}: ${missing}`);
}
