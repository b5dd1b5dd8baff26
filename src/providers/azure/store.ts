// SPDX-License-Identifier: GPL-3.0-or-later
// The ObjectStore over one container of Azure Blob Storage.

import { setMaxListeners } from 'node:events';
import { StorageError } from '../../errors.ts';
import { hold } from '../../http/content.ts';
import type { ReceiveOptions } from '../../http/receive.ts';
import { removalRetries } from '../../http/retry.ts';
import { createTransport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import type { Body, ObjectInfo, ObjectStore, PutOptions } from '../../store/object-store.ts';
import { createRun, listPages, requireSize, unlessMissing } from '../operation.ts';
import { describeAccess } from './account.ts';
import { type BlockSizes, createBlocks } from './blocks.ts';
import { checkContainer } from './check.ts';
import { connect } from './client.ts';
import { conditionOf } from './condition.ts';
import { type ErrorContext, errorCodeOf, toAzureError } from './errors.ts';
import { createLean } from './lean.ts';
import { createRequests, digestBlob } from './requests.ts';
import { createPerform } from './retry.ts';
import type { AzureSettings } from './settings.ts';

/** Enough at start to survive one lost connection or a stumbling server. */
const CHECK_RETRIES = 2;

export interface AzureDependencies {
  readonly log: Logger;
  /** Where `check` may write its probe object: the RootPath, since a role may allow no more than that. "" by default. */
  readonly probePrefix?: string;
  /** Compare whole reads with the MD5 that is stored: for an Orthanc that does not verify MD5s itself. */
  readonly verifyMd5?: boolean;
  /** Only for tests and benches: false sends everything through the SDK. */
  readonly lean?: boolean;
  /** Only for tests. */
  readonly sizes?: BlockSizes & { readonly listPage: number };
}

export function createAzureStore(settings: AzureSettings, deps: AzureDependencies): ObjectStore {
  const transport = createTransport(settings);
  const closing = new AbortController();
  // Each operation under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, closing.signal);
  const connection = connect(settings, transport, deps.log);
  const { container } = connection;
  const context: ErrorContext = {
    settings,
    access: describeAccess(settings, container.url),
    origin: new URL(container.url).origin,
  };
  const performWith = (maxRetries: number) =>
    createPerform(connection, { maxRetries, retryConnecting: true, random: Math.random });
  const perform = performWith(settings.maxRetries);
  const performRemoval = performWith(removalRetries(settings.maxRetries));
  const requests = createRequests(settings, deps.verifyMd5 === true);
  const lean =
    deps.lean === false ? undefined : createLean(connection, settings.containerName, transport);
  const blocks = createBlocks({ perform, requests, sizes: deps.sizes });
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
    const { headers, sdk } = requests.put(key, held, digests);
    const condition = conditionOf(onlyIfVersion);
    const all = { ...headers, ...condition.headers };
    if ((await lean?.put(key, all, held, signal)) === true) return;
    await perform(signal, { content: held }, (abortSignal) =>
      container.getBlockBlobClient(key).upload('', held.sizeBytes, {
        ...sdk,
        ...condition.sdk,
        abortSignal,
      }),
    );
  }

  async function read(
    options: Pick<ReceiveOptions, 'key' | 'range' | 'sink' | 'requireChecksum'>,
    signal: AbortSignal,
  ): Promise<void> {
    const { key, range } = options;
    const receive = requests.receive(options);
    const { headers, sdk } = requests.get(range);
    if ((await lean?.get(key, headers, receive, signal)) === true) return;
    await perform(signal, { receive }, async (abortSignal) => {
      const blob = container.getBlockBlobClient(key);
      const count = range === undefined ? undefined : range.end - range.start;
      const answer = await blob.download(range?.start, count, { ...sdk, abortSignal });
      // Its bytes are received already (client.ts).
      if (answer.readableStreamBody !== undefined) destroy(answer.readableStreamBody);
    });
  }

  async function remove(key: string, signal: AbortSignal): Promise<void> {
    if ((await lean?.delete(key, signal)) === true) return;
    await performRemoval(signal, {}, (abortSignal) =>
      container.getBlockBlobClient(key).delete({ abortSignal }),
    );
  }

  async function listPage(prefix: string, token: string | undefined, signal: AbortSignal) {
    const page = await perform(signal, {}, async (abortSignal) => {
      const options = { prefix, abortSignal, includeMetadata: true };
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
          ? blocks.put(container.getBlockBlobClient(key), body, { ...options, signal })
          : putWhole(key, body, { ...options, signal }),
      ),

    get: (key, range, sink, { signal, requireChecksum }) =>
      run('read', key, signal, (linked) => read({ key, range, sink, requireChecksum }, linked)),

    head: (key, { signal }) =>
      run('look up', key, signal, async (linked) => {
        try {
          const properties = await perform(linked, {}, (abortSignal) =>
            container.getBlockBlobClient(key).getProperties({ abortSignal }),
          );
          const { contentLength, etag } = properties;
          return { sizeBytes: requireSize(key, contentLength), version: etag };
        } catch (thrown) {
          if (errorCodeOf(thrown) === 'BlobNotFound') return undefined;
          throw thrown;
        }
      }),

    delete: (key, { signal }) =>
      unlessMissing(run('delete', key, signal, (linked) => remove(key, linked))),

    list: (prefix, { signal }) =>
      listPages(`Azure container "${settings.containerName}"`, (token) =>
        run('list', undefined, signal, (linked) => listPage(prefix, token, linked)),
      ),

    check: ({ signal }) =>
      run('check', undefined, signal, (linked) =>
        checkContainer(
          {
            context,
            container,
            requests,
            tokens: connection.tokens,
            perform: createPerform(connection, {
              maxRetries: CHECK_RETRIES,
              retryConnecting: false,
              random: Math.random,
            }),
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

function destroy(stream: NodeJS.ReadableStream): void {
  if ('destroy' in stream && typeof stream.destroy === 'function') stream.destroy();
}
