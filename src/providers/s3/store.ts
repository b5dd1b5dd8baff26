// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one S3 bucket.

import { setMaxListeners } from 'node:events';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { StorageError } from '../../errors.ts';
import { hold } from '../../http/content.ts';
import { removalRetries } from '../../http/retry.ts';
import { withSplit } from '../../http/split-read.ts';
import { createTransport, type Headers } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import { viewOf } from '../../store/bodies.ts';
import type { Body, ObjectInfo, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { createRun, listPages, probeKey, requireSize, unlessMissing } from '../operation.ts';
import { PROBE } from '../probe.ts';
import { checkBucket } from './check.ts';
import { connect, type SendOptions, withHeaders } from './client.ts';
import { createCredentials } from './credentials.ts';
import { toS3Error } from './errors.ts';
import { createEtags } from './etags.ts';
import { createLean } from './lean.ts';
import { createMultipart } from './multipart.ts';
import { createChecksums, type ReceiveOptions, receive } from './receive.ts';
import { createRequestHeaders } from './requests.ts';
import { createSdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

/** How long a failed multipart upload may still be cleaned up behind. */
const CLEANUP_GRACE_MS = 2_000;

/** Connections that help with one large read; with the first one, as many as a large write has. */
const MAX_HELPERS = 3;

export interface S3Dependencies {
  readonly log: Logger;
  /** Where `check` may write its probe object: the RootPath, since a policy may allow no more than that. "" by default. */
  readonly probePrefix?: string;
  /** A file that is not where it is looked for first may be elsewhere. False by default. */
  readonly readsSeveralNames?: boolean;
  /** Compare reads with the ETag where the server sent no checksum: for an Orthanc that does not verify MD5s itself. */
  readonly verifyMd5?: boolean;
  /** Only for tests and benches: false sends everything through the SDK. */
  readonly lean?: boolean;
}

export function createS3Store(settings: S3Settings, deps: S3Dependencies): ObjectStore {
  const { bucketName: bucket } = settings;
  const { log } = deps;
  const transport = createTransport(settings);
  const checksums = createChecksums();
  const closing = new AbortController();
  // Each operation under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, closing.signal);
  const logger = createSdkLogger(settings, log);
  const credentials = createCredentials(settings, logger);
  const open = (maxRetries: number) =>
    connect({
      settings,
      transport,
      credentials,
      logger,
      maxRetries,
      retryConnecting: true,
      closing: closing.signal,
      followRegionRedirects: true,
    });
  const client = open(settings.maxRetries);
  const removing = open(removalRetries(settings.maxRetries));
  const headers = createRequestHeaders(settings);
  // Who switches the SDK's log on wants to see all requests in it.
  const isLean = deps.lean !== false && !settings.enableSdkLogs;
  const lean = isLean ? createLean({ client, bucketName: bucket, transport }) : undefined;
  const multipart = createMultipart({ settings, client, headers, log });
  const etags = createEtags(PROBE, async (signal) => {
    const probe = { Bucket: bucket, Key: probeKey(deps.probePrefix ?? '') };
    const content = viewOf(PROBE);
    const digests = await headers.content(content, signal);
    const all = { ...headers.object(probe.Key, digests.crc32), ...digests.headers };
    const options: SendOptions = { abortSignal: signal };
    const putting: SendOptions = { ...options, content };
    const { ETag } = await client.send(withHeaders(new PutObjectCommand(probe), all), putting);
    await client.send(new DeleteObjectCommand(probe), options);
    return ETag;
  });

  const run = createRun(closing.signal, (thrown, operation) =>
    toS3Error(thrown, operation, settings),
  );

  async function putWhole(
    key: string,
    content: Body,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<void> {
    const held = hold(content);
    const digests = await headers.content(held, signal);
    const condition = onlyIfVersion === undefined ? {} : { 'if-match': onlyIfVersion };
    const all = { ...headers.object(key, digests.crc32), ...digests.headers, ...condition };
    if ((await lean?.put(key, all, held, signal)) === true) return;
    const command = withHeaders(new PutObjectCommand({ Bucket: bucket, Key: key }), all);
    const options: SendOptions = { abortSignal: signal, content: held };
    await client.send(command, options);
  }

  async function readOnce(
    options: ReceiveOptions,
    extra: Headers,
    signal: AbortSignal,
  ): Promise<void> {
    const { key, range } = options;
    const receiver = (status: number, answered: Headers) => receive(options, status, answered);
    const all = { ...headers.read(range), ...extra };
    if ((await lean?.get(key, all, receiver, signal)) === true) return;
    const command = withHeaders(new GetObjectCommand({ Bucket: bucket, Key: key }), all);
    const send: SendOptions = { abortSignal: signal, receive: receiver };
    await client.send(command, send);
  }

  async function readVerified(
    options: Omit<ReceiveOptions, 'etag' | 'checksums'>,
    signal: AbortSignal,
  ): Promise<void> {
    const isWanted = deps.verifyMd5 === true || options.requireChecksum === true;
    const etag = isWanted && etags.mayBeMd5() ? { isMismatch: false } : undefined;
    try {
      await read({ ...options, checksums, etag }, signal);
    } catch (thrown) {
      if (etag?.isMismatch !== true || (await etags.areMd5(signal))) throw thrown;
      await read({ ...options, checksums, etag: undefined }, signal);
    }
  }

  async function read(options: ReceiveOptions, signal: AbortSignal): Promise<void> {
    if (options.sink.anyOrder !== true) {
      await readOnce(options, {}, signal);
      return;
    }
    await withSplit(
      {
        sink: options.sink,
        helpers: Math.min(MAX_HELPERS, settings.maxConnections - 1),
        signal,
        now: () => performance.now(),
        fetch: (range, sink, version, helperSignal) =>
          readOnce({ ...options, range, sink }, { 'if-match': version }, helperSignal),
      },
      (split) => readOnce(split === undefined ? options : { ...options, split }, {}, signal),
    );
  }

  async function remove(key: string, signal: AbortSignal): Promise<void> {
    if ((await lean?.delete(key, signal)) === true) return;
    const options: SendOptions = { abortSignal: signal };
    await removing.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), options);
  }

  async function listPage(prefix: string, token: string | undefined, signal: AbortSignal) {
    const options: SendOptions = { abortSignal: signal };
    const page = await client.send(
      new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }),
      options,
    );
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
      run('read', key, signal, (linked) =>
        readVerified({ key, range, sink, requireChecksum }, linked),
      ),

    head: (key, { signal }) =>
      run('look up', key, signal, async (linked) => {
        try {
          const options: SendOptions = { abortSignal: linked };
          const head = await client.send(
            new HeadObjectCommand({ Bucket: bucket, Key: key }),
            options,
          );
          return { sizeBytes: requireSize(key, head.ContentLength), version: head.ETag };
        } catch (thrown) {
          // A HEAD's answer has no body to say NoSuchKey, only its status.
          if (thrown instanceof Error && thrown.name === 'NotFound') return undefined;
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
            headers,
            checksums,
            credentials,
            probePrefix: deps.probePrefix ?? '',
            readsSeveralNames: deps.readsSeveralNames === true,
          },
          linked,
        ),
      ),

    async close() {
      closing.abort(new StorageError('CLOSED', 'the S3 store is closed'));
      await multipart.settle(CLEANUP_GRACE_MS);
      client.destroy();
      removing.destroy();
      await transport.close();
    },
  };
}
