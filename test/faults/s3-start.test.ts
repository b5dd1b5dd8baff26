// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start: the mistakes that users make, each with what it tells them; and the ways to a server (TLS, proxy).

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Secret } from '../../src/config/secret.ts';
import type { S3Settings } from '../../src/config/settings.ts';
import { createS3Store, type S3Dependencies } from '../../src/providers/s3/store.ts';
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
import { startProxy } from '../support/forward-proxy.ts';
import { answerS3, failS3 } from '../support/s3-memory.ts';
import {
  hang,
  type ScriptedServer,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';

const stores: ObjectStore[] = [];
const servers: { close(): Promise<void> }[] = [];

function open(changes: Partial<S3Settings>, deps: Partial<S3Dependencies> = {}): ObjectStore {
  const store = createS3Store(makeS3Settings(changes), { log: makeLogger(), ...deps });
  stores.push(store);
  return store;
}

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  for (const server of servers.splice(0)) await server.close();
});

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

describe('the check at start', () => {
  let server: ScriptedServer;

  beforeEach(async () => {
    server = await startScriptedServer({ answer: answerS3 });
    servers.push(server);
  });

  test('is one read where the answer is clear', async () => {
    await open({ endpoint: server.endpoint }).check({ signal: never() });
    expect(server.requests.map(({ method }) => method)).toEqual(['GET']);
  });

  test('passes a policy that allows get, put and delete under RootPath and nothing else', async () => {
    server.always(async (exchange) => {
      const path = new URL(exchange.recorded.url, 'http://server').pathname;
      const isKnown = server.objects.has(path);
      const isAllowed =
        path.startsWith('/bucket/archive/') &&
        // Without ListBucket a missing object is not told from a forbidden one.
        (exchange.recorded.method === 'PUT' || isKnown);
      await (isAllowed ? exchange.proceed() : failS3(403, 'AccessDenied')(exchange));
    });
    const store = open({ endpoint: server.endpoint }, { probePrefix: 'archive' });
    await store.check({ signal: never() });
    expect(server.requests.map(({ method }) => method)).toEqual(['GET', 'PUT', 'GET', 'DELETE']);
    expect(server.objects.size).toBe(0);
  });

  test.each([
    ['PUT', /s3:PutObject/],
    ['DELETE', /s3:DeleteObject/],
  ])('names the permission when %s is forbidden', async (method, message) => {
    server.always(async (exchange) => {
      const isFirstGet = exchange.recorded.method === 'GET' && server.objects.size === 0;
      const isDenied = isFirstGet || exchange.recorded.method === method;
      await (isDenied ? failS3(403, 'AccessDenied')(exchange) : exchange.proceed());
    });
    await expectFailure(
      open({ endpoint: server.endpoint }).check({ signal: never() }),
      'ACCESS_DENIED',
      message,
    );
  });

  test.each<[string, Step, string, RegExp]>([
    ['a bucket that is not there', failS3(404, 'NoSuchBucket'), 'BAD_CONFIG', /BucketName/],
    [
      'a wrong SecretKey',
      failS3(403, 'SignatureDoesNotMatch'),
      'ACCESS_DENIED',
      /AwsS3Storage\.SecretKey/,
    ],
    [
      'a wrong AccessKey',
      failS3(403, 'InvalidAccessKeyId'),
      'ACCESS_DENIED',
      /AwsS3Storage\.AccessKey/,
    ],
    [
      'a bucket in another region',
      failS3(301, 'PermanentRedirect', { headers: { 'x-amz-bucket-region': 'eu-west-3' } }),
      'BAD_CONFIG',
      /eu-west-3.*AwsS3Storage\.Region/,
    ],
    [
      'a wrong region',
      failS3(400, 'AuthorizationHeaderMalformed', { xml: '<Region>eu-west-3</Region>' }),
      'BAD_CONFIG',
      /eu-west-3.*AwsS3Storage\.Region/,
    ],
    ['a server that only fails', failS3(500, 'InternalError'), 'UNAVAILABLE', /500/],
  ])('finds %s', async (_name, fault, code, message) => {
    server.always(fault);
    const check = open({ endpoint: server.endpoint }).check({ signal: never() });
    await expectFailure(check, code as 'BAD_CONFIG', message);
  });

  test('gives up a server that never answers within 10 s', async () => {
    server.always(hang());
    const ms = await timed(() =>
      expectFailure(
        open({ endpoint: server.endpoint }).check({ signal: never() }),
        'TIMEOUT',
        /Endpoint/,
      ),
    );
    expect(ms).toBeLessThan(10_000);
  });

  test('finds an endpoint that nobody listens on at once', async () => {
    await server.close();
    const ms = await timed(() =>
      expectFailure(
        open({ endpoint: server.endpoint }).check({ signal: never() }),
        'UNAVAILABLE',
        /nobody listens.*AwsS3Storage\.Endpoint/,
      ),
    );
    expect(ms).toBeLessThan(1_000);
  });

  test('finds a host name that does not exist', async () => {
    const check = open({ endpoint: 'http://no-such-host.invalid' }).check({ signal: never() });
    await expectFailure(check, 'UNAVAILABLE', /AwsS3Storage\.Endpoint/);
  });

  test('finds missing credentials', async () => {
    const names = [
      'AWS_EC2_METADATA_DISABLED',
      'AWS_SHARED_CREDENTIALS_FILE',
      'AWS_CONFIG_FILE',
    ] as const;
    const before = names.map((name) => [name, process.env[name]] as const);
    process.env['AWS_EC2_METADATA_DISABLED'] = 'true';
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = process.env['AWS_CONFIG_FILE'] = '/nonexistent';
    try {
      const store = open({ endpoint: server.endpoint, credentials: undefined });
      await expectFailure(
        store.check({ signal: never() }),
        'ACCESS_DENIED',
        /AwsS3Storage\.AccessKey/,
      );
      const read = store.get('key', undefined, makeSink(), { signal: never() });
      await expectFailure(read, 'ACCESS_DENIED', /AwsS3Storage\.AccessKey/);
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  });

  test('finds "https://" before a server of plain HTTP', async () => {
    const endpoint = server.endpoint.replace('http:', 'https:');
    await expectFailure(
      open({ endpoint }).check({ signal: never() }),
      'BAD_CONFIG',
      /does not speak TLS/,
    );
  });

  test('leaves nothing behind that would keep the event loop from ending', async () => {
    const store = open({ endpoint: server.endpoint });
    await store.check({ signal: never() });
    await store.close();
    await expect.poll(() => server.openSockets()).toBe(0);
  });
});

describe("credentials of the SDK's chain", () => {
  let server: ScriptedServer;

  beforeEach(async () => {
    server = await startScriptedServer({ answer: answerS3 });
    servers.push(server);
  });

  async function withEnvironment(
    variables: Readonly<Record<string, string>>,
    work: () => Promise<void>,
  ): Promise<void> {
    const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
    Object.assign(process.env, variables);
    try {
      await work();
    } finally {
      for (const [name, value] of before) {
        if (value === undefined) delete process.env[name];
        else process.env[name] = value;
      }
    }
  }

  test.each([{ lean: true }, { lean: false }])(
    'from the environment, with a session token (lean: $lean)',
    async ({ lean }) => {
      const variables = {
        AWS_ACCESS_KEY_ID: 'temporary-key',
        AWS_SECRET_ACCESS_KEY: 'temporary-secret',
        AWS_SESSION_TOKEN: 'session-token',
      };
      await withEnvironment(variables, async () => {
        const store = open({ endpoint: server.endpoint, credentials: undefined }, { lean });
        await store.put('key', makeBody(makeBytes(10)), { signal: never() });
      });
      const headers = server.requests[0]?.headers;
      expect(headers?.['x-amz-security-token']).toBe('session-token');
      expect(headers?.['authorization']).toContain('Credential=temporary-key/');
    },
  );

  test('of a web identity, asked for over our own connections', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    servers.push({ close: () => rm(folder, { recursive: true }) });
    await writeFile(join(folder, 'token'), 'the-token-of-the-pod');
    server.script(async ({ readBody, response }) => {
      expect((await readBody()).toString()).toContain('the-token-of-the-pod');
      const expiration = new Date(Date.now() + 3_600_000).toISOString();
      response.writeHead(200, { 'content-type': 'text/xml' }).end(
        `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
         <Credentials><AccessKeyId>assumed-key</AccessKeyId><SecretAccessKey>assumed-secret</SecretAccessKey>
         <SessionToken>assumed-token</SessionToken><Expiration>${expiration}</Expiration></Credentials>
         </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`,
      );
    });
    const variables = {
      AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, 'token'),
      AWS_ROLE_ARN: 'arn:aws:iam::111122223333:role/orthanc',
      AWS_ENDPOINT_URL_STS: server.endpoint,
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      AWS_CONFIG_FILE: '/nonexistent',
    };
    await withEnvironment(variables, async () => {
      const store = open({ endpoint: server.endpoint, credentials: undefined });
      await store.put('key', makeBody(makeBytes(10)), { signal: never() });
      await store.put('key', makeBody(makeBytes(10)), { signal: never() });
    });
    expect(server.requests.map(({ method }) => method)).toEqual(['POST', 'PUT', 'PUT']);
    expect(server.requests[1]?.headers['x-amz-security-token']).toBe('assumed-token');
  });
});

test('VirtualAddressing puts the bucket into the host name', async () => {
  // As the server's proxy, the scripted one sees names that no resolver knows.
  const server = await startScriptedServer({ answer: answerS3 });
  servers.push(server);
  const changes = { endpoint: 'http://store.test:9000', proxyUrl: new Secret(server.endpoint) };
  for (const lean of [true, false]) {
    const virtual = open({ ...changes, virtualAddressing: true }, { lean });
    await virtual.put('a/key', makeBody(makeBytes(10)), { signal: never() });
    expect(server.requests.at(-1)?.url).toMatch(/^http:\/\/bucket\.store\.test:9000\/a\/key/);
    expect(server.requests.at(-1)?.headers['host']).toBe('bucket.store.test:9000');
    const path = open({ ...changes, virtualAddressing: false }, { lean });
    await path.put('a/key', makeBody(makeBytes(10)), { signal: never() });
    expect(server.requests.at(-1)?.url).toMatch(/^http:\/\/store\.test:9000\/bucket\/a\/key/);
  }
});

describe('TLS', () => {
  const certificate = makeCertificate();
  let folder: string;
  let server: ScriptedServer;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    await writeFile(join(folder, 'ca.pem'), certificate.cert);
    server = await startScriptedServer({ answer: answerS3, certificate });
    servers.push(server, { close: () => rm(folder, { recursive: true }) });
  });

  test('with HttpsCACertificates: contents are exact, and not hashed for the signature', async () => {
    const store = open({ endpoint: server.endpoint, caCertificatesFile: join(folder, 'ca.pem') });
    const bytes = makeBytes(3_000_000);
    await store.put('key', makeBody(bytes), { signal: never() });
    const sink = makeSink();
    await store.get('key', undefined, sink, { signal: never() });
    expectSameBytes(sink.bytes(), bytes);
    expect(server.requests[0]?.headers['x-amz-content-sha256']).toBe('UNSIGNED-PAYLOAD');
    expect(server.requests[0]?.headers['x-amz-checksum-crc32']).toBeDefined();
  });

  test('a private authority that is not named is explained', async () => {
    const check = open({ endpoint: server.endpoint }).check({ signal: never() });
    await expectFailure(check, 'BAD_CONFIG', /HttpsCACertificates/);
  });

  test('"http://" before a server of TLS fails', async () => {
    const endpoint = server.endpoint.replace('https:', 'http:');
    const error = await expectFailure(
      open({ endpoint }).check({ signal: never() }),
      'UNAVAILABLE',
      /closed the connection/,
    );
    expect(error.message).toMatch(/https:/);
  });

  test.each([
    ['is not there', 'missing.pem'],
    ['holds no certificate', 'empty.pem'],
  ])('a file of authorities that %s is refused', async (_name, file) => {
    await writeFile(join(folder, 'empty.pem'), 'nothing');
    expect(() =>
      open({ endpoint: server.endpoint, caCertificatesFile: join(folder, file) }),
    ).toThrow(/HttpsCACertificates/);
  });
});

describe('HttpProxy', () => {
  test('plain HTTP goes through it as proxy requests, with user and password', async () => {
    const server = await startScriptedServer({ answer: answerS3 });
    const proxy = await startProxy();
    servers.push(server, proxy);
    const proxyUrl = new Secret(`http://user:pass%20word@127.0.0.1:${proxy.port}`);
    const store = open({ endpoint: server.endpoint, proxyUrl });
    await store.check({ signal: never() });
    await store.put('key', makeBody(makeBytes(2_000_000)), { signal: never() });
    expect(proxy.seen).toEqual(['GET', 'PUT']);
    expect(proxy.authorizations).toEqual(new Set([`Basic ${btoa('user:pass word')}`]));
    expect(server.objects.size).toBe(1);
  });

  test('TLS goes through it as a tunnel', async () => {
    const certificate = makeCertificate();
    const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    await writeFile(join(folder, 'ca.pem'), certificate.cert);
    const server = await startScriptedServer({ answer: answerS3, certificate });
    const proxy = await startProxy();
    servers.push(server, proxy, { close: () => rm(folder, { recursive: true }) });
    const store = open({
      endpoint: server.endpoint,
      caCertificatesFile: join(folder, 'ca.pem'),
      proxyUrl: new Secret(`http://127.0.0.1:${proxy.port}`),
    });
    await store.put('key', makeBody(makeBytes(2_000_000)), { signal: never() });
    expect(proxy.seen).toContain('CONNECT');
    expect(server.objects.size).toBe(1);
  });

  test('one that refuses is explained, without its password', async () => {
    const server = await startScriptedServer({ answer: answerS3 });
    const proxy = await startProxy({ refuse: true });
    servers.push(server, proxy);
    const proxyUrl = new Secret(`http://user:hidden@127.0.0.1:${proxy.port}`);
    for (const endpoint of [server.endpoint, 'https://127.0.0.1:9']) {
      const error = await expectFailure(
        open({ endpoint, proxyUrl }).check({ signal: never() }),
        'BAD_CONFIG',
        /HttpProxy/,
      );
      expect(error.message).not.toContain('hidden');
    }
  });

  test('one that is no URL is refused, without printing it', () => {
    const proxyUrl = new Secret('user:hidden');
    expect(() => open({ proxyUrl })).toThrow(/HttpProxy is not a URL/);
    expect(() => open({ proxyUrl })).not.toThrow(/hidden/);
  });
});
