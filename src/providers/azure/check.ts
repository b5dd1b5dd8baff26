// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start. A role or signature may allow reading, writing and deleting objects under RootPath and nothing else, so the
// container itself is not asked about.

import type { ContainerClient } from '@azure/storage-blob';
import { StorageError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import { withCheckTimeout } from '../../store/check-timeout.ts';
import { probeKey } from '../operation.ts';
import { accountSetting, type SharedAccess } from './account.ts';
import { type ErrorContext, errorCodeOf, TOKEN_WAIT, toAzureError } from './errors.ts';
import type { Requests } from './requests.ts';
import type { Perform } from './retry.ts';
import type { TokenSource } from './tokens.ts';

/** Of nothing. */
const EMPTY_DIGESTS = { md5Base64: '1B2M2Y8AsgTpgAmY7PhCfg==', crc32: 0 };
/** Time enough to have a new signature made. */
const EXPIRY_NOTICE_DAYS = 14;
const DAY_MS = 24 * 60 * 60 * 1000;

export interface CheckDependencies {
  readonly context: ErrorContext;
  readonly container: ContainerClient;
  readonly requests: Requests;
  readonly perform: Perform;
  readonly tokens: TokenSource | undefined;
  readonly log: Logger;
  /** The RootPath. */
  readonly probePrefix: string;
}

/** @throws StorageError that names the setting to change */
export async function checkContainer(deps: CheckDependencies, signal: AbortSignal): Promise<void> {
  const { context } = deps;
  await withCheckTimeout(
    `Azure container "${context.settings.containerName}"`,
    () =>
      deps.tokens?.isWaiting() === true
        ? TOKEN_WAIT
        : { name: context.origin, settings: accountSetting(context.settings) },
    signal,
    (limited) => probe(deps, limited),
  );
}

async function probe(deps: CheckDependencies, signal: AbortSignal): Promise<void> {
  const { access, settings } = deps.context;
  const key = probeKey(deps.probePrefix);
  if (!(await isContainerThere(deps, key, signal))) await createContainer(deps, signal);
  // A key permits everything, a signature says what it permits unless a stored policy rules; of a role only trying tells.
  if (access.kind === 'key') return;
  if (access.kind === 'sas') {
    checkSignature(access, deps.log);
    if (access.permissions !== undefined) return;
  }
  await probeWriting(deps, key, signal);
  deps.log.debug(`Azure container "${settings.containerName}": wrote and deleted "${key}"`);
}

/** Reads an object that cannot exist. */
async function isContainerThere(
  { container, context, perform }: CheckDependencies,
  key: string,
  signal: AbortSignal,
): Promise<boolean> {
  const discard = { write: () => undefined, end: () => undefined };
  try {
    await perform(signal, { receive: () => discard }, (abortSignal) =>
      container.getBlockBlobClient(key).download(0, undefined, { abortSignal }),
    );
    return true;
  } catch (thrown) {
    const code = errorCodeOf(thrown);
    // To be told so means that account, container, credentials and permission to read are right.
    if (code === 'BlobNotFound') return true;
    if (code === 'ContainerNotFound' && context.settings.createContainerIfNotExists) return false;
    throw thrown;
  }
}

async function createContainer(
  { container, context, perform, log }: CheckDependencies,
  signal: AbortSignal,
): Promise<void> {
  const name = context.settings.containerName;
  try {
    await perform(signal, {}, (abortSignal) => container.create({ abortSignal }));
    log.info(`Azure container "${name}" was missing and has been created`);
  } catch (thrown) {
    // Another Orthanc that starts at the same time.
    if (errorCodeOf(thrown) === 'ContainerAlreadyExists') return;
    const error = toAzureError(thrown, { verb: 'create', key: undefined }, context);
    if (error.code !== 'ACCESS_DENIED') throw error;
    throw new StorageError(
      'BAD_CONFIG',
      `there is no Azure container "${name}" in ${context.origin}, and these credentials may not create one; create it, or correct AzureBlobStorage.ContainerName`,
      {
        key: name,
        cause: error.cause,
        ...(error.requestId === undefined ? {} : { requestId: error.requestId }),
      },
    );
  }
}

function checkSignature({ permissions, expires }: SharedAccess, log: Logger): void {
  const setting = 'the shared access signature in AzureBlobStorage.ConnectionString';
  const missing = [
    ['r', 'read'],
    ['w', 'write'],
    ['d', 'delete'],
  ].filter(([letter = '']) => permissions?.includes(letter) === false);
  if (missing.length > 0) {
    throw new StorageError(
      'ACCESS_DENIED',
      `${setting} does not permit to ${missing.map(([, name]) => name).join(' and ')}; create one with read, write and delete (sp=rwd)`,
    );
  }
  if (expires !== undefined && expires.getTime() - Date.now() < EXPIRY_NOTICE_DAYS * DAY_MS) {
    log.warning(`${setting} expires on ${expires.toISOString()}; create a new one before`);
  }
}

async function probeWriting(
  { container, context, perform, requests, log }: CheckDependencies,
  key: string,
  signal: AbortSignal,
): Promise<void> {
  const blob = container.getBlockBlobClient(key);
  const empty = { sizeBytes: 0, read: () => new Uint8Array() };
  const { sdk } = requests.put(empty, EMPTY_DIGESTS);
  try {
    await perform(signal, { content: empty }, (abortSignal) =>
      blob.upload('', 0, { ...sdk, abortSignal }),
    );
  } catch (thrown) {
    throw toAzureError(thrown, { verb: 'write', key }, context);
  }
  try {
    await perform(signal, {}, (abortSignal) => blob.delete({ abortSignal }));
  } catch (thrown) {
    if (errorCodeOf(thrown) !== 'BlobImmutableDueToPolicy') {
      throw toAzureError(thrown, { verb: 'delete', key }, context);
    }
    log.warning(
      `a policy of Azure container "${context.settings.containerName}" keeps objects as they are: what Orthanc deletes will stay there, and so does "${key}"`,
    );
  }
}
