// SPDX-License-Identifier: GPL-3.0-or-later
// The one place where what S3, the SDK or the network reports becomes a StorageError.

import { StorageError } from '../../errors.ts';
import { AnswerError } from '../../http/answer-error.ts';
import { describeBetween } from '../../http/foreign-answers.ts';
import {
  badConfig,
  type Destination,
  denied,
  type Explanation,
  explainRedirect,
  explainStatus,
  explainThrottling,
  explainTransport,
} from '../../http/network-errors.ts';
import { createProxyChoice } from '../../http/proxies.ts';
import { TransportError } from '../../http/transport.ts';
import {
  describeClock,
  isSaidOf,
  minutesAhead,
  oneLine,
  oneName,
  readElement,
  rephrase,
} from '../../http/words.ts';
import { describeFailure, type Operation } from '../operation.ts';
import { readErrorXml, THROTTLING, wordsOf } from './answers.ts';
import { explainCredentials } from './credential-errors.ts';
import { CredentialsError } from './credentials.ts';
import type { S3Settings } from './settings.ts';

export function toS3Error(
  thrown: unknown,
  operation: Operation,
  settings: S3Settings,
): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const explanation = explain(thrown, operation, settings);
  const place = { kind: 'S3 bucket', name: settings.bucketName };
  return describeFailure(explanation, operation, place, toCause(thrown, explanation.text));
}

function explain(thrown: unknown, operation: Operation, settings: S3Settings): Explanation {
  const destination = destinationOf(operation, settings);
  if (thrown instanceof AnswerError) {
    return (
      explainCode(thrown, operation, settings) ??
      explainCodeless(thrown, operation, settings) ??
      explainStatus(thrown, destination, 'an S3 server')
    );
  }
  if (thrown instanceof TransportError) return explainTransport(thrown, destination);
  if (thrown instanceof CredentialsError) return explainCredentials(thrown, process.env);
  const words =
    thrown instanceof Error
      ? `${thrown.name}: ${oneLine(thrown.message)}`
      : 'UnknownError: no error object';
  return { code: 'INTERNAL', text: `unexpected ${words}` };
}

/** Without what the SDK's errors hold beside their words: of a program for credentials its arguments, say.
 *  @param text of the explanation */
function toCause(thrown: unknown, text: string): unknown {
  const failure = thrown instanceof CredentialsError ? thrown.cause : thrown;
  const isOurs = failure instanceof TransportError || failure instanceof AnswerError;
  if (isOurs || !(failure instanceof Error)) return failure;
  return rephrase(failure, failure.name, thrown === failure ? oneLine(failure.message) : text);
}

/** Where the bucket is. */
function regionOf({ headers, answer }: AnswerError): string | undefined {
  return oneName(headers['x-amz-bucket-region'] ?? readElement(readErrorXml(answer), 'Region'));
}

/** @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
function explainCode(
  error: AnswerError,
  operation: Operation,
  settings: S3Settings,
): Explanation | undefined {
  const { code = '', said } = error;
  const words = wordsOf(error);
  const key = findWrongKey(error);
  if (key !== undefined) return explainWrongKey(key, error, settings);
  if (THROTTLING.has(code)) return explainThrottling('AwsS3Storage', said);
  switch (code) {
    case 'NoSuchKey':
      return { code: 'NOT_FOUND', text: 'there is no such object' };
    case 'NoSuchUpload':
      return {
        code: 'UNAVAILABLE',
        text: 'the server has no such upload in parts any more; a lifecycle rule, another program or the server itself has ended it',
      };
    case 'NoSuchBucket':
      return badConfig(
        `there is no such bucket; correct AwsS3Storage.BucketName, or create the bucket${where(settings)}${describeHostStyle(error, settings)}`,
      );
    case 'InvalidBucketName':
      return badConfig(
        `AwsS3Storage.BucketName is not a valid bucket name${describeHostStyle(error, settings)}`,
      );
    // Of Aliyun OSS, Tencent COS, Huawei OBS and Volcengine TOS, which know the bucket by the host name alone.
    case 'SecondLevelDomainForbidden':
    case 'PathStyleDomainForbidden':
    case 'VirtualHostDomainRequired':
    case 'InvalidPathAccess':
      return badConfig(
        `the server wants the bucket in the host name; set AwsS3Storage.VirtualAddressing to true, and ${settings.endpointSetting} to a host name without the bucket (${said})`,
      );
    case 'InvalidToken':
    case 'ExpiredToken':
    case 'ExpiredTokenException':
    case 'TokenRefreshRequired':
      return denied(
        'the temporary credentials have expired; renew what provides them (role, profile, or environment)',
      );
    case 'RequestTimeTooSkewed':
    case 'RequestExpired':
    case 'RequestInTheFuture':
      return denied(
        `${describeClock(minutesAhead(error.serverTime))}; set this machine's clock (NTP)`,
      );
    case 'PermanentRedirect':
    case 'TemporaryRedirect':
    case 'Redirect':
      return explainElsewhere(error, settings);
    case 'AuthorizationHeaderMalformed':
    case 'IllegalLocationConstraintException':
      return badConfig(describeRegion(error, settings));
    case 'AccessDenied':
    case 'Forbidden':
    case 'AllAccessDisabled':
    case 'AccountProblem':
      return denied(
        `access is denied to these credentials; allow ${permission(operation.verb)} (${words})${describeHostStyle(error, settings)}`,
      );
    case 'InvalidObjectState':
      return denied(
        'the object is archived (Glacier or Deep Archive); restore it first, or keep the bucket from archiving',
      );
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
    case 'BadDigest':
    case 'InvalidDigest':
    case 'XAmzContentSHA256Mismatch':
    case 'XAmzContentChecksumMismatch':
      return {
        code: 'INTEGRITY',
        text: `what arrived at the server is not what was sent (${words})${
          operation.verb === 'write' && code !== 'XAmzContentSHA256Mismatch'
            ? describeChecksumMode('; if no write succeeds, or none of a large instance', settings)
            : ''
        }`,
      };
    case 'InvalidStorageClass':
      return badConfig(
        `the server does not know AwsS3Storage.StorageClass "${settings.storageClass ?? ''}"`,
      );
    case 'InvalidTag':
      return badConfig(`the server refuses AwsS3Storage.Tags (${words})`);
    case 'KMS.DisabledException':
    case 'KMS.NotFoundException':
    case 'KMS.InvalidStateException':
    case 'KMS.KMSInvalidStateException':
    case 'KMSInvalidStateException':
      return badConfig(`the key AwsS3Storage.KmsKeyId cannot be used (${words})`);
    case 'NotImplemented':
      return badConfig(
        `the server does not support what was asked (${words})${describeChecksumMode(';', settings)}`,
      );
    case 'RequestTimeout':
      return { code: 'TIMEOUT', text: 'the server gave up waiting for the request' };
    default:
      return isOfChecksums(error, operation) && settings.checksumMode === 'WhenSupported'
        ? badConfig(
            `the server refuses the checksum that is sent along (${said})${describeChecksumMode(';', settings)}`,
          )
        : undefined;
  }
}

/** Older Ceph, appliances and gateways refuse headers and elements that they do not know, each by another code. In the XML of our writes
 *  that can only be checksums. */
function isOfChecksums(error: AnswerError, { verb }: Operation): boolean {
  const { code = '', status } = error;
  if (status < 400 || status >= 500) return false;
  return (
    /checksum|crc-?(32|64)|content-md5|trailer/i.test(`${code} ${wordsOf(error)}`) ||
    (code === 'MalformedXML' && verb === 'write')
  );
}

function describeChecksumMode(before: string, { checksumMode }: S3Settings): string {
  return checksumMode === 'WhenRequired'
    ? ''
    : `${before} AwsS3Storage.ChecksumMode "WhenRequired" helps with servers that reject CRC32`;
}

type WrongKey = 'access key' | 'secret key';

const UNKNOWN_ACCESS_KEY: ReadonlySet<string> = new Set([
  'invalidaccesskeyid',
  'invalidaccesskey',
  'nosuchaccesskey',
  // versitygw 1.8's word for it, with status 404.
  'xadminusernotfound',
  // s3s.
  'notsignedup',
]);
const WRONG_SIGNATURE: ReadonlySet<string> = new Set([
  'signaturedoesnotmatch',
  'invalidsignature',
  'invalidsignatureexception',
]);

/** Garage says AccessDenied for both, with "Invalid signature" for a wrong secret and "No such key: GK…" for an unknown key. Others have other
 *  words; only plain ones count. */
function findWrongKey(error: AnswerError): WrongKey | undefined {
  const { status } = error;
  const code = error.code?.toLowerCase() ?? '';
  if (UNKNOWN_ACCESS_KEY.has(code)) return 'access key';
  if (WRONG_SIGNATURE.has(code)) return 'secret key';
  const isRefusal = status === 400 || status === 401 || status === 403;
  if (!isRefusal || code === 'requesttimetooskewed') return undefined;
  const words = wordsOf(error);
  if (
    /\b(no such|unknown|invalid|malformed|unrecognized) access[ -]?key/i.test(words) ||
    isSaidOf(words, /access[ -]?key( id)?\b/gi, UNKNOWN, CLOSELY) ||
    (code === 'accessdenied' && /\bno such key\b/i.test(words))
  ) {
    return 'access key';
  }
  return /\binvalid signature\b/i.test(words) ||
    isSaidOf(words, /\bsignature\b/gi, NO_MATCH, CLOSELY)
    ? 'secret key'
    : undefined;
}

/** Characters. */
const CLOSELY = 100;
const UNKNOWN = /\b(does not exist|do not exist|not found|unknown|not valid|has length)/i;
const NO_MATCH = /\b(does not match|doesn't match|not match|mismatch)/i;

function explainWrongKey(key: WrongKey, error: AnswerError, settings: S3Settings): Explanation {
  if (key === 'access key') {
    return denied(
      `the server does not know the access key; correct ${sourceOf('AwsS3Storage.AccessKey', settings)}`,
    );
  }
  const proxy = createProxyChoice(settings.proxies)(settings.endpoint ?? 'https://amazonaws.com');
  return denied(
    `the secret key does not belong to the access key, or something between changes the requests; correct ${sourceOf('AwsS3Storage.SecretKey', settings)}, or have proxies and gateways pass host name, path and headers on as they are${describeBetween(error.headers, proxy?.setting)}`,
  );
}

/** A server that knows buckets only by the path takes what follows the host name for the bucket. */
function describeHostStyle({ answer }: AnswerError, settings: S3Settings): string {
  const { endpoint, virtualAddressing, bucketName } = settings;
  if (!virtualAddressing || endpoint === undefined) return '';
  const xml = readErrorXml(answer);
  const bucket = readElement(xml, 'BucketName') ?? readElement(xml, 'Bucket') ?? bucketName;
  const isOther = bucket !== bucketName;
  const what = isOther ? `; the server looked for a bucket "${oneLine(bucket, MAX_BUCKET)}"` : '';
  return `${what}; ${VIRTUAL_HINT}`;
}

const MAX_BUCKET = 80;
const VIRTUAL_HINT =
  'set AwsS3Storage.VirtualAddressing to false if the server has no host name for each bucket';

/** Answers without a code, mostly of gateways and to a HEAD, and codes that nobody knows. */
function explainCodeless(
  error: AnswerError,
  { verb }: Operation,
  settings: S3Settings,
): Explanation | undefined {
  const { status, said: answer } = error;
  if (status === 400 && regionOf(error) !== undefined) {
    return badConfig(describeRegion(error, settings));
  }
  if (status >= 300 && status < 400) return explainElsewhere(error, settings);
  if (status === 401 || status === 403) {
    return denied(
      `access is denied to these credentials; allow ${permission(verb)}, or look at ${settings.endpointSetting} (${answer})`,
    );
  }
  if (status !== 404) return undefined;
  return verb === 'look up'
    ? { code: 'NOT_FOUND', text: 'there is no such object' }
    : badConfig(
        `what answers is no S3 server, or has no such bucket; correct ${settings.endpointSetting}, AwsS3Storage.BucketName, or .VirtualAddressing (${answer})`,
      );
}

export function describeServer({ endpoint, region }: S3Settings): string {
  return endpoint ?? `the S3 endpoint of region "${region}"`;
}

/** The part that all providers share, in S3's words. */
function destinationOf(operation: Operation, settings: S3Settings): Destination {
  const { endpoint, endpointSetting } = settings;
  return {
    section: 'AwsS3Storage',
    target: describeServer(settings),
    addressSetting: endpointSetting,
    endpoint,
    hostSettings: `${endpointSetting} or AwsS3Storage.Region${
      settings.virtualAddressing && endpoint !== undefined ? `, or ${VIRTUAL_HINT}` : ''
    }`,
    bodyLimit: describeBodyLimit(settings),
    isCheck: operation.verb === 'check',
  };
}

function describeBodyLimit({ transfer }: S3Settings): string {
  return transfer.always
    ? ' above AwsS3Storage.TransferBufferSize, or lower that'
    : ' to 64 MB at least, or set AwsS3Storage.UseTransferManager to true, with a TransferBufferSize below it';
}

/** The region is to blame only where S3's own words say so. */
function explainElsewhere(error: AnswerError, settings: S3Settings): Explanation {
  const { endpoint, endpointSetting, virtualAddressing, bucketName } = settings;
  const { code = '', location, said } = error;
  const region = regionOf(error);
  const isOtherRegion = region !== undefined && region !== settings.region;
  const isOfS3 =
    endpointOf(error) !== undefined || (code.endsWith('Redirect') && location === undefined);
  if (isOtherRegion || isOfS3) return badConfig(describeRegion(error, settings));
  const bucket = virtualAddressing ? { bucket: bucketName } : {};
  return explainRedirect(location, { endpoint, addressSetting: endpointSetting, ...bucket }, said);
}

/** Where S3 says that the bucket is. */
function endpointOf({ answer }: AnswerError): string | undefined {
  return readElement(readErrorXml(answer), 'Endpoint');
}

function describeRegion(error: AnswerError, settings: S3Settings): string {
  const region = regionOf(error);
  if (region === undefined || region === settings.region) {
    const endpoint = endpointOf(error);
    const at = endpoint === undefined ? '' : `, "${oneLine(endpoint)}"`;
    return `the bucket belongs to another endpoint${at} than that of AwsS3Storage.Region "${settings.region}"${where(settings)}; correct the one or the other (${wordsOf(error)})`;
  }
  return `the bucket is in region "${region}"; set AwsS3Storage.Region to it (now "${settings.region}")`;
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

/** @param setting that holds it where it is in the configuration */
function sourceOf(setting: string, { credentials }: S3Settings): string {
  return credentials === undefined ? 'what the AWS environment or profile provides' : setting;
}

function where(settings: S3Settings): string {
  return settings.endpoint === undefined
    ? ''
    : ` (${settings.endpointSetting} is ${settings.endpoint})`;
}
