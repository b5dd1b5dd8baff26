// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start. A least-privilege policy allows GetObject, PutObject and DeleteObject under RootPath and nothing else, so
// neither HeadBucket nor ListBucket can be asked.

import { randomUUID } from 'node:crypto';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import type { S3Settings } from '../../config/settings.ts';
import type { Logger } from '../../log.ts';
import { withCheckTimeout } from '../operation.ts';
import type { Transport } from '../transport.ts';
import { connect, type SendOptions, withHeaders } from './client.ts';
import { toS3Error } from './errors.ts';
import type { RequestHeaders } from './requests.ts';

/** Enough to survive one lost connection or a stumbling server. */
const CHECK_RETRIES = 2;

export interface CheckDependencies {
  readonly settings: S3Settings;
  readonly transport: Transport;
  readonly log: Logger;
  readonly headers: RequestHeaders;
  readonly credentials: S3ClientConfig['credentials'];
  /** The RootPath. */
  readonly probePrefix: string;
}

/** @throws StorageError that names the setting to change */
export async function checkBucket(deps: CheckDependencies, signal: AbortSignal): Promise<void> {
  const { settings } = deps;
  const target = {
    name: settings.endpoint ?? `region "${settings.region}"`,
    settings: 'AwsS3Storage.Endpoint or .Region',
  };
  await withCheckTimeout(`S3 bucket "${settings.bucketName}"`, target, signal, (bounded) =>
    probe(deps, bounded),
  );
}

async function probe(deps: CheckDependencies, signal: AbortSignal): Promise<void> {
  const { settings, headers } = deps;
  const client = connect({
    settings,
    transport: deps.transport,
    log: deps.log,
    maxRetries: CHECK_RETRIES,
    retryConnecting: false,
    closing: signal,
    followRegionRedirects: false,
    credentials: deps.credentials,
  });
  const prefix = deps.probePrefix === '' ? '' : `${deps.probePrefix}/`;
  const target = {
    Bucket: settings.bucketName,
    Key: `${prefix}orthanc-object-storage-probe-${randomUUID()}`,
  };
  const options: SendOptions = { abortSignal: signal };
  const readProbe = async () => {
    const command = withHeaders(new GetObjectCommand(target), headers.read(undefined));
    const discard = { write: () => undefined, end: () => undefined };
    const read: SendOptions = { ...options, receive: () => discard };
    await client.send(command, read);
  };

  try {
    await readProbe();
    return;
  } catch (thrown) {
    const error = toS3Error(thrown, { verb: 'check', key: undefined }, settings);
    // The key cannot exist: to be told so means that bucket, credentials and permission to read are right.
    if (error.code === 'NOT_FOUND') return;
    // Without permission to list, S3 says AccessDenied of a missing object as well as of a forbidden one.
    const isAmbiguous =
      thrown instanceof Error && (thrown.name === 'AccessDenied' || thrown.name === 'Forbidden');
    if (!isAmbiguous) throw error;
  }

  const content = await headers.content({ sizeBytes: 0, read: () => new Uint8Array() }, signal);
  await attempt('write', () =>
    client.send(
      withHeaders(new PutObjectCommand(target), { ...headers.object, ...content.headers }),
      options,
    ),
  );
  try {
    await attempt('read', readProbe);
  } finally {
    await attempt('delete', () => client.send(new DeleteObjectCommand(target), options));
  }

  async function attempt(verb: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      throw toS3Error(thrown, { verb, key: target.Key }, settings);
    }
  }
}
