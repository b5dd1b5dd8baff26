// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start: Google's own mistakes, permissions and credentials, beside what all providers share.
// Google is a server of the test's own, which a proxy reaches under Google's names.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import type { StoreDependencies } from '../../src/config/settings.ts';
import type { StorageErrorCode } from '../../src/errors.ts';
import type { GoogleSettings } from '../../src/providers/google/settings.ts';
import { createGoogleStore } from '../../src/providers/google/store.ts';
import type { ObjectStore } from '../../src/store/object-store.ts';
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
import { makeGoogleSettings, makeServiceAccount, TEST_PRIVATE_KEY } from '../support/google.ts';
import {
  answerGoogle,
  answerJson,
  answerPlainly,
  failGoogle,
  failToken,
  parseMultipart,
  TEST_TOKEN,
} from '../support/google-memory.ts';
import {
  answerPage,
  type Exchange,
  hang,
  type ScriptedServer,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeLogger, makeProxies } from '../support/settings.ts';
import { useClosing } from './bench.ts';
import { startFaults } from './start-faults.ts';

const closing = useClosing();
const certificate = makeCertificate([
  'storage.googleapis.com',
  'oauth2.googleapis.com',
  'sts.googleapis.com',
  'storage.other-cloud.example',
  'restricted.googleapis.com',
  'storage-orthanc.p.googleapis.com',
  'storage.googleapis.com.example',
  'private.example',
]);
let folder: string;

function open(
  changes: Partial<GoogleSettings>,
  deps: Partial<StoreDependencies> = {},
): ObjectStore {
  return closing(createGoogleStore(makeGoogleSettings(changes), { log: makeLogger(), ...deps }));
}

/** A token as OpenID Connect knows them, by its look. */
const TOKEN_TEXT = `eyJhbGciOiJSUzI1NiJ9.${'eyJzdWIiOiJvcnRoYW5jIn0'}.c2lnbmF0dXJlLXRoYXQtbm8tbG9nLW1heS1zaG93`;

/** Where GOOGLE_APPLICATION_CREDENTIALS may point for workload identity. */
async function writeExternalAccount(credentialSource: unknown): Promise<void> {
  const account = {
    type: 'external_account',
    audience:
      '//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x',
    subject_token_type: 'urn:ietf:params:oauth:token-type:jwt',
    token_url: 'https://sts.googleapis.com/token',
    credential_source: credentialSource,
  };
  await writeFile(join(folder, 'adc.json'), JSON.stringify(account));
}

/** Neither in the message nor in what lies beneath. */
function expectNoSecret(error: unknown): void {
  const everything = inspect(error, { depth: 10 });
  const key = TEST_PRIVATE_KEY.split('\n');
  for (const secret of [TOKEN_TEXT, 'eyJhbGci', 'hunter2', ...key.slice(1, 3), 'BEGIN PRIVATE']) {
    expect(everything).not.toContain(secret.slice(0, 40));
  }
}

const check = (store: ObjectStore) => store.check({ signal: never() });

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  closing({ close: () => rm(folder, { recursive: true }) });
  await writeFile(join(folder, 'ca.pem'), certificate.cert);
  await writeFile(
    join(folder, 'self-signing.json'),
    makeServiceAccount({ universe_domain: 'other-cloud.example' }),
  );
});

startFaults({
  answer: answerGoogle,
  // Of a server that is not Google's own: a probe, a range and the whole of it, a session and its end, the removal.
  checks: ['POST', 'GET', 'GET', 'POST', 'DELETE', 'DELETE'],
  create: (endpoint, changes) => {
    // Over TLS credentials are needed; such a key needs no server to give it a token.
    const serviceAccountFile = endpoint.startsWith('https:')
      ? join(folder, 'self-signing.json')
      : undefined;
    const settings = makeGoogleSettings({ endpoint, serviceAccountFile, ...changes });
    return createGoogleStore(settings, { log: makeLogger() });
  },
  refuse: (words) => failGoogle(403, words, 'forbidden'),
  throttled: (seconds) =>
    failGoogle(429, 'Too many', 'rateLimitExceeded', { 'retry-after': String(seconds) }),
  addressSetting: /GoogleCloudStorage\.Endpoint/,
  mistakes: [
    [
      'a bucket that is not there',
      failGoogle(404, 'The specified bucket does not exist.', 'notFound'),
      'BAD_CONFIG',
      /GoogleCloudStorage\.BucketName/,
    ],
    [
      'a server that wants credentials',
      failGoogle(401, 'Anonymous caller does not have storage.objects.create access', 'required'),
      'ACCESS_DENIED',
      /GoogleCloudStorage\.ServiceAccountFile/,
    ],
    [
      'a project without billing',
      failGoogle(403, 'The billing account is disabled', 'accountDisabled'),
      'ACCESS_DENIED',
      /billing/,
    ],
    ['a server that only fails', failGoogle(500, 'Internal', 'x'), 'UNAVAILABLE', /500/],
  ],
});

const methodsOf = (server: ScriptedServer) => server.requests.map(({ method }) => method);
const PROBING = ['POST', 'GET', 'GET', 'POST', 'DELETE', 'DELETE'];

describe('permissions', () => {
  let server: ScriptedServer;
  let google: Partial<GoogleSettings>;

  beforeEach(async () => {
    server = closing(await startScriptedServer({ certificate, answer: answerGoogle }));
    const proxy = closing(await startProxy({ targetPort: server.port }));
    google = {
      serviceAccountFile: join(folder, 'self-signing.json'),
      caCertificatesFile: join(folder, 'ca.pem'),
      proxies: makeProxies(`http://127.0.0.1:${proxy.port}`),
    };
  });

  const isPermissionTest = (url: string) => url.includes('/iam/testPermissions');
  /** On the bucket as a whole. */
  const grantNothing: Step = ({ response }) => answerJson(response, 200, {});

  test.each([
    undefined,
    'https://restricted.googleapis.com',
    'https://storage-orthanc.p.googleapis.com',
  ])('are asked for, and nothing is written, where the server is Google (%s)', async (endpoint) => {
    await check(open({ ...google, endpoint }));
    expect(server.requests.map(({ url }) => url)).toEqual([
      '/storage/v1/b/bucket/iam/testPermissions?permissions=storage.objects.create&permissions=storage.objects.get&permissions=storage.objects.delete',
    ]);
  });

  test('are not asked of a server that only has a name like Google', async () => {
    await check(open({ ...google, endpoint: 'https://storage.googleapis.com.example' }));
    expect(methodsOf(server)).toEqual(PROBING);
  });

  test.each<[string, Step]>([
    ['are granted under RootPath alone', grantNothing],
    ['are not known to the server', failGoogle(404, 'Not Found', 'notFound')],
    ['may not be asked for', failGoogle(403, 'no', 'forbidden')],
  ])('writes a probe under RootPath where permissions %s', async (_name, answer) => {
    server.always(async (exchange) => {
      const { url, method } = exchange.recorded;
      const isAllowed =
        method === 'POST' || url.startsWith('/storage/v1/b/bucket/o/archive%2Forthanc-');
      if (isPermissionTest(url)) await answer(exchange);
      else if (isAllowed) await exchange.proceed();
      else await failGoogle(403, 'no', 'forbidden')(exchange);
    });
    await check(open(google, { probePrefix: 'archive' }));
    expect(methodsOf(server)).toEqual(['GET', 'POST', 'GET', 'DELETE']);
    expect(server.objects.size).toBe(0);
  });

  describe.each<[string, string | undefined]>([
    ['Google', undefined],
    ['another server', 'https://private.example'],
  ])('of %s', (_server, endpoint) => {
    test.each([
      ['POST', 'create'],
      ['GET', 'get'],
      ['DELETE', 'delete'],
    ])('are named when %s is forbidden', async (method, permission) => {
      server.always(async (exchange) => {
        const { url } = exchange.recorded;
        const words = `x does not have storage.objects.${permission} access to the Google Cloud Storage object.`;
        if (isPermissionTest(url)) await grantNothing(exchange);
        else if (exchange.recorded.method === method && !url.includes('upload_id')) {
          await failGoogle(403, words, 'forbidden')(exchange);
        } else await exchange.proceed();
      });
      await expectFailure(
        check(open({ ...google, endpoint })),
        'ACCESS_DENIED',
        new RegExp(`allow storage\\.objects\\.${permission} on the bucket`),
      );
    });

    test('need not allow a removal from a bucket that keeps its objects for a time', async () => {
      server.always(async (exchange) => {
        const { url, method } = exchange.recorded;
        if (isPermissionTest(url)) await grantNothing(exchange);
        else if (method === 'DELETE' && !url.includes('upload_id')) {
          await failGoogle(403, 'under retention policy', 'retentionPolicyNotMet')(exchange);
        } else await exchange.proceed();
      });
      await check(open({ ...google, endpoint }));
    });
  });
});

describe("a server that is not Google's own is tried", () => {
  let server: ScriptedServer;

  beforeEach(async () => {
    server = closing(await startScriptedServer({ answer: answerGoogle }));
  });

  type Kind = 'write' | 'range' | 'whole' | 'session' | 'cancel' | 'remove';
  function kindOf({ recorded: { method, url, headers } }: Exchange): Kind {
    if (method === 'POST') return url.includes('uploadType=resumable') ? 'session' : 'write';
    if (method === 'GET') return headers['range'] === undefined ? 'whole' : 'range';
    return url.includes('upload_id') ? 'cancel' : 'remove';
  }
  const on = (kind: Kind, step: Step): void =>
    server.always((exchange) => (kindOf(exchange) === kind ? step(exchange) : exchange.proceed()));
  const isGone = () => expect.poll(() => server.objects.size).toBe(0);

  test.each([answerGoogle, answerPlainly])('by a probe that is removed again', async (answer) => {
    server = closing(await startScriptedServer({ answer }));
    await check(open({ endpoint: server.endpoint }, { probePrefix: 'archive' }));
    const seen = methodsOf(server);
    // Of a removal that anybody may have acknowledged, the object is asked for.
    expect(seen).toEqual(answer === answerGoogle ? PROBING : [...PROBING, 'GET']);
    const names = server.requests.map(({ url }) => url).filter((url) => url.includes('probe'));
    expect(names.every((url) => url.includes('archive%2Forthanc-object-storage-probe-'))).toBe(
      true,
    );
    expect(server.openUploads()).toBe(0);
    expect(server.objects.size).toBe(0);
  });

  test('and refused where it has no such range', async () => {
    on('range', failGoogle(416, 'no', 'x'));
    const message = /does not answer ranges.*GoogleCloudStorage\.Endpoint/;
    await expectFailure(check(open({ endpoint: server.endpoint })), 'BAD_CONFIG', message);
    expect(server.objects.size).toBe(0);
  });

  test.each<[string, Step]>([
    ['400', failGoogle(400, 'uploadType must be multipart')],
    ['404', failGoogle(404, 'Not Found')],
    ['501', failGoogle(501, 'Not Implemented')],
    ['success, and no address to go on at', ({ response }) => answerJson(response, 200, {})],
    ['a page', answerPage()],
  ])('and warned of where large uploads begin with %s', async (_name, answer) => {
    on('session', async (exchange) => {
      await exchange.readBody();
      await answer(exchange);
    });
    const log = makeLogger();
    await check(open({ endpoint: server.endpoint }, { log }));
    expect(log.lines).toContainEqual(
      expect.stringMatching(
        /^warning: .*begins no resumable upload.*more than 16 MiB.*GoogleCloudStorage\.Endpoint/,
      ),
    );
    expect(server.objects.size).toBe(0);
  });

  test('and refused where it stores something else than was sent', async () => {
    on('write', async (exchange) => {
      await exchange.readBody();
      answerJson(exchange.response, 200, { kind: 'storage#object', size: '3', crc32c: 'AAAAAA==' });
    });
    await expectFailure(check(open({ endpoint: server.endpoint })), 'INTEGRITY');
  });

  test('and passes where a session cannot be cancelled, which ends by itself', async () => {
    on('cancel', failGoogle(501, 'Not Implemented'));
    await check(open({ endpoint: server.endpoint }));
    expect(server.objects.size).toBe(0);
  });

  test.each<[Kind, Step]>([
    ['whole', failGoogle(500, 'Internal')],
    ['session', failGoogle(503, 'Unavailable')],
    ['whole', answerPage()],
  ])('and the probe is removed where the %s fails', async (kind, fault) => {
    on(kind, fault);
    const store = open({ endpoint: server.endpoint, maxRetries: 0 });
    await expectFailure(check(store), 'UNAVAILABLE');
    expect(server.objects.size).toBe(0);
  });

  test('and the probe is removed where the answer to its writing got lost', async () => {
    on('write', async (exchange) => {
      await exchange.readBody();
      const { recorded, request, socket } = exchange;
      const { metadata, bytes } = parseMultipart(recorded.body());
      server.objects.set(`/bucket/${metadata.name}`, { bytes, headers: {} });
      request.destroy();
      socket.resetAndDestroy();
    });
    const store = open({ endpoint: server.endpoint, maxRetries: 0 });
    await expectFailure(check(store), 'UNAVAILABLE', /closed the connection/);
    await isGone();
  });

  test.each(['aborted', 'closed'])(
    'and the probe is removed where the check is %s',
    async (how) => {
      on('range', hang());
      const store = open({ endpoint: server.endpoint });
      const controller = new AbortController();
      const checking = store.check({ signal: controller.signal });
      checking.catch(() => undefined);
      await expect.poll(() => server.objects.size).toBe(1);
      await expect.poll(() => methodsOf(server)).toContain('GET');
      if (how === 'aborted') controller.abort();
      else await store.close();
      await expectFailure(checking, how === 'aborted' ? 'ABORTED' : 'CLOSED');
      await isGone();
    },
  );
});

describe('ServiceAccountFile', () => {
  test.each<[string, string | undefined, RegExp]>([
    ['missing', undefined, /does not exist/],
    ['empty', '', /is empty, not JSON/],
    ['PEM', TEST_PRIVATE_KEY, /PEM, not JSON/],
    ['P12', '0\u0082\uFFFD\uFFFD', /P12 key, not JSON/],
    ['not JSON', 'hello', /something else, not JSON/],
    ["gcloud's", '{"type":"authorized_user"}', /GOOGLE_APPLICATION_CREDENTIALS/],
    ['workload identity', '{"type":"external_account"}', /GOOGLE_APPLICATION_CREDENTIALS/],
    ['OAuth client', '{"installed":{"client_id":"x"}}', /the secret of an OAuth client/],
    ['an array', '[]', /not JSON/],
    ['without a key', '{"type":"service_account"}', /lacks client_email or private_key/],
    ['with a damaged key', makeServiceAccount({ private_key: '-----BEGIN x' }), /damaged/],
    ['some other JSON', '{"a":1}', /JSON of another kind/],
  ])('%s is refused at once, and told what it is', async (_name, content, message) => {
    const file = join(folder, 'key.json');
    if (content !== undefined) await writeFile(file, content);
    const failing = () => open({ serviceAccountFile: file });
    expect(failing).toThrow(message);
    expect(failing).toThrow(/GoogleCloudStorage\.ServiceAccountFile/);
  });

  test.each([
    ['JSON', makeServiceAccount()],
    ['JSON in one line', JSON.stringify(JSON.parse(makeServiceAccount()))],
    ['JSON in base64', Buffer.from(makeServiceAccount()).toString('base64')],
    ['PEM', TEST_PRIVATE_KEY],
  ])('the key itself in its place is not repeated: %s', (_name, secret) => {
    const failing = () => open({ serviceAccountFile: secret });
    expect(failing).toThrow(
      /^GoogleCloudStorage\.ServiceAccountFile: holds the key itself \(.*\); write the path of a file/,
    );
    expect(failing).not.toThrow(new RegExp(secret.slice(40, 60).replace(/[^\w]/g, '.')));
    expect(failing).toThrow(expect.not.objectContaining({ cause: expect.anything() }));
  });

  test('a folder is told from a file', () => {
    expect(() => open({ serviceAccountFile: folder })).toThrow(/is a folder/);
  });
});

describe('Google over TLS, through HttpProxy', () => {
  let server: ScriptedServer;
  let proxy: ForwardProxy;

  beforeEach(async () => {
    server = closing(await startScriptedServer({ certificate, answer: answerGoogle }));
    proxy = closing(await startProxy({ targetPort: server.port }));
    await writeFile(join(folder, 'key.json'), makeServiceAccount());
  });

  const settings = (changes: Partial<GoogleSettings> = {}): Partial<GoogleSettings> => ({
    serviceAccountFile: join(folder, 'key.json'),
    caCertificatesFile: join(folder, 'ca.pem'),
    proxies: makeProxies(`http://127.0.0.1:${proxy.port}`),
    ...changes,
  });
  const tokenRequests = () => server.requests.filter(({ url }) => url === '/token');
  /** Meets requests for tokens only. */
  const onToken =
    (step: Step): Step =>
    (exchange) =>
      exchange.recorded.url === '/token' ? step(exchange) : exchange.proceed();

  test('one token serves all requests', async () => {
    const store = open(settings());
    const bytes = makeBytes(2_000_000);
    await check(store);
    await store.put('key', makeBody(bytes), { signal: never() });
    const sink = makeSink();
    await store.get('key', undefined, sink, { signal: never() });
    expectSameBytes(sink.bytes(), bytes);
    expect(new Set(proxy.tunnels)).toEqual(
      new Set(['oauth2.googleapis.com', 'storage.googleapis.com']),
    );
    expect(tokenRequests()).toHaveLength(1);
    const claim = new URLSearchParams(tokenRequests()[0]?.body().toString()).get('assertion');
    const claims = Buffer.from(claim?.split('.')[1] ?? '', 'base64url').toString();
    expect(JSON.parse(claims)).toMatchObject({
      iss: 'orthanc@project.iam.gserviceaccount.com',
      scope: 'https://www.googleapis.com/auth/devstorage.read_write',
    });
    const others = server.requests.filter(({ url }) => url !== '/token');
    expect(new Set(others.map(({ headers }) => headers['authorization']))).toEqual(
      new Set([`Bearer ${TEST_TOKEN}`]),
    );
  });

  test('many at once ask for one token', async () => {
    const store = open(settings());
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.put(`key-${index}`, makeBody(makeBytes(100)), { signal: never() }),
      ),
    );
    expect(tokenRequests()).toHaveLength(1);
  });

  test('a token that is not accepted any more is renewed, with the key file read anew', async () => {
    const store = open(settings());
    await check(store);
    await writeFile(
      join(folder, 'key.json'),
      makeServiceAccount({ client_email: 'new@project.iam.gserviceaccount.com' }),
    );
    server.script(failGoogle(401, 'Invalid Credentials', 'authError'));
    await store.put('key', makeBody(makeBytes(10)), { signal: never() });
    expect(tokenRequests()).toHaveLength(2);
    const claim = new URLSearchParams(tokenRequests()[1]?.body().toString()).get('assertion');
    expect(Buffer.from(claim?.split('.')[1] ?? '', 'base64url').toString()).toContain('new@');
    server.always(failGoogle(401, 'Invalid Credentials', 'authError'));
    await expectFailure(
      store.put('key', makeBody(makeBytes(10)), { signal: never() }),
      'ACCESS_DENIED',
      /GoogleCloudStorage\.ServiceAccountFile/,
    );
  });

  test('a key file that is half written at that moment is read again', async () => {
    const store = open(settings());
    await check(store);
    const put = () => store.put('key', makeBody(makeBytes(10)), { signal: never() });
    await writeFile(join(folder, 'key.json'), '{');
    server.script(failGoogle(401, 'Invalid Credentials', 'authError'));
    await expectFailure(put(), 'BAD_CONFIG', /ServiceAccountFile/);
    await writeFile(join(folder, 'key.json'), makeServiceAccount());
    await put();
  });

  const date = new Date(Date.now() - 20 * 60_000).toUTCString();
  test.each<[string, Step, StorageErrorCode, RegExp]>([
    [
      'a clock that is off',
      failToken(
        'invalid_grant',
        'Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.',
        { headers: { date } },
      ),
      'ACCESS_DENIED',
      /2\d minutes ahead of Google's; set this machine's clock/,
    ],
    [
      'a revoked key',
      failToken('invalid_grant', 'Invalid JWT Signature.'),
      'ACCESS_DENIED',
      /ServiceAccountFile is revoked or deleted/,
    ],
    [
      'a deleted account',
      failToken('invalid_grant', 'Invalid grant: account not found'),
      'ACCESS_DENIED',
      /deleted or disabled/,
    ],
    [
      'an account without rights',
      failToken('unauthorized_client', 'not authorized', { status: 401 }),
      'ACCESS_DENIED',
      /unauthorized_client/,
    ],
    [
      'a token server that fails',
      failToken('internal_failure', 'oops', { status: 503 }),
      'UNAVAILABLE',
      /the server that gives the token failed/,
    ],
  ])('%s is explained, without anything secret', async (_name, fault, code, message) => {
    server.always(onToken(fault));
    const store = open(settings({ maxRetries: 0 }));
    const error = await expectFailure(check(store), code, message);
    const everything = inspect(error, { depth: 10 });
    for (const { body } of tokenRequests()) {
      const assertion = new URLSearchParams(body().toString()).get('assertion') ?? 'none';
      expect(everything).not.toContain(assertion);
      expect(everything).not.toContain('grant-type:jwt-bearer');
    }
  });

  test('a token server that stumbles is asked again', async () => {
    let failures = 0;
    server.always((exchange) =>
      onToken(++failures <= 2 ? failToken('x', 'y', { status: 500 }) : (it) => it.proceed())(
        exchange,
      ),
    );
    await check(open(settings()));
  });

  test('a token server that never answers is named', async () => {
    server.always(onToken(hang()));
    const error = await expectFailure(
      check(open(settings())),
      'TIMEOUT',
      /the server that gives the token/,
    );
    expect(error.message).not.toContain('GoogleCloudStorage.Endpoint');
  });

  test("a key of another cloud of Google's technique goes to that cloud", async () => {
    await writeFile(
      join(folder, 'key.json'),
      makeServiceAccount({
        universe_domain: 'other-cloud.example',
        quota_project_id: 'payer',
      }),
    );
    // Such keys sign their own tokens: there is no server to ask.
    await check(open(settings()));
    expect(new Set(proxy.tunnels)).toEqual(new Set(['storage.other-cloud.example']));
    expect(server.requests[0]?.headers['x-goog-user-project']).toBe('payer');
  });

  test('Endpoint replaces the host, also in the address of an upload session', async () => {
    const store = open(settings({ endpoint: 'https://private.example:8443' }));
    await store.put('key', makeBody(makeBytes(17 * 1024 * 1024)), { signal: never() });
    expect(new Set(proxy.tunnels)).toEqual(new Set(['oauth2.googleapis.com', 'private.example']));
  });

  test('workload identity: a configuration file and a token of another cloud', async () => {
    await writeFile(join(folder, 'subject'), 'subject-token');
    await writeExternalAccount({ file: join(folder, 'subject') });
    const GOOGLE_APPLICATION_CREDENTIALS = join(folder, 'adc.json');
    await withEnvironment({ GOOGLE_APPLICATION_CREDENTIALS }, async () => {
      const store = open(settings({ serviceAccountFile: undefined }));
      await check(store);
      expect(tokenRequests()[0]?.body().toString()).toContain('subject_token=subject-token');
      expect(proxy.tunnels).toContain('sts.googleapis.com');
    });
  });

  test.each<[string, Readonly<Record<string, string>>]>([
    ['a user, as gcloud stores one', { type: 'authorized_user' }],
    [
      'a user who acts for a service account',
      {
        type: 'impersonated_service_account',
        service_account_impersonation_url:
          'https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.iam.gserviceaccount.com:generateAccessToken',
      },
    ],
  ])('credentials of %s are asked for through the proxy too', async (_name, head) => {
    const user = {
      type: 'authorized_user',
      client_id: 'i',
      client_secret: 's',
      refresh_token: 'r',
    };
    await writeFile(
      join(folder, 'adc.json'),
      JSON.stringify({ ...user, ...head, source_credentials: user }),
    );
    const GOOGLE_APPLICATION_CREDENTIALS = join(folder, 'adc.json');
    await withEnvironment({ GOOGLE_APPLICATION_CREDENTIALS }, async () => {
      server.always(onToken(failToken('invalid_grant', 'Token has been expired or revoked.')));
      const store = open(settings({ serviceAccountFile: undefined, maxRetries: 0 }));
      await expectFailure(check(store), 'ACCESS_DENIED', /gcloud auth application-default login/);
      expect(proxy.tunnels).toEqual(['oauth2.googleapis.com']);
    });
  });
});

describe('application default credentials', () => {
  test('the metadata server of the machine gives a token', async () => {
    const metadata = closing(await startScriptedServer());
    metadata.always(({ recorded, response }) => {
      response.setHeader('metadata-flavor', 'Google');
      const isToken = recorded.url.includes('/token');
      response.setHeader('content-type', isToken ? 'application/json' : 'text/plain');
      const token = { access_token: TEST_TOKEN, expires_in: 3600, token_type: 'Bearer' };
      response.end(isToken ? JSON.stringify(token) : 'x');
    });
    const server = closing(await startScriptedServer({ certificate, answer: answerGoogle }));
    const proxy = closing(await startProxy({ targetPort: server.port }));
    const variables = {
      GCE_METADATA_HOST: `127.0.0.1:${metadata.port}`,
      GOOGLE_APPLICATION_CREDENTIALS: undefined,
      HOME: folder,
    };
    await withEnvironment(variables, async () => {
      const store = open({
        caCertificatesFile: join(folder, 'ca.pem'),
        proxies: makeProxies(`http://127.0.0.1:${proxy.port}`),
      });
      await check(store);
    });
    expect(server.requests[0]?.headers['authorization']).toBe(`Bearer ${TEST_TOKEN}`);
    expect(proxy.tunnels).toEqual(['storage.googleapis.com']);
  });

  test('none anywhere is explained, with the places looked at', async () => {
    const variables = {
      METADATA_SERVER_DETECTION: 'none',
      GOOGLE_APPLICATION_CREDENTIALS: undefined,
      CLOUDSDK_CONFIG: undefined,
      HOME: folder,
    };
    await withEnvironment(variables, async () => {
      const store = open({});
      await expectFailure(check(store), 'ACCESS_DENIED', /GoogleCloudStorage\.ServiceAccountFile/);
      const reading = store.get('key', undefined, makeSink(), { signal: never() });
      const error = await expectFailure(reading, 'ACCESS_DENIED', /no credentials were found/);
      expect(error.message).toContain(
        `GOOGLE_APPLICATION_CREDENTIALS is not set, gcloud has written no "${folder}/.config/gcloud/application_default_credentials.json", and METADATA_SERVER_DETECTION forbids`,
      );
    });
  });

  test.each<[string, (file: string) => Promise<string>, RegExp]>([
    [
      'names no file',
      (file) => Promise.resolve(file),
      /"\/.*adc\.json" does not exist; in a container/,
    ],
    ['names a folder', () => Promise.resolve(folder), /is a folder/],
    [
      'names a file that is no JSON',
      async (file) => {
        await writeFile(file, `${TOKEN_TEXT}\n`);
        return file;
      },
      /adc\.json" holds no JSON/,
    ],
    [
      'names a key that lacks something',
      async (file) => {
        await writeFile(file, makeServiceAccount({ client_email: undefined }));
        return file;
      },
      /does not contain a client_email/,
    ],
    [
      'holds the JSON itself',
      () => Promise.resolve(makeServiceAccount()),
      /holds the credentials themselves/,
    ],
    [
      'holds the JSON itself, indented',
      () => Promise.resolve(JSON.stringify(JSON.parse(makeServiceAccount()), undefined, 2)),
      /holds the credentials themselves/,
    ],
    [
      'holds the JSON itself, in base64',
      () => Promise.resolve(Buffer.from(makeServiceAccount()).toString('base64')),
      /holds the credentials themselves/,
    ],
    ['holds the key', () => Promise.resolve(TEST_PRIVATE_KEY), /holds the credentials themselves/],
    ['holds a token', () => Promise.resolve(TOKEN_TEXT), /holds the credentials themselves/],
    ['holds some word', () => Promise.resolve('hunter2'), /cannot be used: \(not shown/],
  ])('a variable that %s is explained, without what it holds', async (_name, write, message) => {
    const value = await write(join(folder, 'adc.json'));
    for (const variable of ['GOOGLE_APPLICATION_CREDENTIALS', 'google_application_credentials']) {
      const variables = { GOOGLE_APPLICATION_CREDENTIALS: undefined, [variable]: value };
      await withEnvironment(variables, async () => {
        const error = await expectFailure(check(open({})), 'BAD_CONFIG', message);
        expect(error.message).toContain('GOOGLE_APPLICATION_CREDENTIALS');
        expectNoSecret(error);
      });
    }
  });

  test("gcloud's file that is no JSON is explained, without what it holds", async () => {
    await writeFile(join(folder, 'application_default_credentials.json'), TOKEN_TEXT);
    const variables = { GOOGLE_APPLICATION_CREDENTIALS: undefined, CLOUDSDK_CONFIG: folder };
    await withEnvironment(variables, async () => {
      const message = /gcloud.*application_default_credentials\.json" holds no JSON/;
      expectNoSecret(await expectFailure(check(open({})), 'BAD_CONFIG', message));
    });
  });

  describe('of a workload identity configuration', () => {
    /** What the program prints, and how it ends. */
    const program = async (output: string, status: number) => {
      const file = join(folder, 'program.sh');
      await writeFile(file, `#!/bin/sh\ncat <<'END'\n${output}\nEND\nexit ${status}\n`, {
        mode: 0o755,
      });
      return { executable: { command: file, timeout_millis: 10_000 } };
    };
    const subject = async (content: string) => {
      const file = join(folder, 'subject');
      await writeFile(file, content);
      return { file, format: { type: 'json', subject_token_field_name: 'token' } };
    };
    test.each<[string, () => Promise<object>, RegExp]>([
      ['its file is no JSON', () => subject('hunter2'), /no JSON/],
      [
        'its file is not there',
        () => Promise.resolve({ file: join(folder, TOKEN_TEXT) }),
        /a file does not exist.*ENOENT/,
      ],
      ['its program gives out something else', () => program('hunter2', 0), /an invalid response/],
      [
        'its program fails, in its own words',
        () => program(`login to the vault failed with ${TOKEN_TEXT}`, 3),
        /exit code: 3.*login to the vault failed/,
      ],
    ])('where %s, that is told without the token', async (_name, write, message) => {
      await writeExternalAccount(await write());
      const variables = {
        GOOGLE_APPLICATION_CREDENTIALS: join(folder, 'adc.json'),
        GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES: '1',
      };
      await withEnvironment(variables, async () => {
        expectNoSecret(await expectFailure(check(open({})), 'ACCESS_DENIED', message));
      });
    });
  });
});
