// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one bucket of Google Cloud Storage.

import { setMaxListeners } from 'node:events';
import { StorageError } from '../../errors.ts';
import { removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import type { Body, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { createCleanups } from '../cleanups.ts';
import { createRun, listPages, unlessMissing } from '../operation.ts';
import { checkBucket } from './check.ts';
import { type Client, createClient } from './client.ts';
import { loadCrc32c } from './crc32c.ts';
import { anonymous, createCredentials } from './credentials.ts';
import { isAnonymous, toGoogleError } from './errors.ts';
import type { ReadOptions } from './receive.ts';
import { createRequests, readHead, readPage, removeObject, verifyStored } from './requests.ts';
import { createResumable } from './resumable.ts';
import type { GoogleSettings } from './settings.ts';

/** Up to here a content goes in one request. A session takes one request more, which for less does not pay; a break near the end of
 *  this much costs a second or two. */
const SINGLE_REQUEST_MAX_BYTES = 16 * 1024 * 1024;
/** Enough to survive one lost connection or a stumbling server. */
const CHECK_RETRIES = 2;
/** How long a failed upload may still be cleaned up behind. */
const CLEANUP_GRACE_MS = 2_000;

export interface GoogleDependencies {
  readonly log: Logger;
  /** Where `check` may write its probe object: the RootPath, since a policy may allow no more than that. "" by default. */
  readonly probePrefix?: string;
}

/** @throws StorageError BAD_CONFIG for files that cannot be used */
export function createGoogleStore(settings: GoogleSettings, deps: GoogleDependencies): ObjectStore {
  const { log } = deps;
  const closing = new AbortController();
  // Each operation under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, closing.signal);
  const transport = createTransport(settings);
  const credentials = isAnonymous(settings)
    ? anonymous
    : createCredentials(settings.serviceAccountFile, {
        transport,
        now: () => performance.now(),
      });
  const { endpoint, maxRetries } = settings;
  const client = createClient(
    { endpoint, transport, credentials },
    { maxRetries, retryConnecting: true },
  );
  const removing = client.with({ maxRetries: removalRetries(maxRetries), retryConnecting: true });
  const run = createRun(closing.signal, (thrown, operation) =>
    toGoogleError(thrown, operation, settings, client.target),
  );
  const cleanups = createCleanups();
  const opening = load();
  // Each operation waits for it, and says what went wrong.
  opening.catch(() => undefined);

  async function load() {
    const createChecksum = await loadCrc32c();
    const requests = createRequests(settings, createChecksum);
    const resumable = createResumable({ client, requests, cleanups, log });
    return { requests, resumable };
  }

  async function put(client: Client, key: string, body: Body, options: PutOptions): Promise<void> {
    const { requests } = await opening;
    const { signal } = options;
    const { request, crc32c } = await requests.upload(key, body, options);
    const sent = { key, sizeBytes: body.sizeBytes, crc32c };
    await client.repeat(signal, async () => {
      const answer = await client.attempt(request, signal);
      await verifyStored({ client, requests }, sent, answer, signal);
    });
  }

  async function get(client: Client, options: ReadOptions, signal: AbortSignal): Promise<void> {
    const { requests } = await opening;
    await client.send(requests.read(options), signal);
  }

  return {
    put: (key, body, options) =>
      run('write', key, options.signal, async (signal) => {
        const linked = { ...options, signal };
        if (body.sizeBytes <= SINGLE_REQUEST_MAX_BYTES) await put(client, key, body, linked);
        else await (await opening).resumable.put(key, body, linked);
      }),

    get: (key, range, sink, { signal, requireChecksum }) =>
      run('read', key, signal, (linked) =>
        get(client, { key, range, sink, requireChecksum }, linked),
      ),

    head: (key, { signal }) =>
      unlessMissing(
        run('look up', key, signal, async (linked) => {
          const { requests } = await opening;
          return readHead(key, await client.send(requests.head(key), linked));
        }),
      ),

    async delete(key, { signal }) {
      await unlessMissing(
        run('delete', key, signal, async (linked) => {
          const { requests } = await opening;
          await removeObject({ client: removing, requests }, key, linked);
        }),
      );
    },

    list: (prefix, { signal }) =>
      listPages(`Google Cloud Storage bucket "${settings.bucketName}"`, (token) =>
        run('list', undefined, signal, async (linked) => {
          const { requests } = await opening;
          return readPage(await client.send(requests.list(prefix, token), linked));
        }),
      ),

    check: ({ signal }) =>
      run('check', undefined, signal, async (linked) => {
        const { requests } = await opening;
        const checking = client.with({
          maxRetries: Math.min(CHECK_RETRIES, maxRetries),
          retryConnecting: false,
        });
        await checkBucket(
          {
            settings,
            client: checking,
            requests,
            resumable: createResumable({ client: checking, requests, cleanups, log }),
            log,
            cleanups,
            put: (key, body, options) => put(checking, key, body, options),
            get: (key, range, sink, options) => get(checking, { key, range, sink }, options.signal),
            probePrefix: deps.probePrefix ?? '',
          },
          linked,
        );
      }),

    async close() {
      closing.abort(new StorageError('CLOSED', 'the Google Cloud Storage store is closed'));
      await cleanups.settle(CLEANUP_GRACE_MS);
      await transport.close();
    },
  };
}
