// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start. A least-privilege policy allows only GetObject, PutObject and DeleteObject under RootPath, so HeadBucket and ListBucket
// are not asked. At AWS, permissions are tried without leaving anything: by a read of a missing object, a write with a wrong checksum, and
// a removal with a condition that nothing meets. Other servers may not do what they say: there an object is written, read, written again in
// parts, and removed.

import { encodeCrc32 } from '../../checksums/checksums.ts';
import { CHECK_RETRIES } from '../../http/retry.ts';
import type { Headers, Transport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { NOWHERE, viewOf } from '../../store/bodies.ts';
import { withCheckTimeout } from '../../store/check-timeout.ts';
import type { ByteRange, Sink } from '../../store/object-store.ts';
import { probeKey } from '../operation.ts';
import { CLEANUP_MS, PROBE, verifyProbe, withRemoval } from '../probe.ts';
import { isDenied, isMismatch } from './answers.ts';
import { S3Client } from './client.ts';
import type { Credentials } from './credentials.ts';
import { describeServer, toS3Error } from './errors.ts';
import { createMultipart, SINGLE_PUT_MAX_BYTES } from './multipart.ts';
import type { ObjectRequest, Requests } from './requests.ts';
import { createSdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

/** They do not match the probe. Servers compare them only once they know that the write is permitted. */
const WRONG_DIGESTS: Readonly<Record<S3Settings['checksumMode'], Headers>> = {
  WhenSupported: { 'x-amz-checksum-crc32': encodeCrc32(1) },
  WhenRequired: { 'content-md5': Buffer.alloc(16, 1).toString('base64') },
};
const MIB = 1024 * 1024;
/** No object has it. Without a condition, a removal in a versioned bucket would leave a marker behind. */
const NO_ETAG = '"none"';

export interface CheckDependencies {
  readonly settings: S3Settings;
  readonly transport: Transport;
  readonly log: Logger;
  readonly requests: Requests;
  readonly credentials: Credentials;
  /** The RootPath. */
  readonly probePrefix: string;
  /** A file that is not where it is looked for first may be elsewhere. */
  readonly readsSeveralNames: boolean;
}

/** @throws StorageError that names the setting to change */
export async function checkBucket(deps: CheckDependencies, signal: Signal): Promise<void> {
  const { settings } = deps;
  const describeWait = () =>
    deps.credentials.waitsFor() ?? {
      name: describeServer(settings),
      settings: `${settings.endpointSetting} or AwsS3Storage.Region`,
    };
  await withCheckTimeout(
    `S3 bucket "${settings.bucketName}"`,
    describeWait,
    signal,
    (bounded) => probe(deps, bounded),
    (failure) => toS3Error(failure, { verb: 'check', key: undefined }, settings),
  );
}

async function probe(deps: CheckDependencies, signal: Signal): Promise<void> {
  const { settings, requests } = deps;
  const client = new S3Client({
    settings,
    transport: deps.transport,
    credentials: deps.credentials,
    logger: createSdkLogger(settings, deps.log, true),
    maxRetries: CHECK_RETRIES,
    isCheck: true,
  });
  const key = probeKey(deps.probePrefix);
  const read = async (range: ByteRange | undefined, sink: Sink) => {
    await client.send(await requests.get({ key, range, sink }), signal);
  };
  const write = async (changes: Pick<ObjectRequest, 'headers' | 'maxRetries'> = {}) => {
    const put = await requests.put(key, viewOf(PROBE), signal);
    const headers = { ...put.headers, ...changes.headers };
    await client.send({ ...put, ...changes, headers }, signal);
  };
  // Also when the time of the check is up.
  const remove = (headers: Headers = {}) =>
    client.send(
      { method: 'DELETE', key, headers },
      signal.aborted ? AbortSignal.timeout(CLEANUP_MS) : signal,
    );
  const explain = (verb: string, thrown: unknown) => toS3Error(thrown, { verb, key }, settings);
  const attempt = async (verb: string, work: () => Promise<unknown>) => {
    try {
      await work();
    } catch (thrown) {
      throw explain(verb, thrown);
    }
  };

  /** @returns true where a write and a removal would be permitted, though nothing is written or removed */
  async function isPermittedToChange(): Promise<boolean> {
    // Only a real write tells which keys of KMS may be used.
    if (settings.serverSideEncryption?.startsWith('aws:kms') === true) return false;
    try {
      await write({ headers: WRONG_DIGESTS[settings.checksumMode], maxRetries: 0 });
      return false;
    } catch (thrown) {
      // Servers check permissions first, the content last.
      if (isDenied(thrown)) throw explain('write', thrown);
      if (!isMismatch(thrown)) return false;
    }
    try {
      await remove({ 'if-match': NO_ETAG });
    } catch (thrown) {
      if (isDenied(thrown)) throw explain('delete', thrown);
    }
    return true;
  }

  const isReadableNow = await isReadable();
  const origin = await client.origin();
  const atAws = isAws(origin);
  if (isReadableNow && atAws && (await isPermittedToChange())) return;
  await attempt('write', write);
  await withRemoval(tryOut, () => attempt('delete', remove));

  async function tryOut(): Promise<void> {
    const isOfProfile = settings.endpoint === undefined && !atAws;
    const server = {
      name: isOfProfile ? origin : describeServer(settings),
      setting: isOfProfile ? 'endpoint_url of the profile' : settings.endpointSetting,
    };
    await attempt('read', () => verifyProbe(read, server));
    if (atAws) return;
    await tryParts();
  }

  /** At some servers only uploads in parts fail. The site's first large instance would find out. */
  async function tryParts(): Promise<void> {
    const multipart = createMultipart({ settings, client, requests, log: deps.log });
    try {
      // The last part may be of any size: one is enough.
      await multipart.put(key, viewOf(PROBE), { signal });
    } catch (thrown) {
      await multipart.settle(CLEANUP_MS);
      const error = explain('upload in parts', thrown);
      if (signal.aborted || settings.transfer.always) throw error;
      deps.log.warning(
        `the server takes no uploads in parts, so that instances of more than ${SINGLE_PUT_MAX_BYTES / MIB} MB cannot be stored: ${error.message}`,
      );
    }
  }

  /** @returns false where that is not known yet */
  async function isReadable(): Promise<boolean> {
    try {
      await read(undefined, NOWHERE);
      return true;
    } catch (thrown) {
      const error = toS3Error(thrown, { verb: 'check', key: undefined }, settings);
      // The key cannot exist. The server says so only if bucket, credentials and the permission to read are right.
      if (error.code === 'NOT_FOUND') return true;
      // Without permission to list, S3 says AccessDenied of a missing object as well as of a forbidden one.
      if (!isDenied(thrown)) throw error;
      if (deps.readsSeveralNames) {
        deps.log.warning(
          `these credentials may not list the bucket "${settings.bucketName}", so that S3 says AccessDenied of objects that are not there, and the plugin cannot go on to the other place or name where a file may be; allow s3:ListBucket`,
        );
      }
      return false;
    }
  }
}

/** Of all partitions that the SDK knows. */
const AWS_HOST =
  /\.(amazonaws\.(com|com\.cn|eu)|c2s\.ic\.gov|sc2s\.sgov\.gov|csp\.hci\.ic\.gov|cloud\.adc-e\.uk)$/;

/** Also by an address of its own, such as a VPC endpoint's. */
function isAws(origin: string): boolean {
  return AWS_HOST.test(new URL(origin).hostname);
}
