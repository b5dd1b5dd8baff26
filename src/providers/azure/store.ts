// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one container of Azure Blob Storage.

import type { StoreDependencies } from '../../config/settings.ts';
import { CHECK_RETRIES, removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import type { Body, ObjectInfo, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { readHead, requireSize, toObjectStore } from '../operation.ts';
import { describeAccess } from './account.ts';
import { type BlockSizes, createBlocks } from './blocks.ts';
import { checkContainer } from './check.ts';
import { createClient } from './client.ts';
import { createDeleteMany } from './delete-many.ts';
import { type ErrorContext, toAzureError } from './errors.ts';
import { createRequests, digestBlob } from './requests.ts';
import type { AzureSettings } from './settings.ts';

export interface AzureDependencies extends StoreDependencies {
  /** Only for tests. */
  readonly sizes?: BlockSizes & { readonly listPage: number };
}

export function createAzureStore(settings: AzureSettings, deps: AzureDependencies): ObjectStore {
  const transport = createTransport(settings);
  const client = createClient(settings, transport, deps.log);
  const removing = client.with({ maxRetries: removalRetries(settings.maxRetries) });
  const context: ErrorContext = {
    settings,
    access: describeAccess(settings, client.url),
    origin: new URL(client.url).origin,
  };
  const requests = createRequests(settings, deps.verifyMd5 === true);
  const blocks = createBlocks({ client, requests, sizes: deps.sizes });

  async function putWhole(
    key: string,
    content: Body,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<void> {
    const digests = await digestBlob(content, signal);
    await client.send(requests.put(key, content, digests, onlyIfVersion), signal);
  }

  async function listPage(prefix: string, token: string | undefined, signal: Signal) {
    const page = await client.call(signal, async (container) => {
      const options = { prefix, abortSignal: signal, includeMetadata: true };
      const pages = container.listBlobsFlat(options).byPage({
        ...(token === undefined ? {} : { continuationToken: token }),
        ...(deps.sizes === undefined ? {} : { maxPageSize: deps.sizes.listPage }),
      });
      return await pages.next();
    });
    if (page.done === true) return { objects: [], next: undefined };
    const { segment, continuationToken } = page.value;
    const objects: ObjectInfo[] = segment.blobItems
      // Folders of an account with a hierarchical namespace.
      .filter(({ metadata }) => metadata?.['hdi_isfolder'] !== 'true')
      .map(({ name, properties }) => ({
        key: name,
        sizeBytes: requireSize(name, properties.contentLength),
        modified: properties.lastModified,
      }));
    return { objects, next: continuationToken === '' ? undefined : continuationToken };
  }

  return toObjectStore('Azure', `Azure container "${settings.containerName}"`, {
    put: (key, body, options) =>
      blocks.isFor(body.sizeBytes) ? blocks.put(key, body, options) : putWhole(key, body, options),

    async get(key, range, sink, { signal, requireChecksum }) {
      await client.send(requests.get({ key, range, sink, requireChecksum }), signal);
    },

    head: async (key, { signal }) =>
      readHead(key, await client.send({ method: 'HEAD', key }, signal)),

    async delete(key, { signal }) {
      await removing.send({ method: 'DELETE', key }, signal);
    },

    deleteMany: createDeleteMany({ settings, client, log: deps.log }),

    listPage,

    check: ({ signal }) =>
      checkContainer(
        {
          context,
          requests,
          client: client.with({ maxRetries: CHECK_RETRIES, retryConnecting: false }),
          log: deps.log,
          probePrefix: deps.probePrefix ?? '',
        },
        signal,
      ),

    translate: (thrown, operation) => toAzureError(thrown, operation, context),
    close: () => transport.close(),
  });
}
