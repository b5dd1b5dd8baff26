// SPDX-License-Identifier: GPL-3.0-or-later
// The one place where what Azure, Entra ID or the network reports becomes a StorageError.

import { StorageError } from '../../errors.ts';
import { AnswerError, type Refusal } from '../../http/answer-error.ts';
import { describeBetween } from '../../http/foreign-answers.ts';
import {
  badConfig,
  type Destination,
  denied,
  type Explanation,
  explainStatus,
  explainTransport,
} from '../../http/network-errors.ts';
import { createProxyChoice } from '../../http/proxies.ts';
import { failureBeneath } from '../../http/retry.ts';
import { type Answer, TransportError } from '../../http/transport.ts';
import {
  describeClock,
  minutesAhead,
  oneLine,
  oneName,
  readElement,
  rephrase,
  textOf,
} from '../../http/words.ts';
import { describeFailure, type Operation } from '../operation.ts';
import { type Access, accountSetting } from './account.ts';
import type { AzureSettings } from './settings.ts';

export interface ErrorContext {
  readonly settings: AzureSettings;
  readonly access: Access;
  /** Scheme and host of the account's blob service. */
  readonly origin: string;
}

/** Azure's words in an answer that is no success. The answer to a HEAD has only the header.
 *  @see https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes */
export function readRefusal({ headers, body }: Answer): Refusal {
  const xml = textOf(body);
  const code = oneName(headers['x-ms-error-code'] ?? readElement(xml, 'Code'));
  const words = code === undefined ? undefined : firstLine(readElement(xml, 'Message') ?? '');
  return { code, words, requestId: headers['x-ms-request-id'] };
}

/** Such as "BlobNotFound". */
export function errorCodeOf(thrown: unknown): string | undefined {
  return thrown instanceof AnswerError ? thrown.code : undefined;
}

export function toAzureError(
  thrown: unknown,
  operation: Operation,
  context: ErrorContext,
): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const failure = failureBeneath(thrown);
  const explanation = explain(thrown, failure, operation, context);
  const place = { kind: 'Azure container', name: context.settings.containerName };
  return describeFailure(explanation, operation, place, withoutRequest(failure));
}

function explain(
  thrown: unknown,
  failure: unknown,
  operation: Operation,
  context: ErrorContext,
): Explanation {
  const destination = destinationOf(operation, context, failure !== thrown);
  if (failure instanceof TransportError) return explainTransport(failure, destination);
  if (failure instanceof AnswerError) {
    return (
      explainCode(failure, operation, context) ??
      explainDenial(failure, context) ??
      explainStatus(failure, destination, 'an Azure Blob service')
    );
  }
  return (
    explainToken(thrown, context) ?? {
      code: 'INTERNAL',
      text:
        thrown instanceof Error
          ? `unexpected ${thrown.name}: ${firstLine(thrown.message)}`
          : `unexpected ${String(thrown)}`,
    }
  );
}

/** Errors of the SDK hold the whole request, and so a URL with its signature. */
function withoutRequest(failure: unknown): unknown {
  const isOurs = failure instanceof AnswerError || failure instanceof TransportError;
  if (isOurs || !(failure instanceof Error)) return failure;
  return rephrase(failure, failure.name, firstLine(failure.message));
}

/** Where a token comes from, for messages. */
export const TOKEN_WAIT = {
  name: 'the service that gives out tokens (Entra ID)',
  settings: 'the environment variable AZURE_AUTHORITY_HOST',
} as const;

/** Above it, blobs go in blocks of 16 MB. */
const BODY_LIMIT = ' to 64 MB at least';

/** @param isToken a request for a token failed */
function destinationOf(operation: Operation, context: ErrorContext, isToken: boolean): Destination {
  const setting = accountSetting(context.settings);
  return {
    section: 'AzureBlobStorage',
    target: isToken ? TOKEN_WAIT.name : context.origin,
    addressSetting: setting,
    endpoint: context.origin,
    hostSettings: isToken
      ? `${TOKEN_WAIT.settings}, or this machine's name server`
      : `the account's name in ${setting}`,
    ...(isToken ? {} : { bodyLimit: BODY_LIMIT }),
    isCheck: operation.verb === 'check',
  };
}

/** Knows errors of @azure/identity by name, since an import of their classes would load it. */
function explainToken(thrown: unknown, context: ErrorContext): Explanation | undefined {
  if (!(thrown instanceof Error) || context.settings.account.kind !== 'default-chain') {
    return undefined;
  }
  switch (thrown.name) {
    case 'CredentialUnavailableError':
    case 'AggregateAuthenticationError':
    case 'AuthenticationRequiredError':
      return denied(
        `no Azure identity was found for AzureBlobStorage.AccountUrl; give this machine a managed identity, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or use .ConnectionString (${oneLine(thrown.message, MAX_TOKEN_WORDS)})`,
      );
    case 'AuthenticationError':
      return denied(
        `Entra ID refuses the identity behind AzureBlobStorage.AccountUrl; correct what the environment variables AZURE_… say (${oneLine(thrown.message, MAX_TOKEN_WORDS)})`,
      );
    default:
      return /AZURE_TOKEN_CREDENTIALS/.test(thrown.message)
        ? badConfig(firstLine(thrown.message))
        : undefined;
  }
}

function explainCode(
  error: AnswerError,
  operation: Operation,
  context: ErrorContext,
): Explanation | undefined {
  const { settings } = context;
  const setting = accountSetting(settings);
  switch (error.code) {
    case 'BlobNotFound':
      return { code: 'NOT_FOUND', text: 'there is no such object' };
    case 'ConditionNotMet':
      return { code: 'NOT_FOUND', text: 'the object that it was to replace is not there any more' };
    case 'ContainerNotFound':
      return badConfig(
        `there is no such container in ${context.origin}; correct AzureBlobStorage.ContainerName, create the container, or set .CreateContainerIfNotExists to true`,
      );
    case 'ContainerBeingDeleted':
      return {
        code: 'UNAVAILABLE',
        text: 'the container is being deleted; wait half a minute until it can be created again, or choose another AzureBlobStorage.ContainerName',
      };
    case 'ContainerDisabled':
    case 'AccountIsDisabled':
      return denied(
        `the storage account is disabled; look at its subscription in the Azure portal (${error.message})`,
      );
    case 'AuthenticationFailed':
      return explainAuthentication(error, context);
    case 'InvalidAuthenticationInfo':
    case 'NoAuthenticationInformation':
      return denied(
        `the account does not accept how the request was signed; correct ${setting} (${error.message})`,
      );
    case 'KeyBasedAuthenticationNotPermitted':
      return denied(
        'the account permits no access by key; use AzureBlobStorage.AccountUrl with an identity instead of .ConnectionString',
      );
    case 'AuthorizationFailure':
    case 'AuthorizationSourceIPMismatch':
      return denied(
        `the account refuses requests from this network${
          context.access.kind === 'sas' ? ' or with this signature' : ''
        }; allow this machine in the account's firewall ("Networking") or use a private endpoint, and see that ${setting} is right (${error.message})`,
      );
    case 'AuthorizationPermissionMismatch':
    case 'InsufficientAccountPermissions':
    case 'AuthorizationServiceMismatch':
    case 'AuthorizationResourceTypeMismatch':
    case 'UnauthorizedBlobOverwrite':
      return denied(explainPermission(operation, context));
    case 'AuthorizationProtocolMismatch':
    case 'AccountRequiresHttps':
      return badConfig(`the account demands TLS; write "https" in ${setting}`);
    case 'PublicAccessNotPermitted':
    case 'ResourceNotFound':
      return badConfig(
        `${context.origin} knows no such account or container; correct ${setting} (${error.message})`,
      );
    case 'InvalidUri':
    case 'InvalidResourceName':
    case 'OutOfRangeInput':
      return badConfig(
        `the account does not understand the address of the object; correct ${setting}, AzureBlobStorage.ContainerName or .RootPath (${error.message})`,
      );
    case 'BlobArchived':
    case 'BlobBeingRehydrated':
      return denied(
        error.code === 'BlobArchived'
          ? 'the object is in the Archive tier; rehydrate it first (change its tier to Hot, Cool or Cold; this takes hours), or keep the container from archiving'
          : 'the object is being brought back from the Archive tier, which takes hours',
      );
    case 'InvalidBlobTier':
    case 'BlobAccessTierNotSupportedForAccountType':
      return badConfig(
        `the account does not know AzureBlobStorage.AccessTier "${settings.accessTier ?? ''}" (${error.message})`,
      );
    case 'BlobImmutableDueToPolicy':
      return denied(
        "a policy of the container's keeps the object as it is (immutability, legal hold)",
      );
    case 'SnapshotsPresent':
      return denied('the object has snapshots, which this plugin did not make; delete them first');
    case 'LeaseIdMissing':
      return denied('somebody holds a lease on the object; break it');
    case 'InvalidBlobType':
      return denied('there is an object of another kind (page or append blob) under this name');
    case 'InvalidRange':
      return { code: 'BAD_RANGE', text: 'the range lies outside the object' };
    case 'Md5Mismatch':
    case 'Crc64Mismatch':
    case 'InvalidMd5':
      return {
        code: 'INTEGRITY',
        text: `what arrived at the server is not what was sent (${error.message})`,
      };
    case 'ServerBusy':
    case 'TooManyRequests':
      return {
        code: 'THROTTLED',
        text: `the account asks for fewer requests; lower AzureBlobStorage.MaxConnections if this persists (${error.said})`,
      };
    case 'OperationTimedOut':
      return { code: 'TIMEOUT', text: 'the server gave up waiting for the request' };
    default:
      return undefined;
  }
}

/** Azure has one code for a wrong key, a wrong clock and an expired signature. */
function explainAuthentication(error: AnswerError, context: ErrorContext): Explanation {
  const { access } = context;
  const skew = describeSkew(error);
  // Not shown, since it quotes what was signed.
  const detail = readElement(textOf(error.answer.body), 'AuthenticationErrorDetail') ?? '';
  if (access.kind === 'sas') {
    return denied(`${describeSignature(access, skew)}`);
  }
  if (skew !== undefined || /date header/i.test(detail)) {
    return denied(`${skew ?? describeClock(undefined)}; set this machine's clock (NTP)`);
  }
  const proxy = createProxyChoice(context.settings.proxies)(context.origin);
  return access.kind === 'key'
    ? denied(
        `the account key is wrong, or something between changes the requests; correct AccountName= and AccountKey= in AzureBlobStorage.ConnectionString (a rotated key is another key), or have proxies and gateways pass path and headers on as they are${describeBetween(error.headers, proxy?.setting)}`,
      )
    : denied(
        "the account does not accept the identity's token; AzureBlobStorage.AccountUrl must belong to the identity's tenant",
      );
}

function describeSignature(
  { expires, starts }: Extract<Access, { kind: 'sas' }>,
  skew: string | undefined,
): string {
  const what = 'the shared access signature in AzureBlobStorage.ConnectionString';
  const now = Date.now();
  const clock = skew === undefined ? '' : `; ${skew}`;
  if (expires !== undefined && expires.getTime() < now) {
    return `${what} expired on ${expires.toISOString()}; create a new one${clock}`;
  }
  if (starts !== undefined && starts.getTime() > now) {
    return `${what} is valid only from ${starts.toISOString()} on${clock}`;
  }
  return `${what} is wrong, revoked or cut off; copy it whole, or create a new one (a rotated account key ends the signatures made with it)${clock}`;
}

/** Azure refuses a request whose date differs more. */
const MAX_SKEW_MINUTES = 15;

function describeSkew({ serverTime }: AnswerError): string | undefined {
  const minutes = minutesAhead(serverTime) ?? 0;
  return Math.abs(minutes) < MAX_SKEW_MINUTES ? undefined : describeClock(minutes);
}

const RBAC_ACTIONS: Readonly<Record<string, string>> = {
  write: 'blobs/write',
  read: 'blobs/read',
  'look up': 'blobs/read',
  delete: 'blobs/delete',
  list: 'blobs/read',
  create: 'containers/write',
};

const SAS_PERMISSIONS: Readonly<Record<string, string>> = {
  write: 'write (w)',
  read: 'read (r)',
  'look up': 'read (r)',
  delete: 'delete (d)',
  list: 'list (l)',
  create: 'create (c) on containers',
};

function explainPermission({ verb }: Operation, { access, settings }: ErrorContext): string {
  if (access.kind === 'sas') {
    const needed = SAS_PERMISSIONS[verb] ?? 'read (r), write (w) and delete (d)';
    return `the shared access signature in AzureBlobStorage.ConnectionString does not permit this; create one for the Blob service's objects that allows ${needed}`;
  }
  const action = RBAC_ACTIONS[verb] ?? 'blobs/read, write and delete';
  return `the identity behind ${accountSetting(settings)} lacks a role for this (…/${action}); assign it "Storage Blob Data Contributor" on container "${settings.containerName}"; a new assignment takes up to ten minutes`;
}

/** Answers without a code, mostly of gateways. */
function explainDenial(
  { status, said }: AnswerError,
  { settings, origin }: ErrorContext,
): Explanation | undefined {
  const setting = accountSetting(settings);
  if (status === 401 || status === 403) {
    return denied(`access is denied; see that ${setting} is right (${said})`);
  }
  if (status !== 404) return undefined;
  return badConfig(
    `what answers at ${origin} is no Azure Blob service; correct ${setting} (${said})`,
  );
}

/** One sentence for each kind of credential that was tried. */
const MAX_TOKEN_WORDS = 600;

/** Azure adds request id and time in further lines. */
function firstLine(words: string): string {
  return oneLine(words.trimStart().split('\n', 1)[0] ?? '');
}
