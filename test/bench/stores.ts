// SPDX-License-Identifier: GPL-3.0-or-later
// The three stores for a bench, and content and target as the bridge has them.

import { createAzureStore } from '../../src/providers/azure/store.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import type { Body, ObjectStore, Sink } from '../../src/store/object-store.ts';
import { Secret } from '../../src/text/secret.ts';
import { makeAzureSettings, makeS3Settings, NETWORK } from '../support/settings.ts';

export interface Access {
  readonly provider: string;
  readonly endpoint: string;
  /** Bucket or container, which exists. */
  readonly bucket: string;
  readonly accessKey: string;
  readonly secretKey: string;
  /** File of certificates, or "". */
  readonly authorities: string;
  readonly serviceAccountFile: string | undefined;
}

export function createStore(access: Access): ObjectStore {
  const { endpoint, bucket, accessKey, secretKey } = access;
  const log = {
    error: console.error,
    warning: console.error,
    info: () => undefined,
    debug: () => undefined,
  };
  const network = {
    maxRetries: 0,
    caCertificatesFile: access.authorities === '' ? undefined : access.authorities,
  };
  const deps = { log, verifyMd5: true };
  switch (access.provider) {
    case 's3': {
      const credentials = { accessKey, secretKey: new Secret(secretKey) };
      return createS3Store(
        makeS3Settings({ ...network, bucketName: bucket, endpoint, credentials }),
        deps,
      );
    }
    case 'azure': {
      const account = `AccountName=${accessKey};AccountKey=${secretKey};BlobEndpoint=${endpoint}`;
      return createAzureStore(
        makeAzureSettings(account, { ...network, containerName: bucket }),
        deps,
      );
    }
    case 'google':
      return createGoogleStore(
        {
          ...NETWORK,
          ...network,
          bucketName: bucket,
          serviceAccountFile: access.serviceAccountFile,
          endpoint,
          storageClass: undefined,
        },
        deps,
      );
    default:
      throw new Error(`no such provider: ${access.provider}`);
  }
}

/** Content is copied out. */
export function createBody(content: Uint8Array): Body {
  return {
    sizeBytes: content.length,
    read: (start, end) => Uint8Array.prototype.slice.call(content, start, end),
    readInto: (start, target) => {
      target.set(content.subarray(start, start + target.length));
    },
  };
}

/** Results are copied in. */
export function createSink(target: Uint8Array): Sink {
  return {
    anyOrder: true,
    begin: () => undefined,
    write: (offset, bytes) => {
      target.set(bytes, offset);
    },
  };
}
