// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one S3 bucket.

import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import type { StoreDependencies } from '../../config/settings.ts';
import { StorageError } from '../../errors.ts';
import { removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import type { ObjectInfo, ObjectStore } from '../../store/object-store.ts';
import { CLEANUP_GRACE_MS } from '../cleanups.ts';
import { readHead, toObjectStore } from '../operation.ts';
import { checkBucket } from './check.ts';
import { S3Client } from './client.ts';
import { createCredentials } from './credentials.ts';
import { createDeleteMany } from './delete-many.ts';
import { toS3Error } from './errors.ts';
import { createMultipart } from './multipart.ts';
import { createReader } from './read.ts';
import { createRequests } from './requests.ts';
import { createSdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

export function createS3Store(settings: S3Settings, deps: StoreDependencies): ObjectStore {
  const { bucketName: bucket, maxConnections, maxRetries } = settings;
  const { log, probePrefix = '', readsSeveralNames = false, verifyMd5 = false } = deps;
  const transport = createTransport(settings);
  const logger = createSdkLogger(settings, log);
  const credentials = createCredentials(settings, logger);
  const common = { settings, transport, credentials };
  const client = new S3Client({ ...common, logger, maxRetries, isCheck: false });
  const requests = createRequests(settings, () => client.origin());
  const read = createReader({ client, requests, maxConnections, verifyMd5, probePrefix });
  const multipart = createMultipart({ settings, client, requests, log });

  async function listPage(prefix: string, token: string | undefined, signal: Signal) {
    const input = { Bucket: bucket, Prefix: prefix, ContinuationToken: token };
    const page = await client.call(() => new ListObjectsV2Command(input), signal);
    const objects: ObjectInfo[] = [];
    for (const { Key, Size, LastModified } of page.Contents ?? []) {
      // What is not listed would count as lost.
      if (Key === undefined || Size === undefined) {
        throw new StorageError(
          'UNAVAILABLE',
          `the listing of S3 bucket "${bucket}" has an object without key or size; does the server know ListObjectsV2?`,
          { key: bucket },
        );
      }
      objects.push({ key: Key, sizeBytes: Size, modified: LastModified ?? new Date() });
    }
    if (page.IsTruncated !== true) return { objects, next: undefined };
    if (page.NextContinuationToken === undefined) {
      throw new StorageError(
        'UNAVAILABLE',
        `the listing of S3 bucket "${bucket}" breaks off: the server says that there is more, and not where; does it know ListObjectsV2?`,
        { key: bucket },
      );
    }
    return { objects, next: page.NextContinuationToken };
  }

  return toObjectStore('S3', `S3 bucket "${bucket}"`, {
    async put(key, body, options) {
      const { signal, onlyIfVersion } = options;
      if (multipart.isFor(body.sizeBytes)) await multipart.put(key, body, options);
      else await client.send(await requests.put(key, body, signal, onlyIfVersion), signal);
    },

    get: (key, range, sink, { signal, requireChecksum }) =>
      read({ key, range, sink, requireChecksum }, signal),

    head: async (key, { signal }) =>
      readHead(key, await client.send({ method: 'HEAD', key }, signal)),

    async delete(key, { signal }) {
      const retries = { maxRetries: removalRetries(maxRetries) };
      await client.send({ method: 'DELETE', key, ...retries }, signal);
    },

    deleteMany: createDeleteMany({ settings, client, log }),

    listPage,

    check: ({ signal }) =>
      checkBucket({ ...common, log, requests, probePrefix, readsSeveralNames }, signal),

    translate: (thrown, operation) => toS3Error(thrown, operation, settings),

    async close() {
      await multipart.settle(CLEANUP_GRACE_MS);
      client.close();
      await transport.close();
    },
  });
}
