// SPDX-License-Identifier: GPL-3.0-or-later

import { createHmac, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type AzureService, startAzure } from '../../scripts/services.mjs';
import { loadConfiguration } from '../../src/config/load.ts';
import type { AzureSettings } from '../../src/providers/azure/settings.ts';
import { type AzureDependencies, createAzureStore } from '../../src/providers/azure/store.ts';
import { PROVIDERS } from '../../src/providers/index.ts';
import { MemorySink } from '../../src/store/bodies.ts';
import { expectSameBytes, makeBody } from '../support/bodies.ts';
import { makeAzureSettings, makeLogger, TEST_ACCOUNT_KEY } from '../support/settings.ts';
import {
  type ConformanceTarget,
  type Limits,
  type Mistake,
  storeConformance,
} from './store-conformance.ts';

const MIB = 1024 * 1024;

function createTarget(
  name: string,
  options: {
    readonly deps: Partial<AzureDependencies>;
    readonly multipartFromBytes: number;
    readonly changes: Partial<AzureSettings>;
    readonly connectionString: (service: AzureService) => string;
  },
): ConformanceTarget {
  let server: AzureService | undefined;

  function settingsFor(
    service: AzureService,
    limits: Limits,
    mistake: Mistake | undefined,
  ): AzureSettings {
    const right = options.connectionString(service);
    const usual = { containerName: 'conformance', ...options.changes, ...limits };
    switch (mistake) {
      case undefined:
        return makeAzureSettings(right, usual);
      case 'missing bucket': {
        const missing = { containerName: 'no-such-container', createContainerIfNotExists: false };
        return makeAzureSettings(right, { ...usual, ...missing });
      }
      case 'wrong secret': {
        const wrong = right
          .replace(service.accountKey, TEST_ACCOUNT_KEY)
          .replace(/sig=[^;&]*/, 'sig=AAAA');
        return makeAzureSettings(wrong, usual);
      }
      case 'unknown user':
        return makeAzureSettings(right.replaceAll(service.accountName, 'nobody'), usual);
      case 'nobody listens':
        return makeAzureSettings(right.replace(service.endpoint, 'http://127.0.0.1:9'), usual);
      default:
        return mistake satisfies never;
    }
  }

  return {
    name,
    async start() {
      server = await startAzure();
      // The container is created by the check, as at the first start of Orthanc, whatever credentials the target itself has.
      const settings = makeAzureSettings(server.connectionString, { containerName: 'conformance' });
      const store = createAzureStore(settings, { log: makeLogger() });
      await store.check({ signal: new AbortController().signal });
      await store.close();
    },
    async stop() {
      await server?.stop();
    },
    open(limits, mistake) {
      if (server === undefined) throw new Error('not started');
      const settings = settingsFor(server, limits, mistake);
      return createAzureStore(settings, { log: makeLogger(), ...options.deps });
    },
    multipartFromBytes: options.multipartFromBytes,
    checkFailures: {
      'missing bucket': 'BAD_CONFIG',
      'wrong secret': 'ACCESS_DENIED',
      // With Azure itself, an account is a host name.
      'unknown user': 'BAD_CONFIG',
      'nobody listens': 'UNAVAILABLE',
    },
    gaps: {},
  };
}

/** An account signature for objects alone. @see https://learn.microsoft.com/rest/api/storageservices/create-account-sas */
function createSas({ accountName, accountKey, endpoint }: AzureService, seconds = 3600): string {
  const expires = new Date(Date.now() + seconds * 1000).toISOString().replace(/\.\d+/, '');
  const version = '2021-12-02';
  const text = [accountName, 'rwdl', 'b', 'co', '', expires, '', '', version, '', ''].join('\n');
  const signature = createHmac('sha256', Buffer.from(accountKey, 'base64'))
    .update(text)
    .digest('base64');
  const query = new URLSearchParams({
    sv: version,
    ss: 'b',
    srt: 'co',
    sp: 'rwdl',
    se: expires,
    sig: signature,
  });
  return `BlobEndpoint=${endpoint}/${accountName};SharedAccessSignature=${query.toString()}`;
}

storeConformance(
  createTarget('Azure (azurite) by account key', {
    deps: { verifyMd5: true },
    multipartFromBytes: 64 * MIB,
    changes: { accessTier: 'Cool' },
    connectionString: (service) => service.connectionString,
  }),
);

storeConformance(
  createTarget('Azure (azurite) by shared access signature, in blocks', {
    deps: {
      sizes: { singlePutMaxBytes: 5 * MIB, blockBytes: 5 * MIB, listPage: 400 },
    },
    multipartFromBytes: 5 * MIB,
    changes: {},
    connectionString: (service) => createSas(service),
  }),
);

describe('a shared access signature as people copy it', () => {
  let server: AzureService;
  let right: string;
  let signature: string;

  beforeAll(async () => {
    server = await startAzure();
    // One that holds all that has another meaning in a URL.
    for (let seconds = 3600; ; seconds += 1) {
      right = createSas(server, seconds);
      signature = /sig=(.*)$/.exec(right)?.[1] ?? '';
      if (/%2B.*%2F.*%3D$/.test(signature)) break;
    }
  });
  afterAll(async () => {
    await server.stop();
  });

  test.each<[string, (right: string) => string]>([
    ['escaped', (text) => text],
    ['with a bare "="', (text) => text.replace('%3D', '=')],
    ['with nothing escaped', (text) => text.replace(signature, decodeURIComponent(signature))],
    ['with "?" before it', (text) => text.replace('Signature=', 'Signature=?')],
    ['with "&amp;"', (text) => text.replaceAll('&', '&amp;').replace('%3D', '=')],
    ['with a slash behind the account', (text) => text.replace(';', '/;').replace('%3D', '=')],
  ])('%s opens the container for all operations', async (_name, written) => {
    const container = `sas-${randomBytes(4).toString('hex')}`;
    const { provider } = loadConfiguration(
      JSON.stringify({
        AzureBlobStorage: { ContainerName: container, ConnectionString: written(right) },
      }),
      { orthancVersion: '1.12.7', environmentVariables: {} },
      PROVIDERS,
    );
    if (provider?.kind !== 'azure') throw new Error('not Azure');
    const { signal } = new AbortController();
    const log = makeLogger();
    // Who creates the container, an account signature for objects may not.
    const settings = makeAzureSettings(server.connectionString, { containerName: container });
    const owner = createAzureStore(settings, { log });
    await owner.check({ signal });
    await owner.close();
    const store = createAzureStore(provider.settings as AzureSettings, {
      log,
      sizes: { singlePutMaxBytes: 1024, blockBytes: 1024, listPage: 10 },
    });
    try {
      await store.check({ signal });
      const contents = { 'a/small': randomBytes(100), 'a/blocks': randomBytes(5000) };
      for (const [key, content] of Object.entries(contents)) {
        await store.put(key, makeBody(content), { signal });
      }
      const listed: string[] = [];
      for await (const { key } of store.list('a/', { signal })) listed.push(key);
      expect(listed.toSorted()).toEqual(['a/blocks', 'a/small']);
      for (const [key, content] of Object.entries(contents)) {
        const memory = new MemorySink();
        await store.get(key, undefined, memory, { signal });
        expectSameBytes(memory.bytes, content);
        await store.delete(key, { signal });
      }
    } finally {
      await store.close();
    }
  });
});
