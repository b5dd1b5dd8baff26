// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one S3 bucket.

import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { StorageError } from '../../errors.ts';
import { AnswerError } from '../../http/answer-error.ts';
import { removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import { createAbortController } from '../../store/abort.ts';
import type { Body, ObjectInfo, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { once } from '../../store/once.ts';
import { createRun, listPages, requireSize, unlessMissing } from '../operation.ts';
import { checkBucket } from './check.ts';
import { S3Client } from './client.ts';
import { createCredentials } from './credentials.ts';
import { toS3Error } from './errors.ts';
import { createMultipart } from './multipart.ts';
import { createReader, loadChecksums } from './read.ts';
import { createRequests } from './requests.ts';
import { createSdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

/** How long a failed multipart upload may still be cleaned up behind. */
const CLEANUP_GRACE_MS = 2_000;

export interface S3Dependencies {
  readonly log: Logger;
  /** Where `check` may write its probe object: the RootPath, since a policy may allow no more than that. "" by default. */
  readonly probePrefix?: string;
  /** A file that is not where it is looked for first may be elsewhere. False by default. */
  readonly readsSeveralNames?: boolean;
  /** Compare reads with the ETag where the server sent no checksum: for an Orthanc that does not verify MD5s itself. */
  readonly verifyMd5?: boolean;
}

export function createS3Store(settings: S3Settings, deps: S3Dependencies): ObjectStore {
  const { bucketName: bucket } = settings;
  const { log, probePrefix = '', readsSeveralNames = false } = deps;
  const transport = createTransport(settings);
  const checksums = once(loadChecksums);
  const closing = createAbortController();
  const logger = createSdkLogger(settings, log);
  const credentials = createCredentials(settings, logger);
  const { maxRetries } = settings;
  const client = new S3Client({
    settings,
    transport,
    credentials,
    logger,
    maxRetries,
    isCheck: false,
  });
  const requests = createRequests(settings);
  const read = createReader({
    client,
    requests,
    checksums,
    maxConnections: settings.maxConnections,
    verifyMd5: deps.verifyMd5 === true,
    probePrefix,
  });
  const multipart = createMultipart({ settings, client, requests, log });

  const run = createRun(closing.signal, (thrown, operation) =>
    toS3Error(thrown, operation, settings),
  );

  async function putWhole(
    key: string,
    content: Body,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<void> {
    const request = await requests.put(key, content, signal);
    const condition = onlyIfVersion === undefined ? {} : { 'if-match': onlyIfVersion };
    await client.send({ ...request, headers: { ...request.headers, ...condition } }, signal);
  }

  async function remove(key: string, signal: AbortSignal): Promise<void> {
    await client.send({ method: 'DELETE', key, maxRetries: removalRetries(maxRetries) }, signal);
  }

  async function listPage(prefix: string, token: string | undefined, signal: AbortSignal) {
    const input = { Bucket: bucket, Prefix: prefix, ContinuationToken: token };
    const page = await client.call(() => new ListObjectsV2Command(input), signal);
    const objects: ObjectInfo[] = [];
    for (const { Key, Size, LastModified } of page.Contents ?? []) {
      if (Key !== undefined && Size !== undefined && LastModified !== undefined) {
        objects.push({ key: Key, sizeBytes: Size, modified: LastModified });
      }
    }
    if (page.IsTruncated !== true) return { objects, next: undefined };
    // What is not listed would count as lost.
    if (page.NextContinuationToken === undefined) {
      throw new StorageError(
        'UNAVAILABLE',
        `the listing of S3 bucket "${bucket}" breaks off: the server says that there is more, and not where; does it know ListObjectsV2?`,
        { key: bucket },
      );
    }
    return { objects, next: page.NextContinuationToken };
  }

  return {
    put: (key, body, options) =>
      run('write', key, options.signal, (signal) =>
        multipart.isFor(body.sizeBytes)
          ? multipart.put(key, body, { ...options, signal })
          : putWhole(key, body, { ...options, signal }),
      ),

    get: (key, range, sink, { signal, requireChecksum }) =>
      run('read', key, signal, (linked) => read({ key, range, sink, requireChecksum }, linked)),

    head: (key, { signal }) =>
      run('look up', key, signal, async (linked) => {
        try {
          const { headers } = await client.send({ method: 'HEAD', key }, linked);
          const length = headers['content-length'];
          const sizeBytes = requireSize(key, length === undefined ? undefined : Number(length));
          return { sizeBytes, version: headers['etag'] };
        } catch (thrown) {
          // The answer to a HEAD has no body to say NoSuchKey, only its status.
          if (thrown instanceof AnswerError && thrown.status === 404) return undefined;
          throw thrown;
        }
      }),

    delete: (key, { signal }) =>
      unlessMissing(run('delete', key, signal, (linked) => remove(key, linked))),

    list: (prefix, { signal }) =>
      listPages(`S3 bucket "${bucket}"`, (token) =>
        run('list', undefined, signal, (linked) => listPage(prefix, token, linked)),
      ),

    check: ({ signal }) =>
      run('check', undefined, signal, (linked) =>
        checkBucket(
          {
            settings,
            transport,
            log,
            requests,
            checksums,
            credentials,
            probePrefix,
            readsSeveralNames,
          },
          linked,
        ),
      ),

    async close() {
      closing.abort(new StorageError('CLOSED', 'the S3 store is closed'));
      await multipart.settle(CLEANUP_GRACE_MS);
      client.close();
      await transport.close();
    },
  };
}
