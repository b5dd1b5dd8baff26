// SPDX-License-Identifier: GPL-3.0-or-later
// The one place where what Google, its library or the network reports becomes a StorageError.

import { StorageError } from '../../errors.ts';
import { AnswerError } from '../../http/answer-error.ts';
import {
  badConfig,
  type Destination,
  denied,
  type Explanation,
  explainStatus,
  explainThrottling,
  explainTransport,
} from '../../http/network-errors.ts';
import { failureBeneath } from '../../http/retry.ts';
import { TransportError } from '../../http/transport.ts';
import {
  asRecord,
  describeClock,
  isSaidOf,
  minutesAhead,
  rephrase,
  text,
} from '../../http/words.ts';
import { describeFailure, type Operation } from '../operation.ts';
import { isMismatch, isThrottling } from './answers.ts';
import { CredentialsError, TOKEN_SERVER } from './credentials.ts';
import { describePlaces, hideTokens, libraryWords } from './default-credentials.ts';
import type { GoogleSettings } from './settings.ts';

/** @param target where requests go */
export function toGoogleError(
  thrown: unknown,
  operation: Operation,
  settings: GoogleSettings,
  target: string,
): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const cause = failureBeneath(thrown);
  if (cause instanceof StorageError) return cause;
  const explanation = explain(thrown, cause, operation, settings, target);
  const place = { kind: 'Google Cloud Storage bucket', name: settings.bucketName };
  const told = thrown instanceof CredentialsError ? withoutRequest(thrown) : thrown;
  return describeFailure(explanation, operation, place, told);
}

function explain(
  thrown: unknown,
  cause: unknown,
  operation: Operation,
  settings: GoogleSettings,
  target: string,
): Explanation {
  const isForToken = thrown instanceof CredentialsError;
  const destination = destinationOf(isForToken, operation, settings, target);
  if (thrown instanceof AnswerError) {
    return (
      explainAnswer(thrown, operation, settings) ??
      explainStatus(thrown, destination, 'a server of Google Cloud Storage')
    );
  }
  if (cause instanceof TransportError) return explainTransport(cause, destination);
  if (thrown instanceof CredentialsError) return explainCredentials(thrown, settings);
  const words = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { code: 'INTERNAL', text: `unexpected ${words}` };
}

/** Errors of the library hold the request, and so the signed claim or a refresh token. Their messages quote files. */
function withoutRequest(error: CredentialsError): Error {
  const beneath = failureBeneath(error);
  if (beneath instanceof TransportError) return beneath;
  const original = error.cause instanceof Error ? error.cause : error;
  const copy = rephrase(original, original.name, libraryWords(error));
  return Object.assign(copy, { status: error.status });
}

function destinationOf(
  isForToken: boolean,
  operation: Operation,
  settings: GoogleSettings,
  target: string,
): Destination {
  const common = {
    section: 'GoogleCloudStorage',
    addressSetting: 'GoogleCloudStorage.Endpoint',
    isCheck: operation.verb === 'check',
  };
  return isForToken
    ? {
        ...common,
        target: TOKEN_SERVER,
        endpoint: undefined,
        hostSettings: "this machine's DNS, or open the way to oauth2.googleapis.com",
      }
    : {
        ...common,
        target,
        endpoint: settings.endpoint,
        bodyLimit: BODY_LIMIT,
        hostSettings: "GoogleCloudStorage.Endpoint, or this machine's DNS",
      };
}

/** @see https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes */
function explainAnswer(
  error: AnswerError,
  operation: Operation,
  settings: GoogleSettings,
): Explanation | undefined {
  const { status, said: answer, message } = error;
  if (isThrottling(error)) return explainThrottling('GoogleCloudStorage', answer);
  if (isMismatch(error)) {
    return {
      code: 'INTEGRITY',
      text: `what arrived at the server is not what was sent (${answer})`,
    };
  }
  switch (status) {
    case 400:
      return explainBadRequest(error, answer, settings);
    case 401:
      return explainUnauthorized(error, answer, settings);
    case 403:
      return explainForbidden(error, answer, operation, settings);
    case 404:
      // A page is not Google's, and must not be taken for a missing object.
      return /<(!doctype )?html/i.test(message)
        ? explainOtherServer(answer)
        : explainNotFound(error, answer, operation, settings);
    case 405:
      return explainOtherServer(answer);
    case 412:
      return { code: 'NOT_FOUND', text: 'the object that it was to replace is not there any more' };
    default:
      return undefined;
  }
}

/** Of the server's limit, since large objects go in one stream. */
const BODY_LIMIT = ' to the size of the largest file';

function explainOtherServer(answer: string): Explanation {
  return badConfig(
    `what answers is no server of Google Cloud Storage; correct GoogleCloudStorage.Endpoint (${answer})`,
  );
}

function explainBadRequest(
  error: AnswerError,
  answer: string,
  settings: GoogleSettings,
): Explanation | undefined {
  const { message } = error;
  if (/requester pays/i.test(message)) {
    return badConfig(
      `the bucket lets the requester pay; name the project that pays as "quota_project_id" in the file GoogleCloudStorage.ServiceAccountFile, or without that file in the environment variable GOOGLE_CLOUD_QUOTA_PROJECT (${answer})`,
    );
  }
  if (/invalid bucket name/i.test(message)) {
    return badConfig('GoogleCloudStorage.BucketName is not a valid bucket name');
  }
  if (/storage ?class/i.test(message)) {
    return badConfig(
      `the server does not take GoogleCloudStorage.StorageClass "${settings.storageClass ?? ''}" (${answer})`,
    );
  }
  if (/plain http|https port/i.test(message)) {
    return badConfig(
      `the server expects TLS; write "https://" in GoogleCloudStorage.Endpoint (${answer})`,
    );
  }
  return undefined;
}

function explainUnauthorized(
  error: AnswerError,
  answer: string,
  settings: GoogleSettings,
): Explanation {
  if (isAnonymous(settings)) {
    return denied(
      `the server asks for credentials, and none are sent over plain HTTP unless GoogleCloudStorage.ServiceAccountFile names them; set it, or write "https://" in .Endpoint (${answer})`,
    );
  }
  return denied(
    `the server does not accept the token for ${source(settings)}${describeSkew(error.serverTime)} (${answer})`,
  );
}

function explainForbidden(
  error: AnswerError,
  answer: string,
  operation: Operation,
  settings: GoogleSettings,
): Explanation {
  const { message, code = '' } = error;
  if (isUnlisted(error, operation)) return { code: 'NOT_FOUND', text: 'there is no such object' };
  if (/billing/i.test(message) || code === 'accountDisabled') {
    return denied(
      `the bucket's project has no active billing account; activate billing in the Google Cloud console (${answer})`,
    );
  }
  if (code === 'accessNotConfigured' || /has not been used in project|is disabled/i.test(message)) {
    return denied(
      `the Cloud Storage API is not enabled in the credentials' project; enable storage.googleapis.com there (${answer})`,
    );
  }
  if (isRetained(error)) {
    return denied(
      `the bucket keeps its objects for a time (retention policy or hold), and the object can be neither removed nor replaced before (${answer})`,
    );
  }
  if (/vpcServiceControls|organization's policy/i.test(`${code} ${message}`)) {
    return denied(
      `VPC Service Controls forbid access from here; add this machine's network or the service account to the perimeter (${answer})`,
    );
  }
  if (/insufficient authentication scopes|scope/i.test(message)) {
    return denied(
      `this machine's access scopes do not include writing to Cloud Storage; give the instance the scope "cloud-platform" (${answer})`,
    );
  }
  if (/serviceusage\.services\.use|USER_PROJECT_DENIED/i.test(`${code} ${message}`)) {
    return denied(
      `the credentials may not use the project that is to pay; allow serviceusage.services.use there (role Service Usage Consumer), or correct GOOGLE_CLOUD_QUOTA_PROJECT (${answer})`,
    );
  }
  const permission = permissionIn(error) ?? permissionFor(operation.verb);
  return denied(
    `access is denied to ${source(settings)}; allow ${permission} on the bucket, with RootPath in its condition if it has one (${answer})`,
  );
}

function explainNotFound(
  error: AnswerError,
  answer: string,
  operation: Operation,
  settings: GoogleSettings,
): Explanation {
  const { message } = error;
  // storage-testbench says "Live version of object bucket/key does not exist".
  const isObject = /no such object/i.test(message) || isSaidOf(message, /\bobject\b/gi, NO_LONGER);
  const isBucket =
    /NoSuchBucket/i.test(`${message} ${error.code}`) || isSaidOf(message, /bucket/gi, NO_LONGER);
  const isAboutObject = operation.key !== undefined && operation.verb !== 'write';
  // Emulators do not say what is missing.
  if (isObject || (!isBucket && isAboutObject)) {
    return { code: 'NOT_FOUND', text: 'there is no such object' };
  }
  const where = settings.endpoint === undefined ? '' : ' or .Endpoint';
  return badConfig(
    `there is no such bucket; correct GoogleCloudStorage.BucketName${where}, or create the bucket (${answer})`,
  );
}

const NO_LONGER = /(does not|doesn't) exist/i;

/** Without the permission to list objects, Google answers for a missing object that this permission is missing.
 *  @see https://docs.cloud.google.com/storage/docs/troubleshooting (403 for objects that do not exist) */
function isUnlisted(error: AnswerError, { verb, key }: Operation): boolean {
  return (
    key !== undefined &&
    verb !== 'write' &&
    verb !== 'list' &&
    permissionIn(error) === 'storage.objects.list'
  );
}

/** A bucket's retention policy, an object's retention, or a hold. */
export function isRetained(thrown: unknown): boolean {
  return (
    thrown instanceof AnswerError &&
    thrown.status === 403 &&
    (/retentionPolicyNotMet|objectUnderActiveHold/i.test(thrown.code ?? '') ||
      /retention (policy|period)|object retention|active (event-based|temporary) hold|under active/i.test(
        thrown.message,
      ))
  );
}

/** @returns the permission that Google's words name, such as "storage.objects.create" */
export function permissionIn(thrown: unknown): string | undefined {
  if (!(thrown instanceof AnswerError)) return undefined;
  return /\bstorage\.[a-zA-Z]{1,40}\.[a-zA-Z]{1,40}\b/.exec(thrown.message)?.[0];
}

function permissionFor(verb: string): string {
  switch (verb) {
    case 'write':
      return 'storage.objects.create (and .delete, to replace an object)';
    case 'read':
    case 'look up':
      return 'storage.objects.get';
    case 'delete':
      return 'storage.objects.delete';
    case 'list':
      return 'storage.objects.list';
    default:
      return 'storage.objects.create, .get and .delete';
  }
}

function explainCredentials(
  { cause, status }: CredentialsError,
  settings: GoogleSettings,
): Explanation {
  const message = libraryWords(cause);
  const { error, error_description: description } = readOauth(cause);
  const words = hideTokens([error, description].filter((word) => word !== undefined).join(': '));
  if (/could not load the default credentials/i.test(message)) {
    return denied(
      `no credentials were found: ${describePlaces()}; set GoogleCloudStorage.ServiceAccountFile, or provide GOOGLE_APPLICATION_CREDENTIALS, or run on Google Cloud with a service account (an emulator without credentials needs "http://" in .Endpoint)`,
    );
  }
  if (/GOOGLE_APPLICATION_CREDENTIALS/.test(message)) {
    return badConfig(
      `the file that GOOGLE_APPLICATION_CREDENTIALS names cannot be used; correct the variable, or set GoogleCloudStorage.ServiceAccountFile (${message})`,
    );
  }
  if (/reasonable timeframe|iat and exp|token used too early/i.test(words)) {
    return denied(
      `${describeClock(minutesAhead(readDate(cause)), "Google's")}; set this machine's clock (NTP) (${words})`,
    );
  }
  if (/invalid jwt signature|invalid signature/i.test(words)) {
    return denied(
      `the key in ${source(settings)} is revoked or deleted; create a new one (${words})`,
    );
  }
  if (/account not found|account has been deleted|account_disabled|disabled/i.test(words)) {
    return denied(
      `the service account of ${source(settings)} is deleted or disabled; enable it, or use another one (${words})`,
    );
  }
  if (error === 'invalid_grant' || error === 'invalid_rapt') {
    return denied(
      `${source(settings)} is expired or revoked, or this machine's clock is off; renew it (a user's by "gcloud auth application-default login"), and check the clock (${words})`,
    );
  }
  if (status === 404) {
    return denied(
      `this machine has no service account, or the one to impersonate does not exist; attach one, or set GoogleCloudStorage.ServiceAccountFile (${message})`,
    );
  }
  if (status !== undefined && status >= 500) {
    return {
      code: 'UNAVAILABLE',
      text: `the server that gives the token failed (status ${status}: ${words || message})`,
    };
  }
  return denied(`no token could be had for ${source(settings)} (${words || message})`);
}

/** The error of RFC 6749, section 5.2. Google's other servers nest it. */
function readOauth(thrown: unknown): {
  readonly error: string | undefined;
  readonly error_description: string | undefined;
} {
  const { data } = asRecord(asRecord(thrown)['response']);
  const { error, error_description: description } = asRecord(data);
  const nested = asRecord(error);
  return {
    error: text(error) ?? text(nested['status']),
    error_description: text(description) ?? text(nested['message']),
  };
}

function readDate(thrown: unknown): Date | undefined {
  const { headers } = asRecord(asRecord(thrown)['response']);
  const date = headers instanceof Headers ? headers.get('date') : null;
  return date === null ? undefined : new Date(date);
}

function describeSkew(serverTime: Date | undefined): string {
  const minutes = minutesAhead(serverTime) ?? 0;
  return Math.abs(minutes) < 5 ? '' : `; ${describeClock(minutes, "Google's")}`;
}

/** Over plain HTTP only a key file is used: emulators know no credentials, and a token must not be sent in the clear unasked. */
export function isAnonymous(
  settings: Pick<GoogleSettings, 'endpoint' | 'serviceAccountFile'>,
): boolean {
  return (
    settings.endpoint?.startsWith('http:') === true && settings.serviceAccountFile === undefined
  );
}

function source(settings: GoogleSettings): string {
  if (isAnonymous(settings)) return 'an anonymous user';
  return settings.serviceAccountFile === undefined
    ? 'the application default credentials'
    : 'GoogleCloudStorage.ServiceAccountFile';
}
