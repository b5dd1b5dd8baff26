// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start, and the ways to a server: the mistakes that users of every provider make, and what each is told.

import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TlsOptions } from 'node:tls';
import { inspect } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { NetworkSettings } from '../../src/config/settings.ts';
import { StorageError } from '../../src/errors.ts';
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
import { answerText, expectSafeLine, HOSTILE_WORDS } from '../support/hostile-words.ts';
import {
  type AnswerFromMemory,
  hang,
  redirect,
  type ScriptedServer,
  STORE_HEADERS,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeProxies } from '../support/settings.ts';
import { useClosing } from './bench.ts';
import type { Explained } from './store-faults.ts';

/** No name server knows it: a proxy alone leads there. */
const PROXIED_HOST = 'store.test';

export interface StartTarget {
  readonly answer: AnswerFromMemory;
  /** @param endpoint of plain HTTP or of TLS */
  create(endpoint: string, changes: Partial<NetworkSettings>): ObjectStore;
  /** The methods of the requests that a check makes where all is well. */
  readonly checks: readonly string[];
  /** Names the setting that holds the endpoint, in messages. */
  readonly addressSetting: RegExp;
  /** The server's refusal, in its protocol, with words that the user is shown. */
  readonly refuse: (words: string) => Step;
  /** "Come again in so many seconds." */
  readonly throttled: (retryAfterS: number) => Step;
  /** What the server says to a check, and what the user is told. */
  readonly mistakes: readonly Explained[];
}

export function startFaults(target: StartTarget): void {
  const closing = useClosing();
  const open = (endpoint: string, changes: Partial<NetworkSettings> = {}) =>
    closing(target.create(endpoint, changes));
  const check = (store: ObjectStore) => store.check({ signal: never() });
  const startServer = async (options: Parameters<typeof startScriptedServer>[0] = {}) =>
    closing(await startScriptedServer({ answer: target.answer, ...options }));

  async function expectContents(store: ObjectStore): Promise<void> {
    const bytes = makeBytes(3_000_000);
    await store.put('key', makeBody(bytes), { signal: never() });
    const sink = makeSink();
    await store.get('key', undefined, sink, { signal: never() });
    expectSameBytes(sink.bytes(), bytes);
  }

  describe('the check at start', () => {
    let server: ScriptedServer;

    beforeEach(async () => {
      server = await startServer();
    });

    test('asks no more than it must where the answers are clear, and leaves nothing', async () => {
      await check(open(server.endpoint));
      expect(server.requests.map(({ method }) => method)).toEqual(target.checks);
      expect(server.objects.size).toBe(0);
    });

    test.each(target.mistakes)('finds %s', async (_name, answer, code, message) => {
      server.always(answer);
      await expectFailure(check(open(server.endpoint)), code, message);
    });

    describe.each(HOSTILE_WORDS)('says nothing that must not be said: %s', (_name, words) => {
      test.each([
        ['of the server', target.refuse(words)],
        ['of a gateway', answerText(words)],
      ])('%s', async (_whose, answer) => {
        server.always(answer);
        const start = performance.now();
        const thrown: unknown = await check(open(server.endpoint)).catch((error) => error);
        expect(performance.now() - start).toBeLessThan(2_000);
        expect(thrown).toBeInstanceOf(StorageError);
        expectSafeLine((thrown as StorageError).message);
        expect(inspect(thrown, { depth: 10 })).not.toContain('hunter2');
      });
    });

    test.each([200, 400, 502])('nor what headers must not say, status %i', async (status) => {
      server.always(async ({ readBody, response }) => {
        await readBody();
        response.writeHead(status, {
          'content-type': 'text/html; a=\u009b31m',
          server: 'nginx https://a.test/?sig=hunter2',
          via: '1.1 \u0085proxy http://user:hunter2@proxy.test',
        });
        response.end('<html>');
      });
      const failing = check(open(server.endpoint, { maxRetries: 0 }));
      const thrown: unknown = await failing.catch((error) => error);
      expect(thrown).toBeInstanceOf(StorageError);
      expect((thrown as StorageError).message).toContain('sig=[secret]');
      expectSafeLine((thrown as StorageError).message);
    });

    type Forge = (bytes: Buffer, first: number, last: number) => Buffer;

    /** Answers reads with every header right. */
    const forge =
      (range: Forge | undefined, whole: (bytes: Buffer) => Buffer = (bytes) => bytes): Step =>
      async ({ recorded, response, readBody, proceed }) => {
        const [object] = server.objects.values();
        const asked = recorded.headers['x-ms-range'] ?? recorded.headers['range'];
        const isRight = asked !== undefined && range === undefined;
        if (recorded.method !== 'GET' || object === undefined || isRight) {
          await proceed();
          return;
        }
        await readBody();
        const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(asked ?? '') ?? [];
        const { bytes, headers } = object;
        const isRange = asked !== undefined;
        const body = range && isRange ? range(bytes, Number(first), Number(last)) : whole(bytes);
        response.writeHead(isRange ? 206 : 200, {
          ...STORE_HEADERS,
          ...headers,
          'content-length': body.length,
          ...(isRange ? { 'content-range': `bytes ${first}-${last}/${bytes.length}` } : {}),
        });
        response.end(body);
      };
    test.each<[string, Step]>([
      ['from byte 0', forge((bytes, first, last) => bytes.subarray(0, last - first + 1))],
      ['a byte too late', forge((bytes, first, last) => bytes.subarray(first + 1, last + 2))],
      ['from the end', forge((bytes, first, last) => bytes.subarray(first - last - 1))],
      ['of zeros', forge((_bytes, first, last) => Buffer.alloc(last - first + 1))],
    ])('refuses a server that answers ranges %s', async (_name, answer) => {
      server.always(answer);
      const message = /answers ranges with the wrong bytes/;
      const error = await expectFailure(check(open(server.endpoint)), 'BAD_CONFIG', message);
      expect(error.message).toMatch(target.addressSetting);
      expect(error.message).toContain(server.endpoint);
      expect(server.objects.size).toBe(0);
    });

    test('refuses a server that does not know ranges', async () => {
      server.always(async (exchange) => {
        const { request, recorded } = exchange;
        for (const name of ['range', 'x-ms-range']) {
          delete request.headers[name];
          delete (recorded.headers as Record<string, string | undefined>)[name];
        }
        await exchange.proceed();
      });
      const message = /does not answer ranges as HTTP demands/;
      await expectFailure(check(open(server.endpoint)), 'BAD_CONFIG', message);
      expect(server.objects.size).toBe(0);
    });

    test('refuses a server that gives back another content', async () => {
      server.always(forge(undefined, (bytes) => Buffer.alloc(bytes.length)));
      await expectFailure(check(open(server.endpoint, { maxRetries: 0 })), 'INTEGRITY');
      expect(server.objects.size).toBe(0);
    });

    test('gives up a server that never answers within 10 s', async () => {
      server.always(hang());
      const start = performance.now();
      await expectFailure(check(open(server.endpoint)), 'TIMEOUT', target.addressSetting);
      expect(performance.now() - start).toBeLessThan(10_000);
    });

    test('tells what a server says that has it wait for longer than that', async () => {
      server.always(target.throttled(30));
      const message = /not done within 9 s; the last attempt that failed: the .* fewer requests/;
      const error = await expectFailure(check(open(server.endpoint)), 'TIMEOUT', message);
      expect(error.requestId).toBeDefined();
    });

    test('finds an address that nobody listens on at once', async () => {
      await server.close();
      const start = performance.now();
      const error = await expectFailure(
        check(open(server.endpoint)),
        'UNAVAILABLE',
        /nobody listens/,
      );
      expect(error.message).toMatch(target.addressSetting);
      expect(performance.now() - start).toBeLessThan(1_000);
    });

    test('finds a host name that does not exist', async () => {
      const store = open('http://no-such-host.invalid');
      await expectFailure(check(store), 'UNAVAILABLE', target.addressSetting);
    });

    test('finds "https://" before a server of plain HTTP', async () => {
      const store = open(server.endpoint.replace('http:', 'https:'));
      await expectFailure(check(store), 'BAD_CONFIG', /does not speak TLS/);
    });

    test.each([301, 302, 303, 307, 308])('shows where a redirect (%i) leads', async (status) => {
      const elsewhere = await startServer();
      server.always(redirect(status, `${elsewhere.endpoint}/sso/?token=hidden#hidden`));
      const error = await expectFailure(check(open(server.endpoint)), 'BAD_CONFIG');
      expect(error.message).toContain(
        `to "${elsewhere.endpoint}/sso/"; if the store is there, write "${elsewhere.endpoint}" into`,
      );
      expect(error.message).toMatch(target.addressSetting);
      expect(error.message).not.toContain('Region');
      expect(inspect(error, { depth: 10 })).not.toContain('hidden');
      expect(elsewhere.requests).toEqual([]);
    });

    test.each([
      ['to a page of the same server', '/sign-in?next=hidden', /"\/sign-in" of the same host/],
      ['with a password', 'https://user:hidden@other.test/', /"https:\/\/other.test"/],
      ['to no address', 'http://[hidden', /elsewhere; does/],
      ['to nothing like this', 'javascript:hidden', /elsewhere; does/],
      ['without Location', undefined, /elsewhere; does/],
    ])('shows where a redirect leads: %s', async (_name, location, message) => {
      server.always(redirect(302, location));
      const error = await expectFailure(check(open(server.endpoint)), 'BAD_CONFIG', message);
      expect(error.message).toMatch(target.addressSetting);
      expect(inspect(error, { depth: 10 })).not.toContain('hidden');
    });

    test.each(['text/html', 'text/plain'])(
      'a gateway that takes no large request is explained, %s',
      async (type) => {
        server.always(({ request, response }) => {
          request.resume();
          response
            .writeHead(413, { 'content-type': type, server: 'nginx' })
            .end('<html>413</html>');
        });
        const putting = open(server.endpoint).put('key', makeBody(makeBytes(3_000_000)), {
          signal: never(),
        });
        await expect(putting).rejects.toThrow(/no request of this size.*client_max_body_size/);
        expect(server.requests.length).toBeLessThanOrEqual(3);
      },
    );

    test('leaves nothing behind that would keep the event loop from ending', async () => {
      const store = open(server.endpoint);
      await check(store);
      await store.close();
      await expect.poll(() => server.openSockets()).toBe(0);
    });
  });

  describe('TLS', () => {
    const certificate = makeCertificate([PROXIED_HOST]);
    const root = makeCertificate([], { name: 'root' });
    const intermediate = makeCertificate([], { name: 'intermediate', issuer: root });
    const leaf = makeCertificate([PROXIED_HOST], { name: 'leaf', issuer: intermediate });
    const expired = makeCertificate([PROXIED_HOST], { days: [-2, -1] });
    const early = makeCertificate([PROXIED_HOST], { days: [1, 2] });
    const other = makeCertificate(['other.test']);
    let folder: string;
    let caCertificatesFile: string;
    let server: ScriptedServer;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
      caCertificatesFile = join(folder, 'ca.pem');
      await writeFile(caCertificatesFile, certificate.cert);
    });

    afterAll(() => rm(folder, { recursive: true }));

    /** A store at a server that is not 127.0.0.1 by its name. */
    async function openProxied(offered: TlsOptions, trusted: string): Promise<ObjectStore> {
      const own = await startServer({ certificate: offered });
      const proxy = closing(await startProxy({ targetPort: own.port }));
      const file = join(folder, 'trusted.pem');
      await writeFile(file, trusted);
      return open(`https://${PROXIED_HOST}`, {
        caCertificatesFile: file,
        proxies: makeProxies(`http://127.0.0.1:${proxy.port}`),
      });
    }

    beforeEach(async () => {
      server = await startServer({ certificate });
    });

    test('with HttpsCACertificates, contents are exact', async () => {
      await expectContents(open(server.endpoint, { caCertificatesFile }));
    });

    test('a private authority that is not named is explained', async () => {
      await expectFailure(check(open(server.endpoint)), 'BAD_CONFIG', /HttpsCACertificates/);
    });

    test.each([
      [
        'without the intermediate one',
        { cert: leaf.cert, key: leaf.key },
        root,
        /the server sends none that leads to a trusted one.* install the whole chain on the server/,
      ],
      [
        'of an authority that is not known',
        { cert: leaf.cert + intermediate.cert, key: leaf.key },
        other,
        /an authority that is not trusted.*name the authority's PEM file in.* HttpsCACertificates/,
      ],
      ['of nobody but itself', certificate, root, /signed by itself alone.*HttpsCACertificates/],
      ['that is too old', expired, expired, /has expired; renew it/],
      ['that is too new', early, early, /is not valid yet; set this machine's clock/],
      ['for another host', other, other, /is for another host name .*other\.test.*; correct /],
    ])('a certificate %s is explained', async (_name, offered, trusted, message) => {
      const store = await openProxied(offered, trusted.cert);
      await expectFailure(check(store), 'BAD_CONFIG', message);
    });

    test.each([
      ['a whole chain, and its authority', leaf.cert + intermediate.cert, root.cert],
      ['an intermediate authority that is named itself', leaf.cert, intermediate.cert],
      ['a certificate that is named itself', leaf.cert, leaf.cert],
    ])('trusts %s', async (_name, cert, trusted) => {
      await check(await openProxied({ cert, key: leaf.key }, trusted));
    });

    test('a server that demands a certificate of ours is explained', async () => {
      const demanding = { ...certificate, requestCert: true, ca: certificate.cert };
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        const store = await openProxied({ ...demanding, maxVersion }, certificate.cert);
        const error = await expectFailure(
          check(store),
          'BAD_CONFIG',
          /refuses TLS .*alert.* demand.* a certificate of its clients/,
        );
        expect(error.message).not.toContain('http:');
      }
    });

    test('"http://" before a server of TLS is explained', async () => {
      const store = open(server.endpoint.replace('https:', 'http:'));
      const error = await expectFailure(check(store), 'UNAVAILABLE', /closed the connection/);
      expect(error.message).toMatch(/https:/);
    });

    test('a pipe in the place of the file of authorities keeps nobody waiting', () => {
      const pipe = join(folder, 'pipe.pem');
      execFileSync('mkfifo', [pipe]);
      const failing = () => open(server.endpoint, { caCertificatesFile: pipe });
      expect(failing).toThrow(/HttpsCACertificates: .*pipe\.pem" is no file/);
    });

    test.each([
      ['is not there', 'missing.pem'],
      ['holds no certificate', 'empty.pem'],
    ])('a file of authorities that %s is refused', async (_name, file) => {
      await writeFile(join(folder, 'empty.pem'), 'nothing');
      const failing = () => open(server.endpoint, { caCertificatesFile: join(folder, file) });
      expect(failing).toThrow(/HttpsCACertificates/);
    });

    test('goes through HttpProxy as a tunnel', async () => {
      const proxy = closing(await startProxy({ targetPort: server.port }));
      const proxies = makeProxies(`http://127.0.0.1:${proxy.port}`);
      await expectContents(open(`https://${PROXIED_HOST}`, { caCertificatesFile, proxies }));
      expect(new Set(proxy.seen)).toEqual(new Set(['CONNECT']));
    });
  });

  describe('HttpProxy', () => {
    test('gets plain HTTP as proxy requests, with user and password', async () => {
      const server = await startServer();
      const proxy = closing(await startProxy({ targetPort: server.port }));
      const proxies = makeProxies(`http://user:pass%20word@127.0.0.1:${proxy.port}`);
      const store = open(`http://${PROXIED_HOST}`, { proxies });
      await check(store);
      await expectContents(store);
      expect(proxy.seen).toHaveLength(target.checks.length + 2);
      expect(proxy.authorizations).toEqual(new Set([`Basic ${btoa('user:pass word')}`]));
    });

    test('that refuses is explained, without its password', async () => {
      const proxy = closing(await startProxy({ refuse: true }));
      const proxies = makeProxies(`http://user:hidden@127.0.0.1:${proxy.port}`);
      for (const scheme of ['http', 'https']) {
        const store = open(`${scheme}://${PROXIED_HOST}`, { proxies });
        const error = await expectFailure(check(store), 'BAD_CONFIG', /HttpProxy/);
        expect(inspect(error, { depth: 10 })).not.toContain('hidden');
      }
    });

    test('that nobody listens at is told from a store that nobody listens at', async () => {
      const proxy = closing(await startProxy());
      await proxy.close();
      const proxies = makeProxies(`http://127.0.0.1:${proxy.port}`);
      const checking = check(open(`https://${PROXIED_HOST}`, { proxies }));
      await expectFailure(checking, 'UNAVAILABLE', /at the proxy on the way .* correct HttpProxy/);
    });

    test('is passed by on the way to this machine', async () => {
      const server = await startServer();
      const proxies = makeProxies('http://127.0.0.1:9');
      await check(open(server.endpoint, { proxies }));
    });

    test('that is no URL is refused, without printing it', async () => {
      const { endpoint } = await startServer();
      const failing = () => open(endpoint, { proxies: makeProxies('user:hidden') });
      expect(failing).toThrow(/HttpProxy: is not a URL/);
      expect(failing).not.toThrow(/hidden/);
    });
  });
}
