// SPDX-License-Identifier: GPL-3.0-or-later
// The SDK's client as this provider needs it: our transport beneath, our retry strategy, its log in ours.

import { Readable } from 'node:stream';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import type { S3Settings } from '../../config/settings.ts';
import type { Logger } from '../../log.ts';
import type { Body } from '../../store/object-store.ts';
import type { ExchangeRequest, Headers, Receiver, Transport } from '../transport.ts';
import { encode } from './encode.ts';
import { createRetryStrategy } from './retry.ts';

/** What `client.send` takes beside the command. Contents and answers' bodies go past the SDK: it signs and reads heads only, so
 *  that a retry reads the content anew and a broken body counts as a failed attempt. */
export interface SendOptions {
  readonly abortSignal: AbortSignal;
  readonly content?: Body;
  readonly receive?: (status: number, headers: Headers) => Receiver;
}

/** Where requests for the bucket go and how they are signed, as the SDK's rules say (regions, dual stack, FIPS, access points). */
export interface BucketEndpoint {
  readonly url: URL;
  readonly signingRegion: string;
  readonly signingName: string;
}

export interface S3Connection {
  readonly client: S3Client;
  /** Known after the first request; undefined also where the bucket needs another way to sign (S3 Express). */
  endpoint(): BucketEndpoint | undefined;
}

export interface ConnectOptions {
  readonly settings: S3Settings;
  readonly transport: Transport;
  readonly log: Logger;
  readonly maxRetries: number;
  readonly retryConnecting: boolean;
  /** Ends waits between attempts. */
  readonly closing: AbortSignal;
  /** Follow a bucket into another region; at start that is reported instead. */
  readonly followRegionRedirects: boolean;
  /** Shared with another connection, so that a chain is walked once. */
  readonly credentials?: S3ClientConfig['credentials'];
}

export function connect(options: ConnectOptions): S3Connection {
  const { settings, log } = options;
  const credentials = options.credentials ?? readCredentials(settings);
  const client = new S3Client({
    region: settings.region,
    ...(credentials === undefined ? {} : { credentials }),
    ...(settings.endpoint === undefined ? {} : { endpoint: settings.endpoint }),
    forcePathStyle: !settings.virtualAddressing,
    // A header of ours carries the checksum (requests.ts), so the SDK must neither compute nor verify another one.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // It would cost a round trip for each PUT from 2 MiB on, on a new connection each time.
    expectContinueHeader: false,
    followRegionRedirects: options.followRegionRedirects,
    maxAttempts: options.maxRetries + 1,
    retryStrategy: createRetryStrategy({
      maxRetries: options.maxRetries,
      retryConnecting: options.retryConnecting,
      closing: options.closing,
      random: Math.random,
    }),
    requestHandler: createHandler(options.transport),
    logger: settings.enableSdkLogs ? createSdkLogger(log) : silentLogger,
  });
  return { client, endpoint: watchEndpoint(client) };
}

type AnyMiddleware = <Args extends object, Result>(
  next: (args: Args) => Result,
) => (args: Args) => Result;

interface Extensible {
  readonly middlewareStack: {
    add(
      middleware: AnyMiddleware,
      options: { readonly step: 'build'; readonly name: string },
    ): void;
  };
}

/** Adds headers to a command's request before it is signed. */
export function withHeaders<Command extends Extensible>(
  command: Command,
  headers: Headers,
): Command {
  command.middlewareStack.add(
    (next) => (args) => {
      if ('request' in args) Object.assign((args.request as SdkRequest).headers, headers);
      return next(args);
    },
    { step: 'build', name: 'addHeadersMiddleware' },
  );
  return command;
}

function readCredentials(settings: S3Settings): S3ClientConfig['credentials'] {
  if (settings.credentials === undefined) return undefined;
  const { accessKey, secretKey } = settings.credentials;
  return { accessKeyId: accessKey, secretAccessKey: secretKey.reveal() };
}

/** Learns the bucket's endpoint from the SDK's first request instead of repeating the SDK's rules. */
function watchEndpoint(client: S3Client): () => BucketEndpoint | undefined {
  let endpoint: BucketEndpoint | undefined;
  client.middlewareStack.add(
    (next, context) => (args) => {
      const resolved = context.endpointV2;
      // A redirected request says nothing about the next one.
      if (endpoint === undefined && resolved !== undefined && !('__s3RegionRedirect' in context)) {
        const scheme = readAuthScheme(resolved.properties?.['authSchemes']);
        if (scheme?.name === 'sigv4') endpoint = { url: resolved.url, ...scheme };
      }
      return next(args);
    },
    { step: 'build', name: 'watchEndpointMiddleware' },
  );
  return () => endpoint;
}

function readAuthScheme(
  schemes: unknown,
):
  | { readonly name: string; readonly signingRegion: string; readonly signingName: string }
  | undefined {
  const scheme: unknown = Array.isArray(schemes) ? schemes[0] : undefined;
  if (typeof scheme !== 'object' || scheme === null) return undefined;
  const { name, signingRegion, signingName }: Record<string, unknown> = { ...scheme };
  if (typeof name !== 'string' || typeof signingRegion !== 'string') return undefined;
  return { name, signingRegion, signingName: typeof signingName === 'string' ? signingName : 's3' };
}

interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly method: string;
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null | undefined>>;
  readonly headers: Headers;
  readonly body?: unknown;
}

/** The SDK's interface HttpHandler. Clients for credentials (STS, SSO) inherit it, and so the proxy and the authorities. */
function createHandler(transport: Transport) {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(request: SdkRequest, options: Partial<SendOptions> = {}) {
      const port = request.port === undefined ? '' : `:${request.port}`;
      const answer = await transport.exchange({
        origin: `${request.protocol}//${request.hostname}${port}`,
        method: request.method as ExchangeRequest['method'],
        path: request.path + buildQuery(request.query),
        headers: request.headers,
        content: options.content ?? toBody(request.body),
        receive: options.receive,
        signal: options.abortSignal,
      });
      const isReceived = options.receive !== undefined && answer.status < 300;
      return {
        response: {
          statusCode: answer.status,
          headers: { ...answer.headers },
          // For a GET the SDK insists on a stream, though its bytes are received already.
          body: isReceived ? Readable.from([]) : answer.body,
        },
      };
    },
    destroy: () => undefined,
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  };
}

function toBody(body: unknown): Body | undefined {
  if (body === undefined || body === null || body === '') return undefined;
  const bytes =
    typeof body === 'string' ? Buffer.from(body) : body instanceof Uint8Array ? body : undefined;
  if (bytes === undefined) throw new TypeError('a request of the SDK has a streaming body');
  return { sizeBytes: bytes.length, read: (start, end) => bytes.subarray(start, end) };
}

function buildQuery(query: SdkRequest['query'] = {}): string {
  const pairs: string[] = [];
  for (const [name, value] of Object.entries(query)) {
    const values = typeof value === 'object' && value !== null ? value : [value];
    for (const item of values) {
      pairs.push(
        item === null || item === undefined ? encode(name) : `${encode(name)}=${encode(item)}`,
      );
    }
  }
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}

const silentLogger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

/** EnableAwsSdkLogs: one line per command, built from fields that are known to be harmless. The SDK's own records hold inputs,
 *  outputs and error objects with whole requests in them, so they are never printed as they come. */
function createSdkLogger(log: Logger) {
  const write = (level: string) => (record: unknown) => {
    if (typeof record === 'string') log.info(`AWS SDK ${level}: ${record}`);
    else if (typeof record === 'object' && record !== null) {
      log.info(`AWS SDK ${level}: ${describeRecord(asRecord(record))}`);
    }
  };
  return {
    trace: () => undefined,
    // Which profile files and environment variables it looked for in vain, some thirty lines per client.
    debug: () => undefined,
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
  };
}

function describeRecord(record: Readonly<Record<string, unknown>>): string {
  const input = asRecord(record['input']);
  const metadata = asRecord(record['metadata']);
  const error = asRecord(record['error']);
  const fields: readonly (readonly [string, unknown])[] = [
    ['command', record['commandName']],
    ['bucket', input['Bucket']],
    ['key', input['Key']],
    ['bytes', input['ContentLength']],
    ['part', input['PartNumber']],
    ['status', metadata['httpStatusCode']],
    ['attempts', metadata['attempts']],
    ['delayMs', metadata['totalRetryDelay']],
    ['requestId', metadata['requestId']],
    ['error', error['name']],
    ['code', error['code']],
  ];
  return fields
    .filter(([, value]) => typeof value === 'string' || typeof value === 'number')
    .map(([name, value]) => `${name}=${String(value)}`)
    .join(' ');
}

function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  // Not spread: an error's name is inherited.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}
