// SPDX-License-Identifier: GPL-3.0-or-later
// One request and its answer: what is believed of it, and how it ends.

import { errorCode, StorageError } from '../errors.ts';
import { abortReason, type Signal } from '../store/abort.ts';
import type { Body } from '../store/object-store.ts';
import { describeAnswer, mustBeFromStore } from './foreign-answers.ts';

/** For a success without a receiver, mostly a listing. A page of 1,000 keys of 1,024 bytes, or of Azure's 5,000, is far
 *  smaller. */
const MAX_COLLECTED_BYTES = 16 * 1024 * 1024;
/** For an error. Its first words are enough, and all requests under way may fail at the same time. */
const MAX_ERROR_BYTES = 64 * 1024;

export type Headers = Readonly<Record<string, string>>;

/** Takes the bytes of a successful answer. A StorageError that it throws ends the exchange. */
export interface Receiver {
  /** @param chunk valid during the call only. Who keeps it must copy it: all connections read into the same memory */
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
  /** False for a removal that nobody waits for: it leaves the connections of removals alone. */
  readonly isWaitedFor?: boolean | undefined;
  readonly signal?: Signal | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  /** Empty if a receiver took the bytes. Only the beginning of an error. */
  readonly body: Uint8Array;
}

/** A request got no complete answer, or none that may be believed. */
export class TransportError extends Error {
  override readonly name = 'TransportError';
  /** Node's or OpenSSL's code (ECONNREFUSED, CERT_HAS_EXPIRED …), or one of ours: CONNECT_TIMEOUT, ANSWER_TIMEOUT, CONNECTION_CLOSED,
   *  NOT_HTTP, BODY_BROKEN, EARLY_SUCCESS, ANSWER_TOO_LARGE, PROXY_AUTHENTICATION, PROXY_CERTIFICATE, PROXY_REFUSED, FOREIGN_ANSWER,
   *  MISMATCHED_ANSWER, INVALID_REQUEST, TRANSPORT_CLOSED; of Google's uploads NO_SESSION, NO_PROGRESS and SESSION_LOST. */
  readonly code: string;
  /** Another attempt may succeed. False for certificates and for defects of ours. */
  readonly transient: boolean;
  /** The setting that names the proxy, if there was one on the way. */
  proxySetting: string | undefined;

  constructor(code: string, message: string, transient: boolean, cause?: unknown) {
    super(message, { cause });
    this.code = code;
    this.transient = transient;
  }
}

/** Where an exchange waits, or what carries it. */
export interface Carrier {
  /** The exchange is over before its answer was complete. */
  drop(exchange: Exchange): void;
}

export class Exchange {
  readonly request: ExchangeRequest;
  readonly #proxySetting: string | undefined;
  readonly #resolve: (answer: Answer) => void;
  readonly #reject: (error: Error) => void;
  #carrier: Carrier | undefined;
  #isSettled = false;
  #status = 0;
  #headers: Headers = {};
  #receiver: Receiver | undefined;
  #collected: Uint8Array[] | undefined;
  #collectedBytes = 0;

  constructor(
    request: ExchangeRequest,
    proxySetting: string | undefined,
    resolve: (answer: Answer) => void,
    reject: (error: Error) => void,
  ) {
    this.request = request;
    this.#proxySetting = proxySetting;
    this.#resolve = resolve;
    this.#reject = reject;
    request.signal?.addEventListener('abort', this);
  }

  /** The signal was aborted: this object listens itself, which spares a closure. */
  handleEvent(): void {
    const { signal } = this.request;
    this.fail(signal === undefined ? new Error('aborted') : abortReason(signal));
  }

  moveTo(carrier: Carrier): void {
    this.#carrier = carrier;
  }

  onHead(status: number, headers: Headers): void {
    if (this.#isSettled) return;
    const { receive, origin } = this.request;
    const isProxys = this.#proxySetting !== undefined && origin.startsWith('http:');
    if (status === 407 && isProxys) throw needsLogin();
    this.#status = status;
    this.#headers = headers;
    if (receive === undefined || status >= 300) return;
    this.#verify({ status, headers, body: NO_BYTES });
    this.#receiver = receive(status, headers);
  }

  onBody(bytes: Uint8Array): void {
    if (this.#isSettled) return;
    if (this.#receiver !== undefined) {
      this.#receiver.write(bytes);
      return;
    }
    const isSuccess = this.#status < 300;
    const room = (isSuccess ? MAX_COLLECTED_BYTES : MAX_ERROR_BYTES) - this.#collectedBytes;
    if (bytes.length > room && isSuccess) {
      throw new TransportError('ANSWER_TOO_LARGE', 'the answer is too large', false);
    }
    this.#collected ??= [];
    this.#collected.push(Uint8Array.from(bytes.subarray(0, room)));
    this.#collectedBytes += bytes.length;
    if (bytes.length <= room) return;
    const carrier = this.#carrier;
    this.finish(true);
    carrier?.drop(this);
  }

  /** The answer is complete. @param isSent the system had taken all of the content by then
   *  @returns whether the connection may carry on */
  finish(isSent: boolean): boolean {
    if (this.#isSettled) return false;
    const body = this.#collected === undefined ? NO_BYTES : Buffer.concat(this.#collected);
    const answer = { status: this.#status, headers: this.#headers, body };
    try {
      if (this.#receiver === undefined) this.#verify(answer);
      if (answer.status < 300 && !isSent) {
        const words = 'the server reported success before it had all bytes';
        throw new TransportError('EARLY_SUCCESS', words, true);
      }
      this.#receiver?.end();
    } catch (thrown) {
      // The next answer over this connection may be that of any request.
      this.fail(thrown);
      return false;
    }
    this.#settle();
    this.#resolve(answer);
    return isSent;
  }

  fail(thrown: unknown): void {
    if (this.#isSettled) return;
    const error = this.#receiver === undefined ? toError(thrown) : toBodyError(thrown);
    if (error instanceof TransportError) error.proxySetting = this.#proxySetting;
    const carrier = this.#carrier;
    this.#settle();
    carrier?.drop(this);
    this.#reject(error);
  }

  #verify(answer: Answer): void {
    const { isFromStore, assertMatches } = this.request;
    if (isFromStore !== undefined && mustBeFromStore(answer) && !isFromStore(answer)) {
      throw new TransportError('FOREIGN_ANSWER', describeAnswer(answer), true);
    }
    assertMatches?.(answer, this.#carrier ?? answer);
  }

  #settle(): void {
    this.#isSettled = true;
    this.#carrier = undefined;
    this.request.signal?.removeEventListener('abort', this);
  }
}

/** A proxy wants a user and a password, or others. */
export function needsLogin(): TransportError {
  const words = 'Proxy Authentication Required (407)';
  return new TransportError('PROXY_AUTHENTICATION', words, false);
}

const NO_BYTES = new Uint8Array();

const PERMANENT_CODE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_|ERR_SSL_(?!.*(BAD_RECORD_MAC|DECRYPT|DECODE))|EPROTO)/;

/** Certificates and protocols stay wrong; bytes that TLS found damaged are sent again. */
export function isPermanent(code: string): boolean {
  return PERMANENT_CODE.test(code);
}

function toError(thrown: unknown): TransportError | StorageError {
  if (thrown instanceof TransportError || thrown instanceof StorageError) return thrown;
  const code = errorCode(thrown) ?? 'UNKNOWN';
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new TransportError(code, message, code !== 'UNKNOWN' && !isPermanent(code), thrown);
}

/** Tells a body that broke off from a server that cannot be reached. */
function toBodyError(thrown: unknown): TransportError | StorageError {
  const error = toError(thrown);
  if (error === thrown || error instanceof StorageError || !error.transient) return error;
  return new TransportError('BODY_BROKEN', error.message, true, error);
}
