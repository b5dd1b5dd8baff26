// SPDX-License-Identifier: GPL-3.0-or-later
// The SDK's client as this provider needs it: our transport beneath, our retry strategy, its log in ours (sdk-log.ts).

import { Readable } from 'node:stream';
import { S3Client } from '@aws-sdk/client-s3';
import type { ExchangeRequest, Headers, Receiver, Transport } from '../../http/transport.ts';
import { tellFailure } from '../../store/abort.ts';
import { viewOf } from '../../store/bodies.ts';
import type { Body } from '../../store/object-store.ts';
import type { Credentials } from './credentials.ts';
import { encode } from './encode.ts';
import { assertMatches, isFromStore } from './genuine.ts';
import { createRetryStrategy } from './retry.ts';
import type { SdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

/** What `client.send` takes beside the command. Contents and answers' bodies go past the SDK: it signs and reads heads only, so
 *  that a retry reads the content anew and a broken body counts as a failed attempt. */
export interface SendOptions {
  readonly abortSignal: AbortSignal;
  readonly content?: Body;
  readonly receive?: (status: number, headers: Headers) => Receiver;
}

export interface ConnectOptions {
  readonly settings: S3Settings;
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly logger: SdkLogger;
  readonly maxRetries: number;
  readonly retryConnecting: boolean;
  /** Ends waits between attempts. */
  readonly closing: AbortSignal;
  /** Follow a bucket into another region; at start that is reported instead. */
  readonly followRegionRedirects: boolean;
}

export function connect(options: ConnectOptions): S3Client {
  const { settings } = options;
  const signals = new WeakMap<object, AbortSignal>();
  const client = new S3Client({
    region: settings.region,
    credentials: options.credentials.provider,
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
      tell: (error) => {
        const signal = error instanceof Error ? signals.get(error) : undefined;
        if (signal !== undefined) tellFailure(signal, error);
      },
    }),
    requestHandler: createHandler(options.transport),
    logger: options.logger,
  });
  // Within the SDK's loop of attempts, whose strategy is not told whose they are.
  const noteSignal: AnyMiddleware = (next, context) => async (args) => {
    try {
      return await next(args);
    } catch (thrown) {
      const signal = context.__smithy_context?.abortSignal;
      if (thrown instanceof Error && signal !== undefined) signals.set(thrown, signal);
      throw thrown;
    }
  };
  client.middlewareStack.add(noteSignal as never, {
    step: 'finalizeRequest',
    name: 'noteSignalMiddleware',
    priority: 'low',
  });
  return client;
}

/** What a middleware may look at. */
interface CommandContext {
  readonly __smithy_context?: { readonly abortSignal?: AbortSignal };
  readonly endpointV2?: { readonly url: URL; readonly properties?: Record<string, unknown> };
}

export type AnyMiddleware = (
  next: (args: never) => Promise<unknown>,
  context: CommandContext,
) => (args: never) => Promise<unknown>;

interface Extensible {
  readonly middlewareStack: {
    add(
      middleware: never,
      options: { readonly step: 'build'; readonly name: string; readonly priority: 'low' },
    ): void;
  };
}

/** Adds a last step to a command before it is signed. */
export function withMiddleware<Command extends Extensible>(
  command: Command,
  middleware: AnyMiddleware,
  name: string,
): Command {
  // The stack's type depends on each command's input and output, which a step on the request does not care about.
  command.middlewareStack.add(middleware as never, { step: 'build', name, priority: 'low' });
  return command;
}

/** Adds headers to a command's request before it is signed. */
export function withHeaders<Command extends Extensible>(
  command: Command,
  headers: Headers,
): Command {
  const addHeaders: AnyMiddleware = (next) => (args) => {
    Object.assign((args as { readonly request: SdkRequest }).request.headers, headers);
    return next(args);
  };
  return withMiddleware(command, addHeaders, 'addHeadersMiddleware');
}

/** Of white space in ASCII the last. */
const SPACE = 0x20;

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
      // Those for credentials come without a signal, and from servers of another kind.
      const isForBucket = options.abortSignal !== undefined;
      // Uploads in parts begin and end by a POST, and listings are what else is read.
      const isDocument =
        request.method === 'POST' || (request.method === 'GET' && options.receive === undefined);
      const answer = await transport.exchange({
        origin: `${request.protocol}//${request.hostname}${port}`,
        method: request.method as ExchangeRequest['method'],
        path: request.path + buildQuery(request.query),
        headers: request.headers,
        content: options.content ?? toBody(request.body),
        receive: options.receive,
        isFromStore: isForBucket
          ? (given) => isFromStore(request.method, given, isDocument)
          : undefined,
        assertMatches: (given, connection) => {
          if (!isForBucket) return;
          const key = decodeURIComponent(request.path);
          assertMatches(
            { method: request.method, key, headers: request.headers },
            given,
            connection,
          );
        },
        signal: options.abortSignal,
      });
      const isReceived = options.receive !== undefined && answer.status < 300;
      return {
        response: {
          statusCode: answer.status,
          // For the words of errors (errors.ts).
          answer,
          headers: { ...answer.headers },
          // For a GET the SDK insists on a stream, though its bytes are received already.
          body: isReceived ? Readable.from([]) : trimEnd(answer.body),
        },
      };
    },
    destroy: () => undefined,
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  };
}

/** An error may come with status 200 (of CompleteMultipartUpload), and the SDK finds it only if nothing follows it, no line break
 *  either (@aws-sdk/middleware-sdk-s3 3.972, throw-200-exceptions). */
function trimEnd(body: Uint8Array): Uint8Array {
  let end = body.length;
  while (end > 0 && (body[end - 1] ?? 0) <= SPACE) end -= 1;
  return body.subarray(0, end);
}

function toBody(body: unknown): Body | undefined {
  if (body === undefined || body === null || body === '') return undefined;
  const bytes =
    typeof body === 'string' ? Buffer.from(body) : body instanceof Uint8Array ? body : undefined;
  if (bytes === undefined) throw new TypeError('a request of the SDK has a streaming body');
  return viewOf(bytes);
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
