// SPDX-License-Identifier: GPL-3.0-or-later
// One attempt without the SDK's middleware, for the requests that make nearly all of the traffic: the SDK's own credentials, rules
// for endpoints and signer, but a fourth of its CPU (docs/decisions.md). Whatever does not plainly succeed is repeated through the
// SDK, which knows retries, redirects, wrong clocks and error words.

import { GetObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { StorageError } from '../../errors.ts';
import { attemptOnce, type Lean } from '../../http/lean.ts';
import type { ExchangeRequest, Headers, Transport } from '../../http/transport.ts';
import { type AnyMiddleware, withMiddleware } from './client.ts';
import { encode } from './encode.ts';
import { AnswerError } from './errors.ts';
import { assertMatches, isFromStore } from './genuine.ts';
import { EMPTY_SHA256 } from './requests.ts';

export interface LeanDependencies {
  readonly client: S3Client;
  readonly bucketName: string;
  readonly transport: Transport;
}

/** Where requests for the bucket go and how they are signed. */
interface Target {
  readonly protocol: string;
  readonly hostname: string;
  readonly port: number | undefined;
  readonly origin: string;
  readonly host: string;
  readonly basePath: string;
  sign(request: Unsigned): Promise<{ readonly headers: Headers }>;
}

interface Unsigned {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
}

export function createLean({ client, bucketName, transport }: LeanDependencies): Lean {
  let target: Promise<Target | undefined> | undefined;

  async function resolve(): Promise<Target | undefined> {
    target ??= resolveTarget(client, bucketName);
    try {
      return await target;
    } catch {
      // Mostly credentials that are not there yet; the SDK will say it better.
      target = undefined;
      return undefined;
    }
  }

  async function attempt(
    method: ExchangeRequest['method'],
    key: string,
    headers: Headers,
    rest: Pick<ExchangeRequest, 'content' | 'receive'> & { readonly signal: AbortSignal },
  ): Promise<boolean> {
    const to = await resolve();
    if (to === undefined) return false;
    const exchange = async () => {
      const path = `${to.basePath}/${key.split('/').map(encode).join('/')}`;
      const signed = await to.sign({ method, path, headers: { ...headers, host: to.host } });
      return await transport.exchange({
        ...rest,
        origin: to.origin,
        method,
        path,
        headers: signed.headers,
        isFromStore: (answer) => isFromStore(method, answer, false),
        assertMatches: (answer, connection) => {
          assertMatches({ method, key, headers }, answer, connection);
        },
      });
    };
    return await attemptOnce(rest.signal, exchange, (answer) => {
      if (answer.status !== 404 || !isNoSuchKey(answer.body)) return new AnswerError(answer);
      const requestId = answer.headers['x-amz-request-id'];
      return new StorageError(
        'NOT_FOUND',
        `there is no object "${key}" in S3 bucket "${bucketName}"`,
        { key, ...(requestId === undefined ? {} : { requestId }) },
      );
    });
  }

  return {
    put: (key, headers, content, signal) =>
      attempt('PUT', key, headers, { content, receive: undefined, signal }),
    get: (key, headers, receive, signal) =>
      attempt('GET', key, withEmptyHash(headers), { content: undefined, receive, signal }),
    delete: (key, signal) =>
      attempt('DELETE', key, withEmptyHash({}), { content: undefined, receive: undefined, signal }),
  };
}

function withEmptyHash(headers: Headers): Headers {
  return { ...headers, 'x-amz-content-sha256': EMPTY_SHA256 };
}

function isNoSuchKey(body: Uint8Array): boolean {
  return Buffer.from(body.buffer, body.byteOffset, body.length).includes('<Code>NoSuchKey</Code>');
}

/** Lets the SDK prepare a request by its rules (regions, dual stack, FIPS, access points) and takes the result, unsent.
 *  @returns undefined where the bucket needs another way to sign (S3 Express, multi-region access points) */
async function resolveTarget(client: S3Client, bucketName: string): Promise<Target | undefined> {
  let url: URL | undefined;
  let schemes: unknown;
  const intercept: AnyMiddleware = (_next, context) => () => {
    url = context.endpointV2?.url;
    schemes = context.endpointV2?.properties?.['authSchemes'];
    return Promise.resolve({ response: {}, output: { $metadata: {} } });
  };
  const command = new GetObjectCommand({ Bucket: bucketName, Key: 'key' });
  await client.send(withMiddleware(command, intercept, 'interceptMiddleware'));
  const scheme = readScheme(schemes);
  if (url === undefined || scheme?.name !== 'sigv4') return undefined;

  const { config } = client;
  const signer = await config.signer(scheme);
  const port = url.port === '' ? undefined : Number(url.port);
  const { protocol, hostname } = url;
  return {
    protocol,
    hostname,
    port,
    origin: url.origin,
    host: url.host,
    basePath: url.pathname === '/' ? '' : url.pathname.replace(/\/$/, ''),
    sign: (request) =>
      signer.sign(
        { ...request, protocol, hostname, query: {}, ...(port === undefined ? {} : { port }) },
        {
          // What the SDK found out about our clock.
          signingDate: new Date(Date.now() + config.systemClockOffset),
          signingRegion: scheme.signingRegion,
          signingService: scheme.signingName,
        },
      ),
  };
}

interface Scheme {
  readonly name: string;
  readonly signingRegion: string;
  readonly signingName: string;
  readonly properties: Record<string, unknown>;
}

function readScheme(schemes: unknown): Scheme | undefined {
  const scheme: unknown = Array.isArray(schemes) ? schemes[0] : undefined;
  if (typeof scheme !== 'object' || scheme === null) return undefined;
  const { name, signingRegion, signingName }: Record<string, unknown> = { ...scheme };
  if (typeof name !== 'string' || typeof signingRegion !== 'string') return undefined;
  return {
    name,
    signingRegion,
    signingName: typeof signingName === 'string' ? signingName : 's3',
    properties: {},
  };
}
