// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start: S3's own mistakes, policies and credentials, beside what all providers share.

import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { beforeEach, describe, expect, test } from 'vitest';
import type { StoreDependencies } from '../../src/config/settings.ts';
import type { StorageErrorCode } from '../../src/errors.ts';
import type { S3Settings } from '../../src/providers/s3/settings.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
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
import { startProxy } from '../support/forward-proxy.ts';
import { escapeXml } from '../support/hostile-words.ts';
import { answerS3, failS3 } from '../support/s3-memory.ts';
import {
  answerPage,
  hang,
  redirect,
  type ScriptedServer,
  STORE_HEADERS,
  type Step,
  startScriptedServer,
} from '../support/scripted-server.ts';
import { makeLogger, makeProxies, makeS3Settings } from '../support/settings.ts';
import { useClosing } from './bench.ts';
import { startFaults } from './start-faults.ts';

const closing = useClosing();

function open(
  { endpoint }: Pick<ScriptedServer, 'endpoint'>,
  changes: Partial<S3Settings> = {},
  deps: Partial<StoreDependencies> = {},
): ObjectStore {
  const settings = makeS3Settings({ endpoint, ...changes });
  return closing(createS3Store(settings, { log: makeLogger(), ...deps }));
}

/** AWS itself, for which the server of the test answers. */
function openAws(changes: Partial<S3Settings> = {}): ObjectStore {
  const endpoint = 'http://s3.us-east-1.amazonaws.com';
  return open({ endpoint }, { proxies: makeProxies(server.endpoint), ...changes });
}

const check = (store: ObjectStore) => store.check({ signal: never() });

const serverTime = new Date(Date.now() - 20 * 60_000).toUTCString();

/** A read of nothing; the probe, a range of it and the whole; the probe in parts; the probe removed. */
const PROBING = ['GET', 'PUT', 'GET', 'GET', 'POST', 'PUT', 'POST', 'DELETE'];

startFaults({
  answer: answerS3,
  checks: PROBING,
  create: (endpoint, changes) =>
    createS3Store(makeS3Settings({ endpoint, ...changes }), { log: makeLogger() }),
  refuse: (words) => failS3(403, 'AccessDenied', { message: escapeXml(words) }),
  throttled: (seconds) => failS3(503, 'SlowDown', { headers: { 'retry-after': String(seconds) } }),
  addressSetting: /AwsS3Storage\.Endpoint/,
  mistakes: [
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
      "a bucket at another endpoint, by S3's own word",
      failS3(301, 'PermanentRedirect', { xml: '<Endpoint>s3.eu-west-3.example.org</Endpoint>' }),
      'BAD_CONFIG',
      /another endpoint, "s3\.eu-west-3\.example\.org"/,
    ],
    [
      'a bucket that is elsewhere in the same region',
      failS3(307, 'TemporaryRedirect', {
        headers: {
          'x-amz-bucket-region': 'us-east-1',
          location: 'https://s3.example.org:9000/bucket/key?X-Amz-Signature=hidden',
        },
      }),
      'BAD_CONFIG',
      /to "https:\/\/s3\.example\.org:9000\/bucket\/key"; .* write "https:\/\/s3\.example\.org:9000" into AwsS3/,
    ],
    [
      'a wrong region',
      failS3(400, 'AuthorizationHeaderMalformed', { xml: '<Region>eu-west-3</Region>' }),
      'BAD_CONFIG',
      /eu-west-3.*AwsS3Storage\.Region/,
    ],
    [
      'a clock that is off, however it is corrected',
      failS3(403, 'RequestTimeTooSkewed', { headers: { date: serverTime } }),
      'ACCESS_DENIED',
      /2\d minutes ahead of/,
    ],
    ['a server that only fails', failS3(500, 'InternalError'), 'UNAVAILABLE', /500/],
  ],
});

let server: ScriptedServer;

beforeEach(async () => {
  server = closing(await startScriptedServer({ answer: answerS3 }));
});

test('of a redirect to a host for the bucket, the host without it belongs into Endpoint', async () => {
  const proxy = closing(await startProxy({ targetPort: server.port }));
  server.always(redirect(301, 'https://bucket.store.test/key'));
  const store = open(
    { endpoint: 'http://store.test' },
    { virtualAddressing: true, proxies: makeProxies(`http://127.0.0.1:${proxy.port}`) },
  );
  await expectFailure(
    check(store),
    'BAD_CONFIG',
    /to "https:\/\/bucket\.store\.test\/key"; if the store is there, write "https:\/\/store\.test" into/,
  );
});

describe('a policy', () => {
  test('that allows get, put and delete under RootPath and nothing else is enough', async () => {
    server.always(async (exchange) => {
      const path = new URL(exchange.recorded.url, 'http://server').pathname;
      const isKnown = server.objects.has(path);
      const isAllowed =
        path.startsWith('/bucket/archive/') &&
        // Without ListBucket a missing object is not told from a forbidden one.
        (exchange.recorded.method !== 'GET' || isKnown);
      await (isAllowed ? exchange.proceed() : failS3(403, 'AccessDenied')(exchange));
    });
    const store = open(server, {}, { probePrefix: 'archive' });
    await check(store);
    expect(server.requests.map(({ method }) => method)).toEqual(PROBING);
    expect(server.objects.size).toBe(0);
  });

  test.each([
    ['PUT', 'may list', /s3:PutObject/],
    ['DELETE', 'may list', /s3:DeleteObject/],
    ['PUT', 'may not list', /s3:PutObject/],
    ['DELETE', 'may not list', /s3:DeleteObject/],
  ])('that forbids %s, of who %s: the permission is named', async (method, listing, message) => {
    server.always(async (exchange) => {
      const isMissing = exchange.recorded.method === 'GET' && server.objects.size === 0;
      const isDenied =
        exchange.recorded.method === method || (isMissing && listing === 'may not list');
      await (isDenied ? failS3(403, 'AccessDenied')(exchange) : exchange.proceed());
    });
    await expectFailure(check(open(server)), 'ACCESS_DENIED', message);
  });

  test.each([
    [true, 1],
    [false, 0],
  ])(
    'that forbids to list is worth a warning where files have several names: %s',
    async (readsSeveralNames, warnings) => {
      server.script(failS3(403, 'AccessDenied'));
      const log = makeLogger();
      await check(open(server, {}, { readsSeveralNames, log }));
      expect(log.lines.filter((line) => line.includes('s3:ListBucket'))).toHaveLength(warnings);
    },
  );

  test('of encryption by KMS is tried by a real write, at AWS too', async () => {
    await check(openAws({ serverSideEncryption: 'aws:kms' }));
    expect(server.requests.map(({ method }) => method)).toEqual([
      'GET',
      'PUT',
      'GET',
      'GET',
      'DELETE',
    ]);
    expect(server.objects.size).toBe(0);
  });

  test('leaves nothing either where the server looks at no checksum', async () => {
    server.always(async ({ recorded, response, readBody, proceed }) => {
      if (recorded.method !== 'PUT') {
        await proceed();
        return;
      }
      const { pathname } = new URL(recorded.url, 'http://server');
      server.objects.set(pathname, { bytes: await readBody(), headers: STORE_HEADERS });
      response.writeHead(200, STORE_HEADERS).end();
    });
    await check(open(server));
    expect(server.objects.size).toBe(0);
  });

  test('is tried at AWS without a write that is stored, or a removal of anything', async () => {
    const stored = new Set<number>();
    server.always(async ({ recorded, proceed }) => {
      if (recorded.method === 'DELETE') expect(recorded.headers['if-match']).toBe('"none"');
      await proceed();
      stored.add(server.objects.size);
    });
    await check(openAws());
    expect(server.requests.map(({ method }) => method)).toEqual(['GET', 'PUT', 'DELETE']);
    expect([...stored]).toEqual([0]);
  });
});

describe('a server that is not quite S3', () => {
  const answerPut =
    (headers: Readonly<Record<string, string>>): Step =>
    async ({ recorded, response, readBody, proceed }) => {
      if (recorded.method !== 'PUT') {
        await proceed();
        return;
      }
      const { pathname } = new URL(recorded.url, 'http://server');
      const bytes = await readBody();
      server.objects.set(pathname, { bytes, headers: STORE_HEADERS });
      response.removeHeader('x-amz-request-id');
      response.writeHead(200, { 'content-length': '0', ...headers }).end();
    };

  test.each([
    ['tells no ETag (Ozone)', { 'x-amz-request-id': 'ID' }],
    [
      'calls an empty answer HTML (moto)',
      { 'x-amzn-requestid': 'ID', 'content-type': 'text/html; charset=utf-8', etag: '"etag"' },
    ],
    ['has none of the headers of S3', { etag: '"etag"' }],
  ])('may be one that %s', async (_name, headers) => {
    server.always(answerPut(headers));
    const store = open(server);
    await check(store);
    await store.put('key', makeBody(makeBytes(10)), { signal: never() });
    expect([...server.objects.keys()]).toEqual(['/bucket/key']);
  });

  test.each([
    ['API Gateway', { 'x-amz-apigw-id': 'ID', 'x-amzn-requestid': 'ID' }],
    ['a function behind a URL', { 'x-amzn-requestid': 'ID', 'content-type': 'application/json' }],
    ['CloudFront', { 'x-amz-cf-id': 'ID', 'content-type': 'text/html' }],
    [
      'a login page with an ETag',
      { etag: '"etag"', 'content-type': 'text/html', 'content-length': '5' },
    ],
  ])('is not %s', async (_name, headers: Readonly<Record<string, string>>) => {
    server.always(async ({ recorded, response, readBody, proceed }) => {
      await readBody();
      if (recorded.method !== 'PUT') {
        await proceed();
        return;
      }
      response.removeHeader('x-amz-request-id');
      response.writeHead(200, headers).end('hello');
    });
    await expectFailure(check(open(server)), 'UNAVAILABLE', /no store answers/);
  });

  test.each([['InitiateMultipartUpload'], ['InitiateMultipartUploadOutput']])(
    'may begin uploads by an element <%s>',
    async (root) => {
      const xml = `<?xml version="1.0"?>\n<${root}><UploadId>the-id</UploadId></${root}>`;
      server.always(async ({ recorded, response, readBody, proceed }) => {
        if (!(recorded.method === 'POST' && recorded.url.includes('uploads'))) {
          await proceed();
          return;
        }
        await readBody();
        server.uploads.set('the-id', new Map());
        response.writeHead(200, { 'content-type': 'text/xml' }).end(xml);
      });
      const store = open(server, {
        transfer: { always: true, poolSize: 2, partSizeBytes: 5_242_880 },
      });
      await check(store);
      const bytes = makeBytes(6_000_000);
      await store.put('key', makeBody(bytes), { signal: never() });
      expect(server.objects.get('/bucket/key')?.bytes.equals(bytes)).toBe(true);
    },
  );

  test.each([
    ['begin', 'POST', '?uploads'],
    ['take', 'PUT', 'partNumber='],
    ['complete', 'POST', 'uploadId='],
  ])('that cannot %s an upload in parts is told of', async (_step, method, query) => {
    server.always(async (exchange) => {
      const { recorded } = exchange;
      const isStep = recorded.method === method && recorded.url.includes(query);
      await (isStep ? failS3(501, 'NotImplemented')(exchange) : exchange.proceed());
    });
    const log = makeLogger();
    await check(open(server, {}, { log }));
    expect(log.lines).toEqual([
      expect.stringMatching(/^warning: .*more than 64 MB cannot be stored: .*NotImplemented/),
    ]);
    const always = { always: true, poolSize: 2, partSizeBytes: 5_242_880 };
    const checking = check(open(server, { transfer: always }));
    await expectFailure(checking, 'BAD_CONFIG', /cannot upload in parts/);
    expect(server.objects.size).toBe(0);
    expect(server.openUploads()).toBe(0);
  });
});

describe("credentials of the SDK's chain", () => {
  test('that are missing are explained', async () => {
    const variables = {
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      AWS_CONFIG_FILE: '/nonexistent',
    };
    await withEnvironment(variables, async () => {
      const store = open(server, { credentials: undefined });
      await expectFailure(check(store), 'ACCESS_DENIED', /AwsS3Storage\.AccessKey/);
      const read = store.get('key', undefined, makeSink(), { signal: never() });
      await expectFailure(read, 'ACCESS_DENIED', /AwsS3Storage\.AccessKey/);
    });
  });

  test('from the environment, with a session token', async () => {
    const variables = {
      AWS_ACCESS_KEY_ID: 'temporary-key',
      AWS_SECRET_ACCESS_KEY: 'temporary-secret',
      AWS_SESSION_TOKEN: 'session-token',
    };
    await withEnvironment(variables, async () => {
      const store = open(server, { credentials: undefined });
      await store.put('key', makeBody(makeBytes(10)), { signal: never() });
    });
    const headers = server.requests[0]?.headers;
    expect(headers?.['x-amz-security-token']).toBe('session-token');
    expect(headers?.['authorization']).toContain('Credential=temporary-key/');
  });

  test.each([
    ['a token that has expired', 400, 'ExpiredToken'],
    ['a key that is no more', 403, 'InvalidAccessKeyId'],
  ])('that were replaced in their file are read again: %s', async (_name, status, code) => {
    const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    closing({ close: () => rm(folder, { recursive: true }) });
    const file = join(folder, 'credentials');
    const write = (key: string) =>
      writeFile(
        file,
        `[default]\naws_access_key_id = ${key}\naws_secret_access_key = s\naws_session_token = t-${key}\n`,
      );
    await write('first');
    server.always(async (exchange) => {
      const isOld = exchange.recorded.headers['authorization']?.includes('Credential=first/');
      const isOver = isOld === true && server.requests.length > 1;
      await (isOver ? failS3(status, code)(exchange) : exchange.proceed());
    });
    const variables = {
      HOME: folder,
      AWS_ACCESS_KEY_ID: undefined,
      AWS_SECRET_ACCESS_KEY: undefined,
      AWS_SHARED_CREDENTIALS_FILE: file,
      AWS_CONFIG_FILE: '/nonexistent',
    };
    await withEnvironment(variables, async () => {
      const store = open(server, { credentials: undefined });
      const put = () => store.put('key', makeBody(makeBytes(10)), { signal: never() });
      await put();
      // Not replaced yet: said as it is, without asking again and again.
      await expectFailure(put(), 'ACCESS_DENIED');
      expect(server.requests.length).toBeLessThan(4);
      await write('second');
      await Promise.all([put(), put(), put()]);
      await put();
    });
    expect(server.requests.at(-1)?.headers['authorization']).toContain('Credential=second/');
  });

  describe('in the places of this machine', () => {
    let folder: string;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
      closing({ close: () => rm(folder, { recursive: true }) });
    });

    const nowhere = () => ({
      HOME: folder,
      AWS_ACCESS_KEY_ID: undefined,
      AWS_SECRET_ACCESS_KEY: undefined,
      AWS_PROFILE: undefined,
      AWS_SHARED_CREDENTIALS_FILE: undefined,
      AWS_CONFIG_FILE: undefined,
      AWS_WEB_IDENTITY_TOKEN_FILE: undefined,
      AWS_ROLE_ARN: undefined,
      AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: undefined,
      AWS_CONTAINER_CREDENTIALS_FULL_URI: undefined,
      AWS_EC2_METADATA_DISABLED: 'true',
    });
    type Changes = Readonly<Record<string, string | undefined>>;

    async function messageOf(
      changes: Changes,
      code: StorageErrorCode,
      settings: Partial<S3Settings> = {},
    ): Promise<string> {
      let message = '';
      await withEnvironment({ ...nowhere(), ...changes }, async () => {
        const store = open(server, { credentials: undefined, ...settings });
        const error = await expectFailure(check(store), code);
        message = error.message;
        expect(inspect(error, { depth: 10 })).not.toMatch(
          /hunter2|printed-secret|secret-argument|secret-of-the-answer/,
        );
      });
      // The bucket has not been asked, and is not to blame.
      expect(server.requests).toEqual([]);
      expect(message).not.toMatch(/AwsS3Storage\.Endpoint|s3:PutObject/);
      return message;
    }

    /** @returns the command for a profile */
    async function writeProgram(...lines: readonly string[]): Promise<string> {
      const path = join(folder, 'give-credentials');
      await writeFile(path, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o700 });
      return path;
    }

    async function writeConfig(text: string): Promise<Changes> {
      const path = join(folder, 'config');
      await writeFile(path, text);
      return { AWS_CONFIG_FILE: path };
    }

    const put = async (changes: Changes, times = 1, afterwards = () => Promise.resolve()) => {
      await withEnvironment({ ...nowhere(), ...changes }, async () => {
        const store = open(server, { credentials: undefined });
        for (let time = 0; time < times; time++) {
          await store.put('key', makeBody(makeBytes(10)), { signal: never() });
        }
        await afterwards();
      });
    };
    const keysUsed = () =>
      server.requests.map(
        ({ headers }) => /Credential=([^/]+)/.exec(headers['authorization'] ?? '')?.[1],
      );

    test('that were all looked at are listed, with what was missing in each', async () => {
      const message = await messageOf({}, 'ACCESS_DENIED');
      for (const part of [
        'the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set)',
        `the profile "default" (no such file ${folder}/.aws/credentials, no such file ${folder}/.aws/config)`,
        'web identity (AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are not set)',
        'neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set',
        "an instance's metadata (switched off by AWS_EC2_METADATA_DISABLED)",
        'AwsS3Storage.AccessKey',
      ]) {
        expect(message).toContain(part);
      }
    });

    test('that have half of it, or another profile, say so', async () => {
      const config = await writeConfig('[profile other]\naws_access_key_id = x\n');
      const half = await messageOf({ ...config, AWS_ACCESS_KEY_ID: 'key' }, 'ACCESS_DENIED');
      expect(half).toContain('the environment (AWS_SECRET_ACCESS_KEY is not set)');
      const named = await messageOf(
        { ...config, AWS_PROFILE: 'mine', AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' },
        'ACCESS_DENIED',
      );
      expect(named).toContain('the environment (not used, since AWS_PROFILE is set)');
      expect(named).toContain(`not in ${folder}/config, which AWS_CONFIG_FILE names`);
    });

    test('a program of credential_process that fails: its words, without its arguments', async () => {
      const program = await writeProgram(
        'echo "{ \\"SecretAccessKey\\": \\"printed-secret\\" }"',
        'echo "vault: sealed, called with $2" >&2',
        'exit 3',
      );
      const config = await writeConfig(
        `[profile vault]\ncredential_process = ${program} --password hunter2-secret\n`,
      );
      const message = await messageOf({ ...config, AWS_PROFILE: 'vault' }, 'ACCESS_DENIED');
      expect(message).toContain(
        'the program "give-credentials" that credential_process of the profile "vault" names failed: vault: sealed, called with …',
      );
      expect(message).not.toMatch(/hunter2|printed-secret|password/);
    });

    test.each([
      ['is not there', undefined, /"no-such-program".* failed: .*not found/],
      ['prints no JSON', 'echo printed-secret', /"give-credentials".* invalid JSON/],
      ['fails without a word', 'exit 1', /"give-credentials".* failed without a word/],
      [
        'prints another version',
        `echo '{"Version":2,"SecretAccessKey":"printed-secret"}'`,
        /Version 1/,
      ],
    ])('a program of credential_process that %s', async (_name, line, expected) => {
      const program =
        line === undefined ? join(folder, 'no-such-program') : await writeProgram(line);
      const config = await writeConfig(`[default]\ncredential_process = ${program}\n`);
      const message = await messageOf(config, 'ACCESS_DENIED');
      expect(message).toMatch(expected);
      expect(message).not.toContain('printed-secret');
    });

    test('a program that hangs is named by the check, and by operations', async () => {
      const program = await writeProgram('exec sleep 11');
      const config = await writeConfig(
        `[profile hanging]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = inner\n[profile inner]\ncredential_process = ${program} secret-argument\n`,
      );
      const changes = { ...config, AWS_PROFILE: 'hanging' };
      const settings = { requestTimeoutMs: 1_200_000 };
      const message = await messageOf(changes, 'TIMEOUT', settings);
      const expected =
        /no answer from the program "give-credentials" that credential_process of the profile "inner" names/;
      expect(message).toMatch(expected);
      expect(message).not.toMatch(/STS|secret-argument/);
      await withEnvironment({ ...nowhere(), ...changes }, async () => {
        const store = withDeadline(
          open(server, { credentials: undefined, requestTimeoutMs: 4_000 }),
          4_000,
        );
        const reading = store.get('key', undefined, makeSink(), { signal: never() });
        await expectFailure(reading, 'TIMEOUT', expected);
      });
    });

    test('a program whose credentials end soon is asked again behind', async () => {
      const soon = new Date(Date.now() + 60_000).toISOString();
      const program = await writeProgram(
        `echo run >> ${join(folder, 'runs')}`,
        `echo '{"Version":1,"AccessKeyId":"of-the-program","SecretAccessKey":"s","Expiration":"${soon}"}'`,
      );
      const runs = async () =>
        (await readFile(join(folder, 'runs'), 'utf8')).split('run').length - 1;
      await put(await writeConfig(`[default]\ncredential_process = ${program}\n`), 3, async () => {
        await expect.poll(runs, { timeout: 10_000 }).toBeGreaterThan(1);
      });
      expect(new Set(keysUsed())).toEqual(new Set(['of-the-program']));
    });

    test('a profile for which nobody is signed in', async () => {
      const config = await writeConfig(
        '[profile sso]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n[sso-session s]\nsso_region = eu-west-1\nsso_start_url = https://x.awsapps.com/start\n',
      );
      const message = await messageOf({ ...config, AWS_PROFILE: 'sso' }, 'ACCESS_DENIED');
      expect(message).toMatch(/no credentials from the profile "sso" .*aws sso login/);
    });

    describe('over HTTP', () => {
      let service: ScriptedServer;
      const found = (id: string) =>
        JSON.stringify({
          Code: 'Success',
          AccessKeyId: id,
          SecretAccessKey: 'secret',
          Token: 'token',
          Expiration: new Date(Date.now() + 3_600_000).toISOString(),
        });
      const answer =
        (status: number, body: string): Step =>
        ({ response }) => {
          response.writeHead(status, { 'content-type': 'application/json' }).end(body);
        };

      beforeEach(async () => {
        service = closing(await startScriptedServer());
      });

      test('a container that has a role is asked, and no instance', async () => {
        service.always(answer(200, found('of-the-container')));
        await put({ AWS_CONTAINER_CREDENTIALS_FULL_URI: `${service.endpoint}/v1/credentials` });
        expect(keysUsed()).toEqual(['of-the-container']);
      });

      test('a container that is refused: the variable, and what was said', async () => {
        service.always(
          answer(400, '{"Code":"AccessDenied","Message":"no association for this pod"}'),
        );
        const uri = `${service.endpoint}/v1/credentials`;
        const changes = { AWS_CONTAINER_CREDENTIALS_FULL_URI: uri };
        const message = await messageOf(changes, 'ACCESS_DENIED');
        expect(message).toMatch(
          /AWS_CONTAINER_CREDENTIALS_FULL_URI names: .*status: 400, AccessDenied: no association/,
        );
      });

      test('a container that answers no JSON: nothing of the answer is repeated', async () => {
        service.always(answer(200, 'secret-of-the-answer'));
        const changes = { AWS_CONTAINER_CREDENTIALS_FULL_URI: `${service.endpoint}/v1` };
        const message = await messageOf(changes, 'ACCESS_DENIED');
        expect(message).toMatch(/no credentials from a container .*the answer is no JSON/);
        expect(message).not.toContain('secret-of');
      });

      const metadata = () => ({
        AWS_EC2_METADATA_DISABLED: undefined,
        AWS_EC2_METADATA_SERVICE_ENDPOINT: service.endpoint,
      });

      test('an instance that has a role is asked', async () => {
        service.always(({ recorded, response }) => {
          const last = recorded.url.endsWith('/orthanc-role');
          response.end(
            recorded.method === 'PUT'
              ? 'session'
              : last
                ? found('of-the-instance')
                : 'orthanc-role',
          );
        });
        await put(metadata());
        expect(keysUsed()).toEqual(['of-the-instance']);
      });

      test('an instance without a role, and one that does not answer', async () => {
        service.always(answer(404, ''));
        expect(await messageOf(metadata(), 'ACCESS_DENIED')).toMatch(
          /an instance's metadata \(there, but no role is attached to this instance\)/,
        );
        await service.close();
        expect(await messageOf(metadata(), 'ACCESS_DENIED')).toMatch(
          /an instance's metadata \(no answer, ECONNREFUSED\)/,
        );
      });
    });
  });

  describe('by web identity', () => {
    let folder: string;
    let sts: ScriptedServer;

    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
      closing({ close: () => rm(folder, { recursive: true }) });
      await writeFile(join(folder, 'token'), 'the-token-of-the-pod');
      sts = closing(await startScriptedServer());
    });

    const variables = () => ({
      AWS_PROFILE: undefined,
      AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, 'token'),
      AWS_ROLE_ARN: 'arn:aws:iam::111122223333:role/orthanc',
      AWS_ENDPOINT_URL_STS: sts.endpoint,
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      AWS_CONFIG_FILE: '/nonexistent',
    });

    async function expectRefusal(
      changes: Readonly<Record<string, string | undefined>>,
      code: StorageErrorCode,
      message: RegExp,
    ): Promise<void> {
      await withEnvironment({ ...variables(), ...changes }, async () => {
        const store = open(server, { credentials: undefined, requestTimeoutMs: 1_200_000 });
        const error = await expectFailure(check(store), code, message);
        // It has not been asked.
        expect(error.message).not.toMatch(/AwsS3Storage\.Endpoint|s3:PutObject/);
        expect(inspect(error, { depth: 10 })).not.toContain('the-token-of-the-pod');
      });
      expect(server.requests).toEqual([]);
    }

    test.each([
      [403, 'AccessDenied', /role\/orthanc; correct the role's trust policy/],
      [400, 'InvalidIdentityToken', /role\/orthanc; correct the role's trust policy/],
      [
        400,
        'ExpiredTokenException',
        /token has expired; see to what renews .*token", which AWS_WEB_IDENTITY_TOKEN_FILE/,
      ],
      [400, 'MalformedPolicyDocument', /gives out no credentials for the role.*MalformedPolicy/],
    ])('that is refused with %i %s', async (status, name, message) => {
      sts.always(({ response }) => {
        response
          .writeHead(status, { 'content-type': 'text/xml' })
          .end(
            `<ErrorResponse><Error><Type>Sender</Type><Code>${name}</Code><Message>words</Message></Error></ErrorResponse>`,
          );
      });
      await expectRefusal({}, 'ACCESS_DENIED', message);
    });

    test('of a gateway that answers in its place', async () => {
      sts.always(answerPage(502));
      const words = /gives out no credentials for the role.*status 502, text\/html.*some-filter/;
      await expectRefusal({}, 'ACCESS_DENIED', words);
    });

    test('of a server where nobody listens', async () => {
      await sts.close();
      await expectRefusal({}, 'UNAVAILABLE', /nobody listens at .*STS.*AWS_ENDPOINT_URL_STS/);
    });

    test('of a server that no name server knows', async () => {
      const changes = { AWS_ENDPOINT_URL_STS: 'http://sts.invalid' };
      await expectRefusal(changes, 'UNAVAILABLE', /host name of .*STS.*AWS_ENDPOINT_URL_STS/);
    });

    test('with a token file that is not there', async () => {
      const changes = { AWS_WEB_IDENTITY_TOKEN_FILE: join(folder, 'missing') };
      await expectRefusal(
        changes,
        'ACCESS_DENIED',
        /missing".*correct AWS_WEB_IDENTITY_TOKEN_FILE/,
      );
    });

    test('with the name of a profile that is not there', async () => {
      const changes = { AWS_PROFILE: 'nobody', AWS_WEB_IDENTITY_TOKEN_FILE: undefined };
      await expectRefusal(changes, 'ACCESS_DENIED', /profile "nobody" that AWS_PROFILE names/);
    });

    test('of a server that never answers: the check gives up in time', async () => {
      sts.always(hang());
      const start = performance.now();
      await expectRefusal({}, 'TIMEOUT', /no answer from .*STS.*AWS_ENDPOINT_URL_STS/);
      expect(performance.now() - start).toBeLessThan(10_000);
    });
  });

  test('of a web identity, asked for over our own connections', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    closing({ close: () => rm(folder, { recursive: true }) });
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
      const store = open(server, { credentials: undefined });
      await store.put('key', makeBody(makeBytes(10)), { signal: never() });
      await store.put('key', makeBody(makeBytes(10)), { signal: never() });
    });
    expect(server.requests.map(({ method }) => method)).toEqual(['POST', 'PUT', 'PUT']);
    expect(server.requests[1]?.headers['x-amz-security-token']).toBe('assumed-token');
  });
});

test('VirtualAddressing puts the bucket into the host name', async () => {
  // As the server's proxy, the scripted one sees names that no resolver knows.
  const server = closing(await startScriptedServer({ answer: answerS3 }));
  const store = { endpoint: 'http://store.test:9000' };
  const proxies = makeProxies(server.endpoint);
  const virtual = open(store, { proxies, virtualAddressing: true });
  await virtual.put('a/key', makeBody(makeBytes(10)), { signal: never() });
  expect(server.requests.at(-1)?.url).toMatch(/^http:\/\/bucket\.store\.test:9000\/a\/key/);
  expect(server.requests.at(-1)?.headers['host']).toBe('bucket.store.test:9000');
  const path = open(store, { proxies, virtualAddressing: false });
  await path.put('a/key', makeBody(makeBytes(10)), { signal: never() });
  expect(server.requests.at(-1)?.url).toMatch(/^http:\/\/store\.test:9000\/bucket\/a\/key/);
});

describe('buckets of other kinds', () => {
  test('a directory bucket (S3 Express) is served by sessions', async () => {
    const server = closing(await startScriptedServer({ answer: answerS3 }));
    const session = `<CreateSessionResult><Credentials><AccessKeyId>session-key</AccessKeyId><SecretAccessKey>session-secret</SecretAccessKey><SessionToken>session-token</SessionToken><Expiration>${new Date(Date.now() + 300_000).toISOString()}</Expiration></Credentials></CreateSessionResult>`;
    server.always(async ({ recorded, response, proceed }) => {
      if (recorded.url.includes('?session')) response.end(session);
      else await proceed();
    });
    const store = open(
      { endpoint: 'http://s3express-use1-az4.us-east-1.amazonaws.com' },
      {
        bucketName: 'images--use1-az4--x-s3',
        virtualAddressing: true,
        proxies: makeProxies(server.endpoint),
        transfer: { always: true, poolSize: 2, partSizeBytes: 5 * 1024 * 1024 },
      },
    );
    await check(store);
    const options = { signal: never() };
    const bytes = makeBytes(6_000_000);
    await store.put('key', makeBody(bytes), options);
    const sink = makeSink();
    await store.get('key', undefined, sink, options);
    expectSameBytes(sink.bytes(), bytes);
    const [first, ...others] = server.requests;
    expect(first?.url).toMatch(/^http:\/\/images--use1-az4--x-s3\.s3express-use1-az4\..*\?session/);
    const own = others.filter(({ url }) => !url.includes('?session'));
    expect(own).toHaveLength(server.requests.length - 2);
    for (const { headers } of own) {
      expect(headers['x-amz-s3session-token']).toBe('session-token');
      expect(headers['authorization']).toMatch(/Credential=session-key\/.*\/s3express\//);
    }
  });

  test('a session that is refused is explained like any other request', async () => {
    const server = closing(await startScriptedServer({ answer: answerS3 }));
    server.always(failS3(403, 'AccessDenied'));
    const store = open(
      { endpoint: 'http://s3express-use1-az4.us-east-1.amazonaws.com' },
      {
        bucketName: 'images--use1-az4--x-s3',
        virtualAddressing: true,
        proxies: makeProxies(server.endpoint),
      },
    );
    await expectFailure(check(store), 'ACCESS_DENIED', /access is denied to these credentials/);
  });

  test('a multi-region access point is refused by name, and nothing is sent', async () => {
    const bucketName = 'arn:aws:s3::111122223333:accesspoint/mfzwi23gnjvgw.mrap';
    const changes = { bucketName, endpoint: undefined, virtualAddressing: true };
    const store = open(server, changes);
    const message = /^AwsS3Storage\.BucketName: .*multi-region access point.*write the name of one/;
    await expectFailure(check(store), 'BAD_CONFIG', message);
    await expectFailure(store.head('key', { signal: never() }), 'BAD_CONFIG', message);
  });
});

describe('the wrong style of address', () => {
  const store = { endpoint: 'http://store.test:9000' };

  test.each([
    ['there is no such bucket', 404, 'NoSuchBucket', /no such bucket/],
    ['the name is none of a bucket', 400, 'InvalidBucketName', /not a valid bucket name/],
    ['the user may not use that bucket', 403, 'AccessDenied', /access is denied/],
  ])(
    'a server that takes the key for the bucket says that %s',
    async (_name, status, code, message) => {
      server.always(failS3(status, code, { xml: '<BucketName>orthanc-probe</BucketName>' }));
      const changes = { proxies: makeProxies(server.endpoint), virtualAddressing: true };
      const error = await expectFailure(
        check(open(store, changes)),
        code === 'AccessDenied' ? 'ACCESS_DENIED' : 'BAD_CONFIG',
        /looked for a bucket "orthanc-probe"; set AwsS3Storage\.VirtualAddressing to false/,
      );
      expect(error.message).toMatch(message);
      // Where the bucket is in the path already, that is not it.
      const pathStyle = check(open(store, { ...changes, virtualAddressing: false }));
      await expect(pathStyle).rejects.not.toThrow(/VirtualAddressing/);
    },
  );

  test('a host name of the bucket that no name server knows', async () => {
    const changes = { endpoint: 'http://store.invalid', virtualAddressing: true };
    const message = /cannot be resolved.*AwsS3Storage\.VirtualAddressing to false/;
    await expectFailure(check(open(server, changes)), 'UNAVAILABLE', message);
  });

  test('a certificate that is not for the host name of the bucket', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    closing({ close: () => rm(folder, { recursive: true }) });
    const caCertificatesFile = join(folder, 'ca.pem');
    const certificate = makeCertificate(['store.test']);
    await writeFile(caCertificatesFile, certificate.cert);
    const secure = closing(await startScriptedServer({ answer: answerS3, certificate }));
    const proxy = closing(await startProxy({ targetPort: secure.port }));
    const proxies = makeProxies(`http://127.0.0.1:${proxy.port}`);
    const changes = { endpoint: 'https://store.test', caCertificatesFile, proxies };
    await check(open(secure, { ...changes, virtualAddressing: false }));
    await expectFailure(
      check(open(secure, { ...changes, virtualAddressing: true })),
      'BAD_CONFIG',
      /for another host name.*AwsS3Storage\.VirtualAddressing to false/,
    );
  });
});

test('a signature that a proxy of the settings may have broken names the proxy', async () => {
  server.always(failS3(403, 'SignatureDoesNotMatch'));
  const store = open({ endpoint: 'http://store.test' }, { proxies: makeProxies(server.endpoint) });
  await expectFailure(check(store), 'ACCESS_DENIED', /requests go through HttpProxy/);
});

test.each([
  [400, 'BadDigest', 'The CRC32 you specified did not match', 'INTEGRITY'],
  [400, 'BadRequest', 'Value for x-amz-checksum-crc32 header is invalid.', 'BAD_CONFIG'],
  [400, 'MalformedXML', 'The XML you provided was not well-formed', 'BAD_CONFIG'],
  [400, 'InvalidRequest', 'The upload was created using a checksum type', 'BAD_CONFIG'],
] as const)(
  'a completion refused with %i %s, "%s", names ChecksumMode',
  async (status, name, message, code) => {
    const transfer = { always: true, poolSize: 2, partSizeBytes: 5 * 1024 * 1024 };
    server.always(async (exchange) => {
      const isCompletion =
        exchange.recorded.method === 'POST' && exchange.recorded.url.includes('uploadId=');
      await (isCompletion ? failS3(status, name, { message })(exchange) : exchange.proceed());
    });
    const put = (checksumMode: S3Settings['checksumMode']) =>
      open(server, { transfer, maxRetries: 1, checksumMode }).put(
        'key',
        makeBody(makeBytes(6_000_000)),
        { signal: never() },
      );
    const error = await expectFailure(put('WhenSupported'), code, /ChecksumMode "WhenRequired"/);
    expect(error.message).toContain(message);
    // Whoever has done so already is not told to.
    await expect(put('WhenRequired')).rejects.not.toThrow(/ChecksumMode/);
  },
);

test('over TLS, contents are not hashed for the signature', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  closing({ close: () => rm(folder, { recursive: true }) });
  const caCertificatesFile = join(folder, 'ca.pem');
  const certificate = makeCertificate();
  await writeFile(caCertificatesFile, certificate.cert);
  const secure = closing(await startScriptedServer({ answer: answerS3, certificate }));
  const store = open(secure, { caCertificatesFile });
  await store.put('key', makeBody(makeBytes(10)), { signal: never() });
  expect(secure.requests[0]?.headers['x-amz-content-sha256']).toBe('UNSIGNED-PAYLOAD');
  expect(secure.requests[0]?.headers['x-amz-checksum-crc32']).toBeDefined();
});

test('a server that only a profile of the SDK names is tried like any other', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  closing({ close: () => rm(folder, { recursive: true }) });
  const file = join(folder, 'config');
  await writeFile(file, `[profile site]\nendpoint_url = ${server.endpoint}\n`);
  await withEnvironment({ AWS_PROFILE: 'site', AWS_CONFIG_FILE: file }, async () => {
    const settings = makeS3Settings({ endpoint: undefined, virtualAddressing: false });
    const store = closing(createS3Store(settings, { log: makeLogger() }));
    await check(store);
    expect(server.requests.map(({ method }) => method)).toEqual(PROBING);
    await store.put('key', makeBody(makeBytes(10)), { signal: never() });
    // Without TLS, the signature covers the content.
    const sent = server.requests.at(-1);
    expect(sent?.headers['x-amz-content-sha256']).toMatch(/^[0-9a-f]{64}$/);
  });
});
