// SPDX-License-Identifier: GPL-3.0-or-later
// Requests of Google's JSON API over our transport. Not @google-cloud/storage: its requests can neither be cancelled nor be sent
// through HttpProxy or by HttpsCACertificates, and take several times the CPU (docs/decisions.md).
// @see https://docs.cloud.google.com/storage/docs/json_api/v1

import { StorageError } from '../../errors.ts';
import { describeRefusal, hasHeaderOf } from '../../http/foreign-answers.ts';
import { readLocation } from '../../http/network-errors.ts';
import {
  isConnectError,
  isTransientFailure,
  type Repeatable,
  withRetries,
} from '../../http/retry.ts';
import {
  type Answer,
  type ExchangeRequest,
  type Headers,
  type Transport,
  TransportError,
} from '../../http/transport.ts';
import { asRecord, oneLine, oneName, readElement, text, textOf } from '../../http/words.ts';
import type { AwaitedServer } from '../../store/check-timeout.ts';
import { type Credentials, CredentialsError, TOKEN_SERVER } from './credentials.ts';

export interface GoogleRequest
  extends Pick<ExchangeRequest, 'method' | 'path' | 'content' | 'receive' | 'assertMatches'> {
  readonly headers?: Headers;
  /** A status, other than 2xx, that is an answer and no failure. */
  readonly accept?: number;
  /** Whether a success without any header of Google's, as emulators and other servers give it, has what the next step needs. */
  readonly isAnswer: (answer: Answer) => boolean;
}

export interface Client {
  /** One request, with retries.
   *  @throws AnswerError, CredentialsError, TransportError, StorageError */
  send(request: GoogleRequest, signal: AbortSignal): Promise<Answer>;
  /** The same without retries, for those who have their own. */
  attempt(request: GoogleRequest, signal: AbortSignal): Promise<Answer>;
  /** Repeats work that makes one or more attempts. */
  repeat<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T>;
  /** Where requests go, for messages. */
  readonly target: string;
  /** What is being waited for when nothing happens. */
  readonly describeWait: () => AwaitedServer;
}

export interface ClientOptions {
  /** undefined: Google. */
  readonly endpoint: string | undefined;
  readonly transport: Transport;
  readonly credentials: Credentials;
  readonly maxRetries: number;
  /** False at start: nobody listens, and the user waits for the message. */
  readonly retryConnecting: boolean;
  readonly random: () => number;
}

/** An answer that says no. */
export class AnswerError extends Error {
  override readonly name = 'AnswerError';
  readonly status: number;
  /** All of it in short, for the end of a message. */
  readonly said: string;
  /** Google's word for the reason, such as "rateLimitExceeded". */
  readonly reason: string | undefined;
  /** Its id for Google's support. */
  readonly requestId: string | undefined;
  readonly retryAfterMs: number | undefined;
  readonly serverTime: Date | undefined;
  /** Where a redirect leads. */
  readonly location: string | undefined;

  constructor(answer: Answer) {
    const { message, reason, isOfApi } = readWords(answer.body);
    super(message);
    const { status } = answer;
    this.said = isOfApi
      ? `status ${status}${reason === undefined ? '' : `, ${reason}`}: ${message}`
      : describeRefusal(answer);
    this.status = answer.status;
    this.reason = reason;
    this.requestId = answer.headers['x-guploader-uploadid'];
    const { date, location, 'retry-after': retryAfter } = answer.headers;
    this.location = readLocation(location);
    this.retryAfterMs = /^\d+$/.test(retryAfter ?? '') ? Number(retryAfter) * 1_000 : undefined;
    this.serverTime = date === undefined ? undefined : new Date(date);
  }
}

export function createClient(options: ClientOptions): Client {
  const { endpoint, transport, credentials } = options;

  async function attempt(request: GoogleRequest, signal: AbortSignal): Promise<Answer> {
    const { headers, universeDomain } = await credentials.authorize(signal);
    const answer = await transport.exchange({
      origin: endpoint ?? `https://storage.${universeDomain}`,
      method: request.method,
      path: request.path,
      headers: { ...headers, ...request.headers },
      content: request.content,
      receive: request.receive,
      isFromStore: (given) =>
        isMarked(given) || (given.status < 300 ? request.isAnswer(given) : isRefusal(given)),
      ...(request.assertMatches === undefined ? {} : { assertMatches: request.assertMatches }),
      signal,
    });
    if ((answer.status >= 200 && answer.status < 300) || answer.status === request.accept) {
      return answer;
    }
    throw new AnswerError(answer);
  }

  function repeat<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    let isRenewed = false;
    const judge = (thrown: unknown): Repeatable | undefined => {
      if (thrown instanceof AnswerError && thrown.status === 401) {
        if (isRenewed) return undefined;
        isRenewed = true;
        credentials.renew();
        return { isThrottled: false, retryAfterMs: undefined };
      }
      if (!options.retryConnecting && isConnectError(causeOf(thrown))) return undefined;
      return isTransient(thrown)
        ? { isThrottled: isThrottling(thrown), retryAfterMs: hintOf(thrown) }
        : undefined;
    };
    const { maxRetries, random } = options;
    return withRetries({ maxRetries, signal, random, judge }, work);
  }

  const target = endpoint ?? 'storage.googleapis.com';
  return {
    send: (request, signal) => repeat(signal, () => attempt(request, signal)),
    attempt,
    repeat,
    target,
    describeWait: () =>
      credentials.isWaiting()
        ? { name: TOKEN_SERVER, settings: undefined }
        : { name: target, settings: 'GoogleCloudStorage.Endpoint' },
  };
}

/** By Google's own headers. */
export function isMarked({ headers }: Answer): boolean {
  return hasHeaderOf(/^x-(goog|guploader)-/, headers);
}

/** In the API's words, whatever their type is said to be. */
function isRefusal({ body }: Answer): boolean {
  return readWords(body).isOfApi;
}

/** The network's error beneath one of credentials. */
export function causeOf(thrown: unknown): unknown {
  let error = thrown;
  // The library wraps twice: CredentialsError, GaxiosError, ours.
  for (let depth = 0; depth < 5 && error instanceof Error; depth++) {
    if (error instanceof TransportError || error instanceof StorageError) return error;
    error = error.cause;
  }
  return thrown;
}

/** "We throttle you" has three faces.
 *  @see https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes */
export function isThrottling(thrown: unknown): boolean {
  if (!(thrown instanceof AnswerError)) return false;
  const isLimit = /rateLimitExceeded$/i.test(thrown.reason ?? '');
  return thrown.status === 429 || (thrown.status === 403 && isLimit);
}

/** What arrived was not what was sent. */
export function isMismatch(error: AnswerError): boolean {
  return error.status === 400 && /doesn't match calculated/i.test(error.message);
}

function isTransient(thrown: unknown): boolean {
  if (thrown instanceof AnswerError) {
    const isServers = thrown.status >= 500 || thrown.status === 408;
    return isServers || isThrottling(thrown) || isMismatch(thrown);
  }
  if (thrown instanceof CredentialsError) {
    // The library has repeated it already, but only within a second.
    return isTransientFailure(causeOf(thrown)) ?? (statusOf(thrown.cause) ?? 0) >= 500;
  }
  return isTransientFailure(thrown) ?? false;
}

/** Of an answer to a request for a token. */
export function statusOf(thrown: unknown): number | undefined {
  const response: unknown =
    thrown instanceof Error && 'response' in thrown ? thrown.response : undefined;
  const isResponse = typeof response === 'object' && response !== null && 'status' in response;
  return isResponse && typeof response.status === 'number' ? response.status : undefined;
}

function hintOf(thrown: unknown): number | undefined {
  return thrown instanceof AnswerError ? thrown.retryAfterMs : undefined;
}

interface Words {
  readonly message: string;
  readonly reason: string | undefined;
  /** False for a page, or for plain text. */
  readonly isOfApi: boolean;
}

/** JSON where Google says no to a request, XML or plain text where it says no to a download. */
function readWords(body: Uint8Array): Words {
  const error = parseError(Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8'));
  if (error !== undefined) return { ...error, message: oneLine(error.message), isOfApi: true };
  const words = textOf(body);
  const isXml = words.includes('<Error>');
  const [code, said, details] = ['Code', 'Message', 'Details'].map((name) =>
    readElement(words, name),
  );
  const message = isXml ? `${said ?? ''} ${details ?? ''}` : words;
  const reason = isXml ? oneName(code) : undefined;
  return { message: oneLine(message) || 'no words', reason, isOfApi: isXml };
}

function parseError(
  json: string,
): { readonly message: string; readonly reason: string | undefined } | undefined {
  try {
    const value: unknown = JSON.parse(json);
    // A list of one, where Google answers in a stream; the words alone, where others do.
    const { error } = asRecord(Array.isArray(value) ? value[0] : value);
    if (typeof error === 'string') return { message: error, reason: undefined };
    const { message, errors, status } = asRecord(error);
    if (typeof message !== 'string') return undefined;
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    return { message, reason: oneName(text(asRecord(first)['reason']) ?? text(status)) };
  } catch {
    return undefined;
  }
}
