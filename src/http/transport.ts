// SPDX-License-Identifier: GPL-3.0-or-later
// One HTTP exchange over pooled connections. The content is read from a Body piece by piece, and the answer's bytes are handed on as they
// arrive. Knows neither providers nor retries.

import type { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import connectThrough from 'undici/lib/api/api-connect.js';
import Agent from 'undici/lib/dispatcher/agent.js';
import Pool from 'undici/lib/dispatcher/pool.js';
import ProxyAgent from 'undici/lib/dispatcher/proxy-agent.js';
import type { NetworkSettings, ProxyServer } from '../config/settings.ts';
import { errorCode, StorageError } from '../errors.ts';
import { abortReason } from '../store/abort.ts';
import type { Body } from '../store/object-store.ts';
import { readRegularFile } from '../store/regular-file.ts';
import { type Connector, createConnector, isSending, socketOf, trust, within } from './connect.ts';
import { createPieceReader, ONE_PIECE_BYTES, PIECE_BYTES } from './content.ts';
import { describeAnswer, mustBeFromStore } from './foreign-answers.ts';
import { createProxyChoice } from './proxies.ts';

/** For a success without a receiver, mostly a listing. A page of 1,000 keys of 1,024 bytes is far smaller. */
const MAX_COLLECTED_BYTES = 16 * 1024 * 1024;
/** For an error. Its first words are enough, and all requests under way may fail at the same time. */
const MAX_ERROR_BYTES = 64 * 1024;
/** S3 and most gateways close idle connections after 20 s or later. A request on a connection that is being closed costs a retry. */
const KEEP_ALIVE_MS = 15_000;

/** Beyond MaxConnections, so that removals need not wait for large contents (store/limit.ts). Orthanc removes one file at a time, under its
 *  two to four possible names at once. */
const REMOVAL_CONNECTIONS = 4;

export type Headers = Readonly<Record<string, string>>;

/** Takes the bytes of a successful answer. A StorageError that it throws ends the exchange. */
export interface Receiver {
  write(chunk: Uint8Array): void;
  /** All bytes are there and can be verified. */
  end(): void;
}

export interface ExchangeRequest {
  /** Scheme, host and port. */
  readonly origin: string;
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' | 'HEAD';
  /** Path and query as they go over the wire. */
  readonly path: string;
  readonly headers: Headers;
  readonly content?: Body | undefined;
  /** Called at the head of each 2xx answer. Without it the answer's body is collected. */
  readonly receive?: ((status: number, headers: Headers) => Receiver) | undefined;
  /** Asked of each answer that must be the store's own (mustBeFromStore); with a receiver, at its head. undefined: the caller finds out
   *  by the content. */
  readonly isFromStore?: ((answer: Answer) => boolean) | undefined;
  /** Throws for an answer to another request. Asked of each answer; with a receiver, at its head.
   *  @param connection the same object for all answers over one connection */
  readonly assertMatches?: ((answer: Answer, connection: object) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Empty if a receiver took the bytes. Only the beginning of an error. */
  readonly body: Uint8Array;
}

export interface Transport {
  /** Resolves with any complete answer, whatever its status. Once it has settled, the content is not read and the receiver not called.
   *  @throws TransportError; what the receiver threw; the signal's reason as a StorageError */
  exchange(request: ExchangeRequest): Promise<Answer>;
  /** Aborts what is under way and ends all connections. */
  close(): Promise<void>;
}

/** A request got no complete answer, or none that may be believed. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  /** Node's, OpenSSL's or undici's code (ECONNREFUSED, CERT_HAS_EXPIRED, UND_ERR_CONNECT_TIMEOUT …), or one of ours:
   *  BODY_BROKEN, EARLY_SUCCESS, ANSWER_TOO_LARGE, PROXY_AUTHENTICATION, FOREIGN_ANSWER, MISMATCHED_ANSWER; of Google's uploads NO_SESSION,
   *  NO_PROGRESS and SESSION_LOST. */
  readonly code: string;
  /** Another attempt may succeed. False for certificates and for defects of ours. */
  readonly transient: boolean;
  /** The setting that names the proxy, if there was one on the way. */
  proxySetting: string | undefined;

  constructor(code: string, message: string, transient: boolean, cause: unknown) {
    super(message, { cause });
    this.code = code;
    this.transient = transient;
  }
}

/** @throws StorageError BAD_CONFIG for a file of authorities that cannot be read, or a proxy that is no URL */
export function createTransport(settings: NetworkSettings): Transport {
  const proxyFor = createProxyChoice(settings.proxies);
  const general = createDispatchers(settings);
  const maxConnections = Math.min(settings.maxConnections, REMOVAL_CONNECTIONS);
  const removing = createDispatchers({ ...settings, maxConnections });
  return {
    exchange(request) {
      const proxy = proxyFor(request.origin);
      const { through } = request.method === 'DELETE' ? removing : general;
      return exchange(through(proxy), request, proxy?.setting);
    },
    async close() {
      await Promise.all([general.destroy(), removing.destroy()]);
    },
  };
}

interface Dispatchers {
  readonly through: (proxy: ProxyServer | undefined) => Dispatcher;
  destroy(): Promise<void>;
}

/** One for direct connections and one for each proxy. */
function createDispatchers(settings: NetworkSettings): Dispatchers {
  const options = createOptions(settings);
  const direct = new Agent(options.pool);
  const { http, https } = settings.proxies;
  const proxies = [http, https].filter((proxy) => proxy !== undefined);
  const proxied = new Map(proxies.map((proxy) => [proxy, createProxyAgent(proxy, options)]));
  return {
    through: (proxy) => (proxy === undefined ? undefined : proxied.get(proxy)) ?? direct,
    async destroy() {
      await Promise.all([direct, ...proxied.values()].map((dispatcher) => dispatcher.destroy()));
    },
  };
}

function createOptions(settings: NetworkSettings) {
  const timeoutMs = settings.connectionTimeoutMs;
  const tls = trust(readAuthorities(settings.caCertificatesFile));
  // After a connection that died silently, there must be time for another attempt within RequestTimeout.
  const idleTimeoutMs = Math.max(1, Math.floor(settings.requestTimeoutMs / 4));
  const pool = {
    connections: settings.maxConnections,
    pipelining: 1,
    headersTimeout: idleTimeoutMs,
    bodyTimeout: idleTimeoutMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connect: createConnector(timeoutMs, tls),
  };
  return { pool, timeoutMs, tls };
}

function createProxyAgent(
  proxy: ProxyServer,
  { pool, timeoutMs, tls }: ReturnType<typeof createOptions>,
): Dispatcher {
  const { connect } = pool;
  try {
    const { href } = new URL(proxy.url.reveal());
    return new ProxyAgent({
      ...pool,
      uri: href,
      // undici's index adds methods to each dispatcher. A tunnel needs `connect`.
      clientFactory: (origin) =>
        Object.assign(new Pool(origin, { connect, headersTimeout: timeoutMs }), {
          connect: connectThrough,
        }),
      // For the proxy itself, which gets plain requests, and for each server behind a tunnel.
      factory: (origin, options: { readonly connect?: Connector }) => {
        const isProxy = String(origin) === href || options.connect === undefined;
        return new Pool(origin, {
          ...pool,
          connect: isProxy ? connect : within(timeoutMs, options.connect),
        });
      },
      requestTls: { ...tls, timeout: timeoutMs },
      // Many proxies allow CONNECT only to port 443, so plain HTTP goes as plain proxy requests.
      proxyTunnel: false,
    });
  } catch {
    // Without the cause, whose message quotes the URL with its password.
    throw new StorageError(
      'BAD_CONFIG',
      `${proxy.setting}: is not a URL such as "http://user:password@host:3128"`,
    );
  }
}

function readAuthorities(file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  let pem: string;
  try {
    pem = readRegularFile(file);
  } catch (cause) {
    const isOther = errorCode(cause) === 'ENOTFILE';
    const problem = isOther ? `"${file}" is no file` : `cannot read the file "${file}"`;
    throw new StorageError('BAD_CONFIG', `HttpsCACertificates: ${problem}`, { cause });
  }
  if (!pem.includes('-----BEGIN')) {
    throw new StorageError('BAD_CONFIG', `HttpsCACertificates: "${file}" holds no PEM certificate`);
  }
  return pem;
}

function exchange(
  dispatcher: Dispatcher,
  request: ExchangeRequest,
  proxySetting: string | undefined,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { signal, origin, path, method, headers } = request;
    if (signal?.aborted) {
      reject(abortReason(signal));
      return;
    }
    const handler = new Exchange(request, proxySetting, resolve, reject);
    const body = handler.upload?.body ?? null;
    try {
      dispatcher.dispatch({ origin, path, method, headers, body }, handler);
    } catch (thrown) {
      handler.fail(thrown);
    }
  });
}

/** One request and its answer, as undici reports it. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly upload: Upload | undefined;
  readonly #request: ExchangeRequest;
  readonly #proxySetting: string | undefined;
  readonly #resolve: (answer: Answer) => void;
  readonly #reject: (error: Error) => void;
  #isSettled = false;
  #controller: Dispatcher.DispatchController | undefined;
  #socket: Socket | undefined;
  #status = 0;
  #headers: Headers = {};
  #receiver: Receiver | undefined;
  readonly #collected: Uint8Array[] = [];
  #collectedBytes = 0;

  constructor(
    request: ExchangeRequest,
    proxySetting: string | undefined,
    resolve: (answer: Answer) => void,
    reject: (error: Error) => void,
  ) {
    const { content, signal } = request;
    this.#request = request;
    this.#proxySetting = proxySetting;
    this.#resolve = resolve;
    this.#reject = reject;
    this.upload = content && createUpload(content, () => this.#isSettled);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // The request was given up while it waited for a connection. This drops it and spares the connection.
    if (this.#isSettled) throw new Error('aborted');
    this.#controller = controller;
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
  ): void {
    if (this.#isSettled || status < 200) return;
    const { receive } = this.#request;
    this.#socket = socketOf(controller);
    this.#status = status;
    this.#headers = flatten(headers);
    if (receive === undefined || status >= 300) return;
    this.#verify({ status, headers: this.#headers, body: new Uint8Array() });
    this.#receiver = receive(status, this.#headers);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#isSettled) return;
    if (this.#receiver !== undefined) {
      this.#receiver.write(chunk);
      return;
    }
    const isSuccess = this.#status < 300;
    const room = (isSuccess ? MAX_COLLECTED_BYTES : MAX_ERROR_BYTES) - this.#collectedBytes;
    if (chunk.length > room && isSuccess) {
      throw new TransportError('ANSWER_TOO_LARGE', 'the answer is too large', false, undefined);
    }
    // Copied, since a view would keep the whole buffer of the socket.
    this.#collected.push(Uint8Array.from(chunk.subarray(0, room)));
    this.#collectedBytes += chunk.length;
    if (chunk.length <= room) return;
    this.#finish(true);
    this.#controller?.abort(new Error('enough'));
  }

  onResponseEnd(): void {
    const isSent = this.upload === undefined || (this.upload.isSent() && !isSending(this.#socket));
    // Until then undici looks at what came together with the answer.
    queueMicrotask(() => {
      this.#finish(isSent);
    });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.fail(this.#receiver === undefined ? error : toBodyError(error));
  }

  fail(thrown: unknown): void {
    if (this.#isSettled) return;
    this.#settle();
    const error = thrown instanceof StorageError ? thrown : toTransportError(thrown);
    if (error instanceof TransportError) error.proxySetting = this.#proxySetting;
    this.#controller?.abort(error);
    this.#reject(error);
  }

  #finish(isSent: boolean): void {
    if (this.#isSettled) return;
    const body = Buffer.concat(this.#collected);
    const answer = { status: this.#status, headers: this.#headers, body };
    try {
      refuseSurplus(this.#socket);
      if (this.#receiver === undefined) this.#verify(answer);
      if (answer.status < 300 && !isSent) {
        const words = 'the server reported success before it had all bytes';
        throw new TransportError('EARLY_SUCCESS', words, true, undefined);
      }
      this.#receiver?.end();
    } catch (thrown) {
      this.fail(thrown);
      // The next answer there may be that of any request.
      this.#socket?.destroy();
      return;
    }
    this.#settle();
    this.#resolve(answer);
  }

  #verify(answer: Answer): void {
    refuseForeign(answer, this.#request.isFromStore);
    this.#request.assertMatches?.(answer, this.#socket ?? answer);
  }

  #settle(): void {
    this.#isSettled = true;
    this.#request.signal?.removeEventListener('abort', this.#onAbort);
  }

  readonly #onAbort = (): void => {
    const { signal } = this.#request;
    this.fail(signal === undefined ? new Error('aborted') : abortReason(signal));
  };
}

/** @throws TransportError for an answer that is not the store's */
function refuseForeign(answer: Answer, isFromStore: ExchangeRequest['isFromStore']): void {
  if (!mustBeFromStore(answer) || isFromStore === undefined || isFromStore(answer)) return;
  throw new TransportError('FOREIGN_ANSWER', describeAnswer(answer), true, undefined);
}

/** @throws TransportError if undici found bytes behind the answer. Nobody knows then which request it belongs to */
function refuseSurplus(socket: Socket | undefined): void {
  const { code, message }: NodeJS.ErrnoException = socket?.errored ?? new Error();
  if (code === undefined || code === 'UND_ERR_INFO') return;
  const words = `more came than the answer to one request (${message})`;
  throw new TransportError('MISMATCHED_ANSWER', words, true, undefined);
}

interface Upload {
  readonly body: Uint8Array | Readable;
  /** Whether the connection has been given all of it. */
  isSent(): boolean;
}

function createUpload(content: Body, isOver: () => boolean): Upload {
  if (content.sizeBytes <= ONE_PIECE_BYTES) {
    return { body: content.read(0, content.sizeBytes), isSent: () => true };
  }
  const readPiece = createPieceReader(content);
  let isSent = false;
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let start = 0; start < content.sizeBytes; start += PIECE_BYTES) {
      // undici asks for the next piece even after the socket broke. The content may be gone by then.
      if (isOver()) throw new Error('aborted');
      const piece = readPiece(start);
      // Set before the piece is yielded, since over TLS the answer can arrive before undici asks for more.
      isSent = start + piece.length === content.sizeBytes;
      // undici asks for the next piece at 'drain', since a piece is larger than a socket's high-water mark. The memory is free then.
      yield piece;
    }
  }
  // undici takes any async iterable at run time (7.30, core/util.js isIterable), its types only a Readable.
  return { body: pieces() as unknown as Readable, isSent: () => isSent };
}

function flatten(headers: Record<string, string | string[] | undefined>): Headers {
  const flat: Record<string, string> = {};
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined) flat[name] = typeof value === 'string' ? value : value.join(', ');
  }
  return flat;
}

/** Certificates and protocols stay wrong; bytes that TLS found damaged are sent again. */
const PERMANENT_CODE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_|ERR_SSL_(?!.*(BAD_RECORD_MAC|DECRYPT|DECODE))|EPROTO|UND_ERR_INVALID_ARG|UND_ERR_NOT_SUPPORTED|UND_ERR_PRX_TLS)/;

/** Tells a body that broke off from a server that cannot be reached. */
function toBodyError(thrown: unknown): unknown {
  if (thrown instanceof StorageError) return thrown;
  const error = toTransportError(thrown);
  const isTimeout = error.code === 'UND_ERR_BODY_TIMEOUT';
  if (isTimeout || !error.transient) return error;
  return new TransportError('BODY_BROKEN', error.message, true, error);
}

function toTransportError(thrown: unknown): TransportError {
  if (thrown instanceof TransportError) return thrown;
  const code = errorCode(thrown) ?? 'UNKNOWN';
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const isDefect = code === 'UNKNOWN' && !(thrown instanceof Error && thrown.name.includes('HTTP'));
  // undici has two codes for this, for a tunnel and for a plain request.
  if (/^Proxy .*\(?407\)?/.test(message)) {
    return new TransportError('PROXY_AUTHENTICATION', message, false, thrown);
  }
  return new TransportError(code, message, !isDefect && !PERMANENT_CODE.test(code), thrown);
}
