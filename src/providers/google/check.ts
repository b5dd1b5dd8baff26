// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start. A least-privilege role allows creating, reading and deleting objects and nothing else, so that neither the
// bucket nor a listing can be asked for; which permissions one has, anybody may ask.

import type { GoogleSettings } from '../../config/settings.ts';
import { withCheckTimeout } from '../../store/check-timeout.ts';
import { probeKey } from '../operation.ts';
import { AnswerError, type Client, isThrottling } from './client.ts';
import { isRetained, permissionIn, toGoogleError } from './errors.ts';
import { type Requests, readGranted } from './requests.ts';

const NEEDED = ['storage.objects.create', 'storage.objects.get', 'storage.objects.delete'] as const;

export interface CheckDependencies {
  readonly settings: GoogleSettings;
  readonly client: Client;
  readonly requests: Requests;
  /** The RootPath. */
  readonly probePrefix: string;
}

/** @throws StorageError that names the setting to change */
export function checkBucket(deps: CheckDependencies, signal: AbortSignal): Promise<void> {
  const subject = `Google Cloud Storage bucket "${deps.settings.bucketName}"`;
  return withCheckTimeout(subject, deps.client.describeWait, signal, async (limited) => {
    if (!(await arePermissionsGranted(deps, limited))) await probe(deps, limited);
  });
}

/** @returns false where that is not known: permissions may hold for RootPath alone (IAM conditions, managed folders), and emulators
 *  have no permissions
 *  @throws AnswerError for what a probe could not find out better */
async function arePermissionsGranted(
  { client, requests }: CheckDependencies,
  signal: AbortSignal,
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

async function probe(deps: CheckDependencies, signal: AbortSignal): Promise<void> {
  const { settings, client, requests } = deps;
  const key = probeKey(deps.probePrefix);
  const empty = { sizeBytes: 0, read: () => new Uint8Array() };

  await attempt('write', async () => {
    const { request } = await requests.upload(key, empty, { signal });
    await client.send(request, signal);
  });
  try {
    await attempt('read', () =>
      client.send({ ...requests.read(key, undefined), receive: undefined }, signal),
    );
  } finally {
    await attempt('delete', async () => {
      try {
        await client.send(requests.remove(key), signal);
      } catch (thrown) {
        // A bucket that keeps its objects for a time keeps the probe as well; without permission it would say so instead.
        if (!(isRetained(thrown) && permissionIn(thrown) === undefined)) throw thrown;
      }
    });
  }

  async function attempt(verb: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (thrown) {
      throw toGoogleError(thrown, { verb, key }, settings, client.target);
    }
  }
}
