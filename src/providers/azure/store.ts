// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one container of Azure Blob Storage.

import { StorageError } from '../../errors.ts';
import { hold } from '../../http/content.ts';
import { removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import { createAbortController } from '../../store/abort.ts';
import type {
  Body,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutOptions,
} from '../../store/object-store.ts';
import { createRun, listPages, requireSize, unlessMissing } from '../operation.ts';
import { describeAccess } from './account.ts';
import { type BlockSizes, createBlocks } from './blocks.ts';
import { checkContainer } from './check.ts';
import { createClient } from './client.ts';
import { type ErrorContext, errorCodeOf, toAzureError } from './errors.ts';
import { createRequests, digestBlob } from './requests.ts';
import type { AzureSettings } from './settings.ts';

/** Enough at start to survive one lost connection or a stumbling server. */
const CHECK_RETRIES = 2;

export interface AzureDependencies {
  readonly log: Logger;
  /** Where `check` may write its probe object: the RootPath, since a role may allow no more than that. "" by default. */
  readonly probePrefix?: string;
  /** Compare whole reads with the MD5 that is stored: for an Orthanc that does not verify MD5s itself. */
  readonly verifyMd5?: boolean;
  /** Only for tests. */
  readonly sizes?: BlockSizes & { readonly listPage: number };
}

export function createAzureStore(settings: AzureSettings, deps: AzureDependencies): ObjectStore {
  const transport = createTransport(settings);
  const closing = createAbortController();
  const client = createClient(settings, transport, deps.log);
  const removing = client.with({
    maxRetries: removalRetries(settings.maxRetries),
    retryConnecting: true,
  });
  const context: ErrorContext = {
    settings,
    access: describeAccess(settings, client.url),
    origin: new URL(client.url).origin,
  };
  const requests = createRequests(settings, deps.verifyMd5 === true);
  const blocks = createBlocks({ client, requests, sizes: deps.sizes });
  const run = createRun(closing.signal, (thrown, operation) =>
    toAzureError(thrown, operation, context),
  );

  async function putWhole(
    key: string,
    content: Body,
    { signal, onlyIfVersion }: PutOptions,
  ): Promise<void> {
    const held = hold(content);
    const digests = await digestBlob(held, signal);
    await client.send(requests.put(key, held, digests, onlyIfVersion), signal);
  }

  async function head(key: string, signal: AbortSignal): Promise<ObjectHead | undefined> {
    try {
      const { headers } = await client.send({ method: 'HEAD', key }, signal);
      const { 'content-length': length, etag } = headers;
      const sizeBytes = length === undefined ? undefined : Number(length);
      return { sizeBytes: requireSize(key, sizeBytes), version: etag };
    } catch (thrown) {
      if (errorCodeOf(thrown) === 'BlobNotFound') return undefined;
      throw thrown;
    }
  }

  async function listPage(prefix: string, token: string | undefined, signal: AbortSignal) {
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

  return {
    put: (key, body, options) =>
      run('write', key, options.signal, (signal) =>
        blocks.isFor(body.sizeBytes)
          ? blocks.put(key, body, { ...options, signal })
          : putWhole(key, body, { ...options, signal }),
      ),

    get: (key, range, sink, { signal, requireChecksum }) =>
      run('read', key, signal, async (linked) => {
        await client.send(requests.get({ key, range, sink, requireChecksum }), linked);
      }),

    head: (key, { signal }) => run('look up', key, signal, (linked) => head(key, linked)),

    delete: (key, { signal }) =>
      unlessMissing(
        run('delete', key, signal, async (linked) => {
          await removing.send({ method: 'DELETE', key }, linked);
        }),
      ),

    list: (prefix, { signal }) =>
      listPages(`Azure container "${settings.containerName}"`, (token) =>
        run('list', undefined, signal, (linked) => listPage(prefix, token, linked)),
      ),

    check: ({ signal }) =>
      run('check', undefined, signal, (linked) =>
        checkContainer(
          {
            context,
            requests,
            client: client.with({ maxRetries: CHECK_RETRIES, retryConnecting: false }),
            log: deps.log,
            probePrefix: deps.probePrefix ?? '',
          },
          linked,
        ),
      ),

    async close() {
      closing.abort(new StorageError('CLOSED', 'the Azure store is closed'));
      await transport.close();
    },
  };
}
