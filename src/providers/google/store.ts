// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one bucket of Google Cloud Storage.

import { loadCrc32c } from '../../checksums/wasm-checksums.ts';
import type { StoreDependencies } from '../../config/settings.ts';
import { CHECK_RETRIES, removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import type { Body, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { CLEANUP_GRACE_MS, createCleanups } from '../cleanups.ts';
import { deleteSideBySide, toObjectStore } from '../operation.ts';
import { readHead, readPage } from './answers.ts';
import { checkBucket } from './check.ts';
import { type Client, createClient } from './client.ts';
import { anonymous, createCredentials } from './credentials.ts';
import { isAnonymous, toGoogleError } from './errors.ts';
import type { ReadOptions } from './receive.ts';
import { Requests, removeObject, verifyStored } from './requests.ts';
import { putResumable } from './resumable.ts';
import type { GoogleSettings } from './settings.ts';

/** Larger contents go over a session, which takes one request more. A break near the end of this much costs a second or two. */
const SINGLE_REQUEST_MAX_BYTES = 16 * 1024 * 1024;

/** @throws StorageError BAD_CONFIG for files that cannot be used */
export function createGoogleStore(settings: GoogleSettings, deps: StoreDependencies): ObjectStore {
  const { log } = deps;
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
  const removing = client.with({ maxRetries: removalRetries(maxRetries) });
  const cleanups = createCleanups();
  const opening = load();
  // Each operation waits for it, and reports what went wrong.
  opening.catch(() => undefined);

  async function load() {
    const createChecksum = await loadCrc32c();
    return new Requests(settings, createChecksum);
  }

  async function put(client: Client, key: string, body: Body, options: PutOptions): Promise<void> {
    const requests = await opening;
    const { signal } = options;
    const { request, crc32c } = await requests.upload(key, body, options);
    const sent = { key, sizeBytes: body.sizeBytes, crc32c };
    await client.repeat(signal, async () => {
      const answer = await client.attempt(request, signal);
      await verifyStored({ client, requests }, sent, answer, signal);
    });
  }

  async function get(client: Client, options: ReadOptions, signal: Signal): Promise<void> {
    const requests = await opening;
    await client.send(requests.read(options), signal);
  }

  const bucket = `Google Cloud Storage bucket "${settings.bucketName}"`;
  return toObjectStore('Google Cloud Storage', bucket, {
    async put(key, body, options) {
      if (body.sizeBytes <= SINGLE_REQUEST_MAX_BYTES) await put(client, key, body, options);
      else
        await putResumable({ client, requests: await opening, cleanups, log }, key, body, options);
    },

    get: (key, range, sink, { signal, requireChecksum }) =>
      get(client, { key, range, sink, requireChecksum }, signal),

    async head(key, { signal }) {
      const requests = await opening;
      return readHead(key, await client.send(requests.head(key), signal));
    },

    async delete(key, { signal }) {
      const requests = await opening;
      await removeObject({ client: removing, requests }, key, signal);
    },

    async deleteMany(keys, signal) {
      const requests = await opening;
      return await deleteSideBySide(keys, settings.maxConnections, (key) =>
        removeObject({ client, requests }, key, signal, { isWaitedFor: false }),
      );
    },

    async listPage(prefix, token, signal) {
      const requests = await opening;
      return readPage(await client.send(requests.list(prefix, token), signal));
    },

    async check({ signal }) {
      const requests = await opening;
      const checking = client.with({
        maxRetries: Math.min(CHECK_RETRIES, maxRetries),
        retryConnecting: false,
      });
      await checkBucket(
        {
          settings,
          client: checking,
          requests,
          log,
          cleanups,
          put: (key, body, options) => put(checking, key, body, options),
          get: (key, range, sink, options) => get(checking, { key, range, sink }, options.signal),
          probePrefix: deps.probePrefix ?? '',
        },
        signal,
      );
    },

    translate: (thrown, operation) => toGoogleError(thrown, operation, settings, client.target),

    async close() {
      await cleanups.settle(CLEANUP_GRACE_MS);
      await transport.close();
    },
  });
}
