// SPDX-License-Identifier: GPL-3.0-or-later

import { createHmac } from 'node:crypto';
import { type AzureService, startAzure } from '../../scripts/services.mjs';
import type { AzureSettings } from '../../src/config/settings.ts';
import { type AzureDependencies, createAzureStore } from '../../src/providers/azure/store.ts';
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
function createSas({ accountName, accountKey, endpoint }: AzureService): string {
  const expires = new Date(Date.now() + 60 * 60_000).toISOString().replace(/\.\d+/, '');
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
  createTarget('Azure (azurite) by shared access signature, over the SDK alone, in blocks', {
    deps: {
      lean: false,
      sizes: { singlePutMaxBytes: 5 * MIB, blockBytes: 5 * MIB, listPage: 400 },
    },
    multipartFromBytes: 5 * MIB,
    changes: {},
    connectionString: createSas,
  }),
);
