// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start. It asks neither for the bucket nor for a listing, since a least-privilege role allows no more than creating, reading
// and deleting objects. Google tells anybody his permissions. Servers other than Google must show with a probe that they do what they say.

import { AnswerError } from '../../http/answer-error.ts';
import { failureBeneath, isConnectError } from '../../http/retry.ts';
import { TransportError } from '../../http/transport.ts';
import { oneLine } from '../../http/words.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { bodyOf, NOWHERE } from '../../store/bodies.ts';
import { withCheckTimeout } from '../../store/check-timeout.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import type { Cleanups } from '../cleanups.ts';
import { probeKey } from '../operation.ts';
import { PROBE, verifyProbe, withRemoval } from '../probe.ts';
import { isThrottling, readGranted } from './answers.ts';
import type { Client } from './client.ts';
import { CredentialsError } from './credentials.ts';
import { isRetained, permissionIn, toGoogleError } from './errors.ts';
import { type Requests, removeObject } from './requests.ts';
import { tryResumable } from './resumable.ts';
import type { GoogleSettings } from './settings.ts';

const NEEDED = ['storage.objects.create', 'storage.objects.get', 'storage.objects.delete'] as const;
/** For the probe of a check that ran out of time. */
const REMOVAL_TIMEOUT_MS = 5_000;

export interface CheckDependencies extends Pick<ObjectStore, 'put' | 'get'> {
  readonly settings: GoogleSettings;
  readonly client: Client;
  readonly requests: Requests;
  readonly cleanups: Cleanups;
  readonly log: Logger;
  /** The RootPath. */
  readonly probePrefix: string;
}

/** @throws StorageError that names the setting to change */
export function checkBucket(deps: CheckDependencies, signal: Signal): Promise<void> {
  const { settings, client } = deps;
  return withCheckTimeout(
    `Google Cloud Storage bucket "${settings.bucketName}"`,
    client.describeWait,
    signal,
    async (limited) => {
      const isGoogle = isGoogles(settings.endpoint);
      if (isGoogle && (await arePermissionsGranted(deps, limited))) return;
      await probe(deps, isGoogle ? readOnce : tryOut, limited);
    },
    (failure) => toGoogleError(failure, { verb: 'check', key: undefined }, settings, client.target),
  );
}

/** True also for Google's other addresses: restricted, private, and those of Private Service Connect. */
function isGoogles(endpoint: string | undefined): boolean {
  return endpoint === undefined || /(^|\.)googleapis\.com\.?$/.test(new URL(endpoint).hostname);
}

/** @returns false if that is not known, since permissions may hold only for RootPath (IAM conditions, managed folders)
 *  @throws AnswerError if a probe would not tell more */
async function arePermissionsGranted(
  { client, requests }: CheckDependencies,
  signal: Signal,
): Promise<boolean> {
  try {
    const granted = readGranted(await client.send(requests.testPermissions(NEEDED), signal));
    return NEEDED.every((permission) => granted.includes(permission));
  } catch (thrown) {
    const isUnknown =
      thrown instanceof AnswerError &&
      [400, 403, 404, 405, 501].includes(thrown.status) &&
      !isThrottling(thrown);
    if (isUnknown) return false;
    throw thrown;
  }
}

/** What is tried with the probe in the bucket. */
type Trial = (deps: CheckDependencies, key: string, signal: Signal) => Promise<void>;

/** Writes an object and removes it, whatever happens in between. */
async function probe(deps: CheckDependencies, trial: Trial, signal: Signal): Promise<void> {
  const key = probeKey(deps.probePrefix);
  let mayExist = true;

  async function write(): Promise<void> {
    try {
      await deps.put(key, bodyOf(PROBE), { signal });
    } catch (thrown) {
      mayExist = !wasRefused(thrown);
      throw explain(deps, 'write', key, thrown);
    }
  }

  async function remove(): Promise<void> {
    if (!mayExist) return;
    const own = signal.aborted ? AbortSignal.timeout(REMOVAL_TIMEOUT_MS) : signal;
    try {
      await removeObject(deps, key, own);
    } catch (thrown) {
      // A bucket with retention keeps the probe as well. A missing permission would be named instead.
      if (isRetained(thrown) && permissionIn(thrown) === undefined) return;
      // An attempt whose answer got lost has removed it.
      if (thrown instanceof AnswerError && thrown.status === 404) return;
      throw explain(deps, 'delete', key, thrown);
    }
  }

  const work = async () => {
    await write();
    await trial(deps, key, signal);
  };
  const whole = withRemoval(work, remove);
  // The store waits for it when it closes, since a check that ran out of time does not.
  deps.cleanups.add(() => whole.catch(() => undefined));
  await whole;
}

const readOnce: Trial = async (deps, key, signal) => {
  try {
    await deps.get(key, undefined, NOWHERE, { signal });
  } catch (thrown) {
    throw explain(deps, 'read', key, thrown);
  }
};

const tryOut: Trial = async (deps, key, signal) => {
  const name = `the server at ${deps.client.target}`;
  const read = async (...[range, sink]: Parameters<Parameters<typeof verifyProbe>[0]>) => {
    try {
      await deps.get(key, range, sink, { signal });
    } catch (thrown) {
      throw explain(deps, 'read', key, thrown);
    }
  };
  await verifyProbe(read, { name, setting: 'GoogleCloudStorage.Endpoint' });
  try {
    await tryResumable(deps, key, signal);
  } catch (thrown) {
    const error = explain(deps, 'write', key, thrown);
    if (!isUnsupported(thrown)) throw error;
    const words = thrown instanceof Error ? oneLine(thrown.message) : String(thrown);
    deps.log.warning(
      `${name} begins no resumable upload, so that contents of more than 16 MiB cannot be stored (${words}); use another server, or correct GoogleCloudStorage.Endpoint`,
    );
  }
};

/** Nothing was stored. */
function wasRefused(thrown: unknown): boolean {
  if (thrown instanceof AnswerError) return thrown.status < 500;
  return thrown instanceof CredentialsError || isConnectError(thrown);
}

function isUnsupported(thrown: unknown): boolean {
  if (thrown instanceof AnswerError) return [400, 404, 405, 501].includes(thrown.status);
  return thrown instanceof TransportError && ['NO_SESSION', 'FOREIGN_ANSWER'].includes(thrown.code);
}

/** The answer of the server is about this request. Other errors are about the way to the server. */
function explain(deps: CheckDependencies, verb: string, key: string, thrown: unknown): unknown {
  if (!(failureBeneath(thrown) instanceof AnswerError)) return thrown;
  return toGoogleError(thrown, { verb, key }, deps.settings, deps.client.target);
}
