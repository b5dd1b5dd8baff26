// SPDX-License-Identifier: GPL-3.0-or-later

import { S3Client } from '@aws-sdk/client-s3';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Headers } from '../../../../src/http/transport.ts';
import { encode } from '../../../../src/providers/s3/requests.ts';
import { createSigner, type Keys, type Unsigned } from '../../../../src/providers/s3/sign.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

interface Scope {
  readonly region: string;
  readonly service: string;
}

/** By the SDK's signer. */
async function signBySdk(
  request: Unsigned,
  keys: Keys,
  timeMs: number,
  { region, service }: Scope,
  isExpress: boolean,
) {
  const client = new S3Client({ region, credentials: keys });
  const name = isExpress ? 'sigv4-s3express' : 'sigv4';
  const scheme = { name, signingRegion: region, signingName: service, properties: {} };
  const signer = (await client.config.signer(scheme)) as unknown as SdkSigner;
  const how = {
    signingDate: new Date(timeMs),
    signingRegion: region,
    signingService: service,
  };
  const unsigned = {
    ...request,
    headers: { ...request.headers } as Record<string, string>,
    protocol: 'https:',
  };
  unsigned.headers['host'] = request.host;
  const sent = { ...unsigned, hostname: request.host, query: { ...request.query } };
  const signed = isExpress
    ? await signer.signWithCredentials(sent, keys, how)
    : await signer.sign(sent, how);
  return signed.headers;
}

interface SdkSigner {
  sign(request: object, how: object): Promise<{ readonly headers: Headers }>;
  signWithCredentials(
    request: object,
    session: object,
    how: object,
  ): Promise<{ readonly headers: Headers }>;
}

const name = fc.stringMatching(/^[a-z-]+$/);
const value = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.stringMatching(/^[ \t]*[!-~]*[ \t]+[!-~]*[ \t]*$/),
);
const request: fc.Arbitrary<Unsigned> = fc.record({
  host: fc.constantFrom('server', 'bucket.s3.eu-central-1.amazonaws.com', '[::1]:9000'),
  method: fc.constantFrom('GET', 'PUT', 'HEAD', 'DELETE', 'POST'),
  path: fc
    .array(fc.string({ unit: 'grapheme' }))
    .map((parts) => `/${parts.map((part) => encode(part)).join('/')}`),
  query: fc.dictionary(
    // Which the SDK's own copy of the query loses.
    fc.string({ unit: 'grapheme' }).filter((key) => key !== '__proto__'),
    fc.string({ unit: 'grapheme' }),
  ),
  headers: fc
    .tuple(
      fc.dictionary(
        name.map((rest) => `x-amz-meta-${rest}`),
        value,
      ),
      fc.record(
        {
          range: fc.constant('bytes=0-4095'),
          'if-match': value,
          'content-length': fc.nat().map(String),
          'content-md5': fc.base64String(),
          'x-amz-content-sha256': fc.constantFrom('UNSIGNED-PAYLOAD', 'a'.repeat(64)),
          'x-amz-tagging': value,
        },
        { requiredKeys: [] },
      ),
    )
    .map(([metadata, others]) => ({ ...metadata, ...others })),
});
const keys: fc.Arbitrary<Keys> = fc.record(
  {
    accessKeyId: fc.stringMatching(/^[A-Z0-9]{16,20}$/),
    secretAccessKey: fc.string({ minLength: 1, unit: 'grapheme' }),
    sessionToken: fc.base64String(),
  },
  { requiredKeys: ['accessKeyId', 'secretAccessKey'] },
);
const scope: fc.Arbitrary<Scope> = fc.record({
  region: fc.constantFrom('us-east-1', 'eu-central-2', 'auto'),
  service: fc.constantFrom('s3', 's3-outposts', 's3express'),
});
const timeMs = fc.integer({ min: 0, max: Date.UTC(2100, 0) });

test('signs any request as the SDK does', async () => {
  const property = fc.asyncProperty(request, keys, timeMs, scope, async (...given) => {
    const [unsigned, withKeys, time, { region, service }] = given;
    const sign = createSigner(region, service, 'x-amz-security-token');
    expect(sign(unsigned, withKeys, time)).toEqual(await signBySdk(...given, false));
  });
  await fc.assert(property, { numRuns: 300 });
});

test('signs for a session of S3 Express as the SDK does', async () => {
  const session = fc.record({
    accessKeyId: fc.constant('ID'),
    secretAccessKey: fc.base64String({ minLength: 4 }),
    sessionToken: fc.base64String({ minLength: 4 }),
  });
  const property = fc.asyncProperty(request, session, timeMs, scope, async (...given) => {
    const [unsigned, withKeys, time, { region, service }] = given;
    const sign = createSigner(region, service, 'x-amz-s3session-token');
    expect(sign(unsigned, withKeys, time)).toEqual(await signBySdk(...given, true));
  });
  await fc.assert(property, { numRuns: 50 });
});

test('takes other keys and another day into account at once', async () => {
  const where: Scope = { region: 'us-east-1', service: 's3' };
  const sign = createSigner(where.region, where.service, 'x-amz-security-token');
  const unsigned: Unsigned = {
    host: 'server',
    method: 'GET',
    path: '/key',
    query: {},
    headers: {},
  };
  const noonMs = Date.UTC(2026, 10, 30, 12);
  const [first, second] = ['first', 'second'].map((secret) => ({
    accessKeyId: secret.toUpperCase(),
    secretAccessKey: secret,
  })) as [Keys, Keys];
  for (const [withKeys, time] of [
    [first, noonMs],
    [second, noonMs],
    [second, noonMs + DAY_MS],
    [first, noonMs],
    [{ ...first, secretAccessKey: 'third' }, noonMs],
  ] as const) {
    const expected = await signBySdk(unsigned, withKeys, time, where, false);
    expect(sign(unsigned, withKeys, time)).toEqual(expected);
  }
});
