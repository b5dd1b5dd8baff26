// SPDX-License-Identifier: GPL-3.0-or-later

import { type S3Service, startS3 } from '../../scripts/services.mjs';
import type { S3Settings } from '../../src/providers/s3/settings.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { Secret } from '../../src/text/secret.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';
import { type ConformanceTarget, type Mistake, storeConformance } from './store-conformance.ts';

const MIB = 1024 * 1024;
const BUCKET = 'conformance';

function createTarget(
  name: string,
  options: {
    readonly multipartFromBytes: number;
    readonly changes: Partial<S3Settings>;
  },
): ConformanceTarget {
  let server: S3Service | undefined;

  function changesFor(service: S3Service, mistake: Mistake | undefined): Partial<S3Settings> {
    const { accessKey } = service;
    const secretKey = new Secret(service.secretKey);
    switch (mistake) {
      case undefined:
        return { credentials: { accessKey, secretKey } };
      case 'missing bucket':
        return { credentials: { accessKey, secretKey }, bucketName: 'no-such-bucket' };
      case 'wrong secret':
        return { credentials: { accessKey, secretKey: new Secret('wrong') } };
      case 'unknown user':
        return { credentials: { accessKey: 'unknown', secretKey } };
      case 'nobody listens':
        return { credentials: { accessKey, secretKey }, endpoint: 'http://127.0.0.1:9' };
      default:
        return mistake satisfies never;
    }
  }

  return {
    name,
    async start() {
      server = await startS3();
      await server.createBucket(BUCKET);
    },
    async stop() {
      await server?.stop();
    },
    open(limits, mistake) {
      if (server === undefined) throw new Error('not started');
      const { endpoint, region } = server;
      const usual = { ...options.changes, endpoint, region, bucketName: BUCKET, ...limits };
      const settings = makeS3Settings({ ...usual, ...changesFor(server, mistake) });
      return createS3Store(settings, { log: makeLogger() });
    },
    multipartFromBytes: options.multipartFromBytes,
    checkFailures: {
      'missing bucket': 'BAD_CONFIG',
      'wrong secret': 'ACCESS_DENIED',
      'unknown user': 'ACCESS_DENIED',
      'nobody listens': 'UNAVAILABLE',
    },
    gaps: {},
  };
}

storeConformance(createTarget('S3 (versitygw)', { multipartFromBytes: 64 * MIB, changes: {} }));

storeConformance(
  createTarget('S3 (versitygw) in parts, with Content-MD5', {
    multipartFromBytes: 5 * MIB,
    changes: {
      checksumMode: 'WhenRequired',
      transfer: { always: true, poolSize: 4, partSizeBytes: 5 * MIB },
    },
  }),
);
