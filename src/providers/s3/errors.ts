// SPDX-License-Identifier: GPL-3.0-or-later
// The one place where what the SDK or the network reports becomes a StorageError.

import type { S3Settings } from '../../config/settings.ts';
import { StorageError } from '../../errors.ts';
import { type Destination, type Explanation, explainTransport } from '../network-errors.ts';
import type { Operation } from '../operation.ts';
import { TransportError } from '../transport.ts';
import { asRecord, describeClock, minutesAhead, oneLine, text } from '../words.ts';
import { explainCredentials } from './credential-errors.ts';
import { CredentialsError } from './credentials.ts';

type Facts = {
  readonly name: string;
  readonly status: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly requestId: string | undefined;
  /** The server's own words, which the SDK puts into the error's message. */
  readonly words: string;
  readonly region: string | undefined;
  readonly serverTime: Date | undefined;
};

export function toS3Error(
  thrown: unknown,
  operation: Operation,
  settings: S3Settings,
): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const isOfCredentials = thrown instanceof CredentialsError;
  const failure = isOfCredentials ? thrown.cause : thrown;
  const facts = readFacts(failure);
  const explanation = isOfCredentials
    ? explainCredentials(failure, facts, process.env)
    : failure instanceof TransportError
      ? explainTransport(failure, destinationOf(operation, settings))
      : (explainName(facts, operation, settings) ??
        explainStatus(facts, settings) ?? {
          code: 'INTERNAL' as const,
          text: `unexpected ${facts.name}: ${facts.words}`,
        });
  const subject =
    operation.key === undefined
      ? `S3 bucket "${settings.bucketName}"`
      : `"${operation.key}" in S3 bucket "${settings.bucketName}"`;
  return new StorageError(
    explanation.code,
    `cannot ${operation.verb} ${subject}: ${explanation.text}`,
    {
      key: operation.key ?? settings.bucketName,
      cause: toCause(failure, facts),
      ...(facts.requestId === undefined ? {} : { requestId: facts.requestId }),
    },
  );
}

/** The SDK's errors carry everything that the server said, for a wrong signature the string to sign and the signature too. */
function toCause(thrown: unknown, facts: Facts): unknown {
  if (thrown instanceof TransportError || !(thrown instanceof Error)) return thrown;
  const cause = new Error(facts.words);
  cause.name = facts.name;
  if (thrown.stack !== undefined) cause.stack = thrown.stack;
  return Object.assign(cause, { status: facts.status });
}

function readFacts(thrown: unknown): Facts {
  const error = asRecord(thrown);
  const metadata = asRecord(error['$metadata']);
  const response = asRecord(error['$response']);
  const headers = readHeaders(response['headers']);
  const nested = asRecord(error['Error']);
  const serverTime = text(error['ServerTime']) ?? text(nested['ServerTime']) ?? headers['date'];
  return {
    name: (thrown instanceof Error ? thrown.name : undefined) ?? 'UnknownError',
    status: number(metadata['httpStatusCode']) ?? number(response['statusCode']),
    headers,
    // versitygw 1.8 sends the header twice, with the same id.
    requestId: (text(metadata['requestId']) ?? headers['x-amz-request-id'])?.split(', ')[0],
    words: thrown instanceof Error ? oneLine(withoutHint(thrown.message)) : 'no error object',
    region: headers['x-amz-bucket-region'] ?? text(error['Region']) ?? text(nested['Region']),
    serverTime: serverTime === undefined ? undefined : new Date(serverTime),
  };
}

/** Names are S3's error codes, or the SDK's own where it fails before it asks.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
function explainName(
  facts: Facts,
  operation: Operation,
  settings: S3Settings,
): Explanation | undefined {
  switch (facts.name) {
    case 'NoSuchKey':
      return { code: 'NOT_FOUND', text: 'there is no such object' };
    case 'NoSuchUpload':
      return {
        code: 'UNAVAILABLE',
        text: 'the server has no such upload in parts any more; a lifecycle rule, another program or the server itself has ended it',
      };
    case 'NoSuchBucket':
      return {
        code: 'BAD_CONFIG',
        text: `there is no such bucket; correct AwsS3Storage.BucketName, or create the bucket${where(settings)}`,
      };
    case 'InvalidBucketName':
      return { code: 'BAD_CONFIG', text: 'AwsS3Storage.BucketName is not a valid bucket name' };
    case 'SignatureDoesNotMatch':
      return {
        code: 'ACCESS_DENIED',
        text: `the secret key does not belong to the access key; correct ${secretSource(settings)}`,
      };
    case 'InvalidAccessKeyId':
    case 'InvalidAccessKey':
    // versitygw 1.8's word for it, with status 404.
    case 'XAdminUserNotFound':
      return {
        code: 'ACCESS_DENIED',
        text: `the server does not know the access key; correct ${accessSource(settings)}`,
      };
    case 'InvalidToken':
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
      return {
        code: 'ACCESS_DENIED',
        text: 'the temporary credentials have expired; renew what provides them (role, profile, or environment)',
      };
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
    case 'RequestInTheFuture':
      return {
        code: 'ACCESS_DENIED',
        text: `${describeClock(minutesAhead(facts.serverTime))}; set this machine's clock (NTP)`,
      };
    case 'PermanentRedirect':
    case 'TemporaryRedirect':
    case 'Redirect':
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return { code: 'BAD_CONFIG', text: describeRegion(facts, settings) };
    case 'AccessDenied':
    case 'Forbidden':
    case 'AllAccessDisabled':
    case 'AccountProblem':
      return {
        code: 'ACCESS_DENIED',
        text: `access is denied to these credentials; allow ${permission(operation.verb)} (${facts.words})`,
      };
    case 'InvalidObjectState':
      return {
        code: 'ACCESS_DENIED',
        text: 'the object is archived (Glacier or Deep Archive); restore it first, or keep the bucket from archiving',
      };
    case 'PreconditionFailed':
      return operation.verb === 'write'
        ? { code: 'NOT_FOUND', text: 'the object that it was to replace is not there any more' }
        : { code: 'INTEGRITY', text: 'the object was replaced while it was being read' };
    case 'ConditionalRequestConflict':
    case 'OperationAborted':
      return {
        code: 'UNAVAILABLE',
        text: 'another request changed the object at the same moment; try again',
      };
    case 'InvalidRange':
      return { code: 'BAD_RANGE', text: 'the range lies outside the object' };
    case 'SlowDown':
    case 'Throttling':
    case 'ThrottlingException':
    case 'TooManyRequestsException':
    case 'RequestLimitExceeded':
    case 'BandwidthLimitExceeded':
      return {
        code: 'THROTTLED',
        text: 'the server asks for fewer requests; lower AwsS3Storage.MaxConnections if this persists',
      };
    case 'BadDigest':
    case 'InvalidDigest':
    case 'XAmzContentSHA256Mismatch':
    case 'XAmzContentChecksumMismatch':
      return {
        code: 'INTEGRITY',
        text: `what arrived at the server is not what was sent (${facts.words})`,
      };
    case 'InvalidStorageClass':
      return {
        code: 'BAD_CONFIG',
        text: `the server does not know AwsS3Storage.StorageClass "${settings.storageClass ?? ''}"`,
      };
    case 'InvalidTag':
      return { code: 'BAD_CONFIG', text: `the server refuses AwsS3Storage.Tags (${facts.words})` };
    case 'KMS.DisabledException':
    case 'KMS.NotFoundException':
    case 'KMS.InvalidStateException':
    case 'KMS.KMSInvalidStateException':
    case 'KMSInvalidStateException':
      return {
        code: 'BAD_CONFIG',
        text: `the key AwsS3Storage.KmsKeyId cannot be used (${facts.words})`,
      };
    case 'NotImplemented':
      return {
        code: 'BAD_CONFIG',
        text: `the server does not support what was asked (${facts.words}); AwsS3Storage.ChecksumMode "WhenRequired" helps with servers that reject CRC32`,
      };
    case 'TimeoutError':
    case 'RequestTimeout':
      return { code: 'TIMEOUT', text: 'the server gave up waiting for the request' };
    case 'AbortError':
      return { code: 'ABORTED', text: 'the operation was cancelled' };
    default:
      return undefined;
  }
}

function explainStatus(facts: Facts, settings: S3Settings): Explanation | undefined {
  const { status } = facts;
  if (status === undefined) return undefined;
  const answer = `status ${status}, ${facts.name}: ${facts.words}`;
  if (status === 301 || status === 307 || (status === 400 && facts.region !== undefined)) {
    return { code: 'BAD_CONFIG', text: describeRegion(facts, settings) };
  }
  if (status === 401 || status === 403) {
    return { code: 'ACCESS_DENIED', text: `access is denied to these credentials (${answer})` };
  }
  if (status === 404) {
    return {
      code: 'BAD_CONFIG',
      text: `what answers is no S3 server, or has no such bucket; correct ${settings.endpointSetting}, AwsS3Storage.BucketName, or .VirtualAddressing (${answer})`,
    };
  }
  if (status === 416) return { code: 'BAD_RANGE', text: 'the range lies outside the object' };
  if (status === 429) {
    return {
      code: 'THROTTLED',
      text: `the server asks for fewer requests; lower AwsS3Storage.MaxConnections if this persists (${answer})`,
    };
  }
  if (status >= 500) return { code: 'UNAVAILABLE', text: `the server failed (${answer})` };
  if (status >= 400)
    return { code: 'INTERNAL', text: `the server refused the request (${answer})` };
  // A success whose XML could not be understood.
  return {
    code: 'UNAVAILABLE',
    text: `the answer makes no sense; does ${settings.endpointSetting} name an S3 server? (${answer})`,
  };
}

export function describeServer({ endpoint, region }: S3Settings): string {
  return endpoint ?? `the S3 endpoint of region "${region}"`;
}

/** The part that all providers share, in S3's words. */
function destinationOf(operation: Operation, settings: S3Settings): Destination {
  const { endpoint, endpointSetting } = settings;
  const byHost = settings.virtualAddressing && endpoint !== undefined;
  return {
    section: 'AwsS3Storage',
    target: describeServer(settings),
    addressSetting: endpointSetting,
    endpoint,
    hostSettings: `${endpointSetting} or AwsS3Storage.Region${
      byHost
        ? ', or set AwsS3Storage.VirtualAddressing to false if the server has no host name for each bucket'
        : ''
    }`,
    isCheck: operation.verb === 'check',
  };
}

function describeRegion(facts: Facts, settings: S3Settings): string {
  if (facts.region === undefined) {
    return `the bucket belongs to another endpoint than AwsS3Storage.Region "${settings.region}"${where(settings)} (${facts.words})`;
  }
  return `the bucket is in region "${facts.region}"; set AwsS3Storage.Region to it (now "${settings.region}")`;
}

function permission(verb: string): string {
  switch (verb) {
    case 'write':
      return 's3:PutObject';
    case 'read':
    case 'look up':
      return 's3:GetObject, and s3:ListBucket, without which an object that is not there is denied as well';
    case 'delete':
      return 's3:DeleteObject';
    case 'list':
      return 's3:ListBucket';
    default:
      return 's3:GetObject, s3:PutObject and s3:DeleteObject';
  }
}

function secretSource(settings: S3Settings): string {
  return settings.credentials === undefined
    ? 'what the AWS environment or profile provides'
    : 'AwsS3Storage.SecretKey';
}

function accessSource(settings: S3Settings): string {
  return settings.credentials === undefined
    ? 'what the AWS environment or profile provides'
    : 'AwsS3Storage.AccessKey';
}

function where(settings: S3Settings): string {
  return settings.endpoint === undefined
    ? ''
    : ` (${settings.endpointSetting} is ${settings.endpoint})`;
}

/** To whom it speaks reads the code. */
function withoutHint(words: string): string {
  return words.replace(/\s*Deserialization error: to see the raw response.*$/s, '');
}

function readHeaders(value: unknown): Readonly<Record<string, string>> {
  const headers: Record<string, string> = {};
  for (const [name, header] of Object.entries(asRecord(value))) {
    if (typeof header === 'string') headers[name] = header;
  }
  return headers;
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
