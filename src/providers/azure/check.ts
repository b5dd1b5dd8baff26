// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start. It asks nothing about the container itself, since a role or signature may allow no more than reading, writing and
// deleting objects under RootPath. Servers other than Azure must show with a probe that they do what they say.

import { StorageError } from '../../errors.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { NOWHERE, viewOf } from '../../store/bodies.ts';
import { withCheckTimeout } from '../../store/check-timeout.ts';

import type { ByteRange, Sink } from '../../store/object-store.ts';
import { probeKey } from '../operation.ts';
import { CLEANUP_MS, PROBE, verifyProbe, withRemoval } from '../probe.ts';
import { accountSetting, type SharedAccess } from './account.ts';
import type { BlobRequest, Client } from './client.ts';
import { type ErrorContext, errorCodeOf, TOKEN_WAIT, toAzureError } from './errors.ts';
import { digestBlob, type Requests } from './requests.ts';

/** Azure's own addresses, of all its clouds. */
const AZURE_HOST = /\.blob\.(core\.|storage\.azure\.net$)/;
const CREATE_CONTAINER: BlobRequest = {
  method: 'PUT',
  key: undefined,
  query: 'restype=container',
  headers: { 'content-length': '0' },
};
const BLOCK_ID = Buffer.from('probe').toString('base64');
const EXPIRY_NOTICE_DAYS = 14;
const DAY_MS = 24 * 60 * 60 * 1000;

export interface CheckDependencies {
  readonly context: ErrorContext;
  readonly client: Client;
  readonly requests: Requests;
  readonly log: Logger;
  /** The RootPath. */
  readonly probePrefix: string;
}

/** @throws StorageError that names the setting to change */
export async function checkContainer(deps: CheckDependencies, signal: Signal): Promise<void> {
  const { context } = deps;
  await withCheckTimeout(
    `Azure container "${context.settings.containerName}"`,
    () =>
      deps.client.tokens?.isWaiting() === true
        ? TOKEN_WAIT
        : { name: context.origin, settings: accountSetting(context.settings) },
    signal,
    (limited) => probe(deps, limited),
    (failure) => toAzureError(failure, { verb: 'check', key: undefined }, context),
  );
}

async function probe(deps: CheckDependencies, signal: Signal): Promise<void> {
  const { access, settings } = deps.context;
  const key = probeKey(deps.probePrefix);
  if (!(await isContainerThere(deps, key, signal))) await createContainer(deps, signal);
  if (access.kind === 'sas') checkSignature(access, deps.log);
  // A key permits everything, and a signature without a stored policy says what it permits. Otherwise only a probe tells.
  const isPermitted =
    access.kind === 'key' || (access.kind === 'sas' && access.permissions !== undefined);
  if (isPermitted && isAzure(deps.context)) return;
  await probeWriting(deps, key, signal);
  deps.log.debug(`Azure container "${settings.containerName}": wrote and deleted "${key}"`);
}

async function isContainerThere(
  { client, context, requests }: CheckDependencies,
  key: string,
  signal: Signal,
): Promise<boolean> {
  try {
    await client.send(requests.get({ key, range: undefined, sink: NOWHERE }), signal);
    return true;
  } catch (thrown) {
    const code = errorCodeOf(thrown);
    // The object cannot exist. This answer shows that account, container, credentials and permission to read are right.
    if (code === 'BlobNotFound') return true;
    if (code === 'ContainerNotFound' && context.settings.createContainerIfNotExists) return false;
    throw thrown;
  }
}

async function createContainer(
  { client, context, log }: CheckDependencies,
  signal: Signal,
): Promise<void> {
  const name = context.settings.containerName;
  try {
    await client.send(CREATE_CONTAINER, signal);
    log.info(`Azure container "${name}" was missing and has been created`);
  } catch (thrown) {
    // Another Orthanc, which starts at the same time, has created it.
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

function isAzure({ origin }: ErrorContext): boolean {
  return AZURE_HOST.test(new URL(origin).hostname);
}

async function probeWriting(deps: CheckDependencies, key: string, signal: Signal): Promise<void> {
  const { client, context, requests, log } = deps;
  const content = viewOf(PROBE);
  const digests = await digestBlob(content, signal);
  await attempt('write', () => client.send(requests.put(key, content, digests), signal));
  await withRemoval(tryOut, async () => {
    try {
      // Also when the time of the check is up.
      const bounded = signal.aborted ? AbortSignal.timeout(CLEANUP_MS) : signal;
      await client.send({ method: 'DELETE', key }, bounded);
    } catch (thrown) {
      if (errorCodeOf(thrown) !== 'BlobImmutableDueToPolicy') throw explain('delete', thrown);
      log.warning(
        `a policy of Azure container "${context.settings.containerName}" keeps objects as they are: what Orthanc deletes will stay there, and so does "${key}"`,
      );
    }
  });

  async function tryOut(): Promise<void> {
    const server = { name: context.origin, setting: accountSetting(context.settings) };
    await attempt('read', () => verifyProbe(read, server));
    if (isAzure(context)) return;
    // The first step of a large upload. An uncommitted block goes with the blob.
    await attempt('write a block of', () =>
      client.send(requests.putBlock(key, BLOCK_ID, content, digests.md5Base64), signal),
    );
  }

  async function read(range: ByteRange | undefined, sink: Sink): Promise<void> {
    await client.send(requests.get({ key, range, sink }), signal);
  }

  async function attempt(verb: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      throw explain(verb, thrown);
    }
  }

  function explain(verb: string, thrown: unknown): StorageError {
    return toAzureError(thrown, { verb, key }, context);
  }
}
