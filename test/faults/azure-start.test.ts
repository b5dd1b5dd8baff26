// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start: Azure's own mistakes, signatures and identities, beside what all providers share.
// Azure and Entra ID are a server of the test's own, which a proxy reaches under their names.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import type { AzureSettings } from '../../src/providers/azure/settings.ts';
import { type AzureDependencies, createAzureStore } from '../../src/providers/azure/store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
import {
  answerAzure,
  answerJson,
  connectionStringOf,
  ENTRA_HOST,
  failAzure,
  TEST_TOKEN,
} from '../support/azure-memory.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';
import { makeCertificate } from '../support/certificate.ts';
import { withEnvironment } from '../support/environment.ts';
import { type ForwardProxy, startProxy } from '../support/forward-proxy.ts';
import { escapeXml } from '../support/hostile-words.ts';
import { hang, type ScriptedServer, startScriptedServer } from '../support/scripted-server.ts';
import {
  makeAzureSettings,
  makeLogger,
  makeProxies,
  TEST_ACCOUNT_KEY,
  type TestLogger,
} from '../support/settings.ts';
import { useClosing } from './bench.ts';
import { startFaults } from './start-faults.ts';

const BLOB_HOST = 'account.blob.core.windows.net';
const certificate = makeCertificate([BLOB_HOST, ENTRA_HOST]);
const closing = useClosing();
let log: TestLogger;

function open(
  connectionString: string,
  changes: Partial<AzureSettings> = {},
  deps: Partial<AzureDependencies> = {},
): ObjectStore {
  const settings = makeAzureSettings(connectionString, changes);
  return closing(createAzureStore(settings, { log, ...deps }));
}

const check = (store: ObjectStore) => store.check({ signal: never() });

beforeEach(() => {
  log = makeLogger();
});

const serverTime = new Date(Date.now() - 20 * 60_000).toUTCString();

/** Of a server that is not Azure itself: a read of nothing; the probe, a range of it, the whole and a block of it; the probe removed. */
const PROBING = ['GET', 'PUT', 'GET', 'GET', 'PUT', 'DELETE'];

startFaults({
  answer: answerAzure,
  checks: PROBING,
  create: (endpoint, changes) => {
    const settings = makeAzureSettings(connectionStringOf({ endpoint }), changes);
    return createAzureStore(settings, { log });
  },
  refuse: (words) => failAzure(403, 'AuthorizationFailure', { message: escapeXml(words) }),
  throttled: (seconds) =>
    failAzure(503, 'ServerBusy', { headers: { 'retry-after': String(seconds) } }),
  addressSetting: /AzureBlobStorage\.ConnectionString/,
  mistakes: [
    [
      'a wrong account key',
      failAzure(403, 'AuthenticationFailed'),
      'ACCESS_DENIED',
      /account key is wrong.*AzureBlobStorage\.ConnectionString/,
    ],
    [
      'a gateway that changes requests',
      failAzure(403, 'AuthenticationFailed', {
        headers: { server: 'nginx/1.27', via: '1.1 gateway' },
        xml: '<AuthenticationErrorDetail>The MAC signature found is not the same</AuthenticationErrorDetail>',
      }),
      'ACCESS_DENIED',
      /something between changes the requests.*via "1\.1 gateway".*"nginx/,
    ],
    [
      "a clock that is off by the server's measure",
      failAzure(403, 'AuthenticationFailed', {
        xml: "<AuthenticationErrorDetail>Request date header too old: 'Tue, 24 Nov 2026 07:00:00 GMT'</AuthenticationErrorDetail>",
      }),
      'ACCESS_DENIED',
      /clock/,
    ],
    [
      "the account's firewall",
      failAzure(403, 'AuthorizationFailure'),
      'ACCESS_DENIED',
      /Networking/,
    ],
    [
      'an account without access by key',
      failAzure(403, 'KeyBasedAuthenticationNotPermitted'),
      'ACCESS_DENIED',
      /AccountUrl/,
    ],
    ['a server that only fails', failAzure(500, 'InternalError'), 'UNAVAILABLE', /500/],
    [
      'a clock that is off',
      failAzure(403, 'AuthenticationFailed', { headers: { date: serverTime } }),
      'ACCESS_DENIED',
      /2\d minutes ahead of/,
    ],
  ],
});

describe('the check of a signature or a container', () => {
  let server: ScriptedServer;

  beforeEach(async () => {
    server = closing(await startScriptedServer({ answer: answerAzure }));
  });

  const seen = () => server.requests.map(({ method, url }) => `${method} ${url.split('?')[0]}`);
  const signature = (query: string) =>
    `BlobEndpoint=${server.endpoint}/account;SharedAccessSignature=sv=2024-11-04&${query}&sig=c2VjcmV0`;

  test.each([
    ['core.windows.net'],
    ['core.chinacloudapi.cn'],
    ['core.usgovcloudapi.net'],
    ['storage.azure.net'],
  ])('is one read of an object that is not there, of Azure itself (%s)', async (suffix) => {
    const proxies = makeProxies(server.endpoint);
    const endpoint = `http://account.blob.${suffix}`;
    const key = `AccountName=account;AccountKey=${TEST_ACCOUNT_KEY};BlobEndpoint=${endpoint}`;
    await check(open(key, { proxies }));
    const sas = `BlobEndpoint=${endpoint};SharedAccessSignature=sv=2021-12-02&sp=rwd&sig=AAAA`;
    await check(open(sas, { proxies }));
    const read = expect.stringContaining(`GET ${endpoint}/container/orthanc-object-storage-probe-`);
    expect(seen()).toEqual([read, read]);
  });

  test('writes a probe under RootPath where a stored policy rules, and deletes it', async () => {
    server.always(async (exchange) => {
      const isAllowed = exchange.recorded.url.startsWith('/account/container/archive/');
      await (isAllowed ? exchange.proceed() : failAzure(403, 'AuthorizationFailure')(exchange));
    });
    await check(open(signature('si=policy'), {}, { probePrefix: 'archive' }));
    expect(server.requests.map(({ method }) => method)).toEqual(PROBING);
    expect(server.objects.size).toBe(0);
  });

  test.each([
    ['PUT', /cannot write.*does not permit this.*write \(w\)/],
    ['DELETE', /cannot delete.*does not permit this.*delete \(d\)/],
  ])('names the permission when %s is forbidden', async (method, message) => {
    server.always(async (exchange) => {
      const isDenied = exchange.recorded.method === method;
      await (isDenied
        ? failAzure(403, 'AuthorizationPermissionMismatch')(exchange)
        : exchange.proceed());
    });
    await expectFailure(check(open(signature('si=policy'))), 'ACCESS_DENIED', message);
  });

  test('names the permissions that a signature lacks', async () => {
    const store = open(signature('sp=rl'));
    await expectFailure(check(store), 'ACCESS_DENIED', /write and delete.*sp=rwd/);
  });

  test('finds an expired signature and says when it expired', async () => {
    server.always(failAzure(403, 'AuthenticationFailed'));
    const store = open(signature('sp=rwd&se=2026-01-31T10%3A00%3A00Z'));
    const error = await expectFailure(
      check(store),
      'ACCESS_DENIED',
      /AzureBlobStorage\.ConnectionString expired on 2026-01-31T10:00:00/,
    );
    expect(inspect(error)).not.toContain('c2VjcmV0');
  });

  test('finds a signature that is not valid yet', async () => {
    server.always(failAzure(403, 'AuthenticationFailed'));
    const store = open(signature('sp=rwd&st=2199-01-01T00%3A00%3A00Z'));
    await expectFailure(check(store), 'ACCESS_DENIED', /valid only from 2199/);
  });

  test('warns of a signature that expires soon', async () => {
    const soon = new Date(Date.now() + 3 * 24 * 60 * 60_000).toISOString();
    await check(open(signature(`sp=rwd&se=${encodeURIComponent(soon)}`)));
    expect(log.lines.filter((line) => line.startsWith('warning'))).toEqual([
      expect.stringContaining(`expires on ${soon}`),
    ]);
  });

  describe('a missing container', () => {
    beforeEach(() => {
      server.script(failAzure(404, 'ContainerNotFound'));
    });

    test('is created', async () => {
      await check(open(connectionStringOf(server)));
      expect(seen()[1]).toBe('PUT /account/container');
      expect(log.lines).toContainEqual(expect.stringMatching(/^info: .*has been created/));
    });

    test('is reported without CreateContainerIfNotExists', async () => {
      const store = open(connectionStringOf(server), { createContainerIfNotExists: false });
      await expectFailure(check(store), 'BAD_CONFIG', /ContainerName.*CreateContainerIfNotExists/);
    });

    test('that another Orthanc is just creating is fine', async () => {
      server.script(failAzure(409, 'ContainerAlreadyExists'));
      await check(open(connectionStringOf(server)));
    });

    test('that may not be created is reported', async () => {
      server.script(failAzure(403, 'AuthorizationPermissionMismatch'));
      await expectFailure(
        check(open(connectionStringOf(server))),
        'BAD_CONFIG',
        /there is no Azure container "container".*may not create/,
      );
    });

    test('that is being deleted is explained', async () => {
      server.always(failAzure(409, 'ContainerBeingDeleted'));
      await expectFailure(check(open(connectionStringOf(server))), 'UNAVAILABLE', /being deleted/);
    });
  });

  test('a container that may not be created, but is there, is fine', async () => {
    server.always(async (exchange) => {
      const isContainer = exchange.recorded.url.includes('restype=container');
      await (isContainer
        ? failAzure(403, 'AuthorizationPermissionMismatch')(exchange)
        : exchange.proceed());
    });
    await check(open(connectionStringOf(server)));
  });

  test('a container that keeps what it has is worth a warning', async () => {
    server.always(async (exchange) => {
      const isRemoval = exchange.recorded.method === 'DELETE';
      await (isRemoval ? failAzure(409, 'BlobImmutableDueToPolicy')(exchange) : exchange.proceed());
    });
    await check(open(signature('si=policy')));
    expect(log.lines.join('\n')).toMatch(/^warning: a policy of Azure container/m);
  });
});

describe('with AccountUrl', () => {
  const account = { kind: 'default-chain', accountUrl: `https://${BLOB_HOST}` } as const;
  const none = {
    AZURE_TENANT_ID: undefined,
    AZURE_CLIENT_ID: undefined,
    AZURE_CLIENT_SECRET: undefined,
    AZURE_FEDERATED_TOKEN_FILE: undefined,
    AZURE_TOKEN_CREDENTIALS: undefined,
    AZURE_AUTHORITY_HOST: undefined,
    IDENTITY_ENDPOINT: undefined,
    IDENTITY_HEADER: undefined,
  };
  const secret = {
    ...none,
    AZURE_TENANT_ID: '11111111-2222-3333-4444-555555555555',
    AZURE_CLIENT_ID: '66666666-7777-8888-9999-000000000000',
    AZURE_CLIENT_SECRET: 'client-secret-that-no-log-may-show',
  };
  let folder: string;
  let caCertificatesFile: string;
  let server: ScriptedServer;
  let proxy: ForwardProxy;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    closing({ close: () => rm(folder, { recursive: true }) });
    caCertificatesFile = join(folder, 'ca.pem');
    await writeFile(caCertificatesFile, certificate.cert);
    server = closing(await startScriptedServer({ certificate, answer: answerAzure }));
    proxy = closing(await startProxy({ targetPort: server.port }));
  });

  const openAccount = () =>
    open('', {
      account,
      caCertificatesFile,
      proxies: makeProxies(`http://127.0.0.1:${proxy.port}`),
      maxRetries: 1,
    });

  const blobRequests = () => server.requests.filter(({ headers }) => headers['host'] === BLOB_HOST);
  const tokenRequests = () => server.requests.filter(({ url }) => url.includes('/token'));

  test('a client secret from the environment gives a token, once', async () => {
    await withEnvironment(secret, async () => {
      const store = openAccount();
      await check(store);
      const bytes = makeBytes(1_000);
      await store.put('key', makeBody(bytes), { signal: never() });
      const sink = makeSink();
      await store.get('key', undefined, sink, { signal: never() });
      expectSameBytes(sink.bytes(), bytes);
      await store.delete('key', { signal: never() });
      expect(new Set(blobRequests().map(({ headers }) => headers['authorization']))).toEqual(
        new Set([`Bearer ${TEST_TOKEN}`]),
      );
      expect(blobRequests().map(({ method }) => method)).toEqual([
        'GET',
        'PUT',
        'GET',
        'GET',
        'DELETE',
        'PUT',
        'GET',
        'DELETE',
      ]);
      expect(tokenRequests()).toHaveLength(1);
      expect(new Set(proxy.tunnels)).toEqual(new Set([ENTRA_HOST, BLOB_HOST]));
    });
  });

  test('a challenge that names the tenant is answered, at once and with the same content', async () => {
    const tenant = `https://${ENTRA_HOST}/${secret.AZURE_TENANT_ID}/oauth2/authorize`;
    const challenge = `Bearer authorization_uri=${tenant} resource_id=https://storage.azure.com`;
    await withEnvironment(secret, async () => {
      const store = openAccount();
      server.always(async (exchange) => {
        const isFirst = exchange.recorded === blobRequests()[0];
        const headers = { 'www-authenticate': challenge };
        const refuse = failAzure(401, 'InvalidAuthenticationInfo', { headers });
        await (isFirst ? refuse(exchange) : exchange.proceed());
      });
      const bytes = makeBytes(1_000);
      await store.put('key', makeBody(bytes), { signal: never() });
      expect(blobRequests().map(({ method }) => method)).toEqual(['PUT', 'PUT']);
      expectSameBytes(blobRequests()[1]?.body() ?? makeBytes(0), bytes);
    });
  });

  test('tokens that do not come: the check gives up in time', async () => {
    server.always((exchange) =>
      exchange.recorded.url.includes('/token') ? hang()(exchange) : exchange.proceed(),
    );
    await withEnvironment(secret, async () => {
      const start = performance.now();
      await expectFailure(check(openAccount()), 'TIMEOUT', /no answer from .*Entra ID/);
      expect(performance.now() - start).toBeLessThan(10_000);
    });
  });

  test('workload identity exchanges its file for a token', async () => {
    const file = join(folder, 'federated-token');
    await writeFile(file, 'the-federated-token');
    const variables = {
      ...secret,
      AZURE_CLIENT_SECRET: undefined,
      AZURE_FEDERATED_TOKEN_FILE: file,
    };
    await withEnvironment(variables, async () => {
      await check(openAccount());
      expect(tokenRequests()[0]?.body().toString()).toContain(
        'client_assertion=the-federated-token',
      );
    });
  });

  test('managed identity is asked on this machine, past the proxy', async () => {
    const metadata = closing(await startScriptedServer());
    metadata.always(({ response }) => {
      answerJson(response, 200, {
        access_token: TEST_TOKEN,
        expires_on: String(Math.floor(Date.now() / 1000) + 3600),
        resource: 'https://storage.azure.com',
        token_type: 'Bearer',
      });
    });
    const variables = {
      ...none,
      IDENTITY_ENDPOINT: `${metadata.endpoint}/token`,
      IDENTITY_HEADER: 'header',
    };
    await withEnvironment(variables, async () => {
      await check(openAccount());
      expect(metadata.requests).toHaveLength(1);
      expect(metadata.requests[0]?.url).toContain('resource=https%3A%2F%2Fstorage.azure.com');
      expect(proxy.tunnels).not.toContain('127.0.0.1');
    });
  });

  test('a wrong client secret is explained', async () => {
    await withEnvironment(secret, async () => {
      server.always(async (exchange) => {
        if (!exchange.recorded.url.includes('/token')) {
          await exchange.proceed();
          return;
        }
        await exchange.readBody();
        answerJson(exchange.response, 401, {
          error: 'invalid_client',
          error_description: 'AADSTS7000215: Invalid client secret provided.',
        });
      });
      const error = await expectFailure(
        check(openAccount()),
        'ACCESS_DENIED',
        /Entra ID refuses.*AzureBlobStorage\.AccountUrl.*AADSTS7000215/,
      );
      expect(inspect(error, { depth: 5 })).not.toContain(secret.AZURE_CLIENT_SECRET);
    });
  });

  test('no identity at all is explained, with what was tried', async () => {
    const metadata = await startScriptedServer();
    await metadata.close();
    const variables = {
      ...none,
      // Another identity than that of the test before, whose token MSAL still has.
      AZURE_CLIENT_ID: '99999999-7777-8888-9999-000000000000',
      IDENTITY_ENDPOINT: `${metadata.endpoint}/token`,
      IDENTITY_HEADER: 'header',
    };
    await withEnvironment(variables, async () => {
      await expectFailure(
        check(openAccount()),
        'ACCESS_DENIED',
        /no Azure identity was found for AzureBlobStorage\.AccountUrl.*EnvironmentCredential.*ManagedIdentityCredential/,
      );
    });
  });

  test('an unknown kind in AZURE_TOKEN_CREDENTIALS is explained', async () => {
    await withEnvironment({ ...secret, AZURE_TOKEN_CREDENTIALS: 'nonsense' }, async () => {
      await expectFailure(check(openAccount()), 'BAD_CONFIG', /AZURE_TOKEN_CREDENTIALS/);
    });
  });

  test.each([
    ['GET', /cannot check.*Storage Blob Data Contributor/],
    ['PUT', /cannot write.*blobs\/write.*Storage Blob Data Contributor/],
    ['DELETE', /cannot delete.*blobs\/delete/],
  ])('a role without %s is explained', async (method, message) => {
    await withEnvironment(secret, async () => {
      server.always(async (exchange) => {
        const { recorded } = exchange;
        const isDenied = recorded.method === method && recorded.headers['host'] === BLOB_HOST;
        await (isDenied
          ? failAzure(403, 'AuthorizationPermissionMismatch')(exchange)
          : exchange.proceed());
      });
      await expectFailure(check(openAccount()), 'ACCESS_DENIED', message);
    });
  });
});
