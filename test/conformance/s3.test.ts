// SPDX-License-Identifier: GPL-3.0-or-later

import { type S3Service, startS3 } from '../../scripts/services.mjs';
import { Secret } from '../../src/config/secret.ts';
import type { S3Settings } from '../../src/config/settings.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { withLimit } from '../../src/store/limit.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';
import { type ConformanceTarget, storeConformance, type Variation } from './store-conformance.ts';

const MIB = 1024 * 1024;
const BUCKET = 'conformance';

function createTarget(
  name: string,
  options: {
    readonly lean: boolean;
    readonly multipartFromBytes: number;
    readonly changes: Partial<S3Settings>;
  },
): ConformanceTarget {
  let server: S3Service | undefined;

  function settingsFor(service: S3Service, variation: Variation): S3Settings {
    const usual = makeS3Settings({
      ...options.changes,
      endpoint: service.endpoint,
      region: service.region,
      bucketName: BUCKET,
      credentials: { accessKey: service.accessKey, secretKey: new Secret(service.secretKey) },
    });
    switch (variation) {
      case 'usual':
        return usual;
      case 'few connections':
        return { ...usual, maxConnections: 5 };
      case 'short deadline':
        return { ...usual, requestTimeoutMs: 20 };
      case 'missing bucket':
        return { ...usual, bucketName: 'no-such-bucket' };
      case 'wrong secret':
        return {
          ...usual,
          credentials: { accessKey: service.accessKey, secretKey: new Secret('wrong') },
        };
      case 'unknown user':
        return {
          ...usual,
          credentials: { accessKey: 'unknown', secretKey: new Secret(service.secretKey) },
        };
      case 'nobody listens':
        return { ...usual, endpoint: 'http://127.0.0.1:9' };
      default:
        return variation satisfies never;
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
    open(variation) {
      if (server === undefined) throw new Error('not started');
      const settings = settingsFor(server, variation);
      const store = createS3Store(settings, { log: makeLogger(), lean: options.lean });
      return Promise.resolve(
        withDeadline(withLimit(store, settings.maxConnections), settings.requestTimeoutMs),
      );
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

storeConformance(
  createTarget('S3 (versitygw)', { lean: true, multipartFromBytes: 64 * MIB, changes: {} }),
);

storeConformance(
  createTarget('S3 (versitygw) over the SDK alone, in parts, with Content-MD5', {
    lean: false,
    multipartFromBytes: 5 * MIB,
    changes: {
      checksumMode: 'WhenRequired',
      transfer: { always: true, poolSize: 4, partSizeBytes: 5 * MIB },
    },
  }),
);
