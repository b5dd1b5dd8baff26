// SPDX-License-Identifier: GPL-3.0-or-later
// Requests of Google's JSON API over our transport. Those of @google-cloud/storage can neither be cancelled nor use HttpProxy and
// HttpsCACertificates, and take several times the CPU (docs/decisions.md).
// @see https://docs.cloud.google.com/storage/docs/json_api/v1

import { AnswerError } from '../../http/answer-error.ts';
import { createRetry, type Retry, type RetryOptions, type RetryReason } from '../../http/retry.ts';
import type { Answer, ExchangeRequest, Headers, Transport } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import type { AwaitedServer } from '../../store/check-timeout.ts';
import { isMarked, isMismatch, isThrottling, readRefusal } from './answers.ts';
import { type Credentials, CredentialsError, TOKEN_SERVER } from './credentials.ts';

export interface GoogleRequest
  extends Pick<
    ExchangeRequest,
    'method' | 'path' | 'content' | 'receive' | 'assertMatches' | 'isWaitedFor'
  > {
  readonly headers?: Headers;
  /** A status beside 2xx that is no failure. */
  readonly accept?: number;
  /** Whether a success without Google's headers, as emulators give it, has what the next step needs. */
  readonly isAnswer: (answer: Answer) => boolean;
}

export interface Client {
  /** One request, with retries.
   *  @throws AnswerError, CredentialsError, TransportError, StorageError */
  send(request: GoogleRequest, signal: Signal): Promise<Answer>;
  /** One request without retries. */
  attempt(request: GoogleRequest, signal: Signal): Promise<Answer>;
  /** Repeats work that makes one or more attempts. */
  readonly repeat: Retry;
  /** The same with other retries. */
  with(changes: Partial<Retries>): Client;
  /** Where requests go, for messages. */
  readonly target: string;
  readonly describeWait: () => AwaitedServer;
}

export interface ClientOptions {
  /** undefined: Google. */
  readonly endpoint: string | undefined;
  readonly transport: Transport;
  readonly credentials: Credentials;
}

type Retries = Pick<RetryOptions, 'maxRetries' | 'retryConnecting'>;

export function createClient(options: ClientOptions, retries: Retries): Client {
  const { endpoint, transport, credentials } = options;

  async function attempt(request: GoogleRequest, signal: Signal): Promise<Answer> {
    const { headers, universeDomain } = await credentials.authorize(signal);
    const { method, path, content, receive, assertMatches, isWaitedFor, accept, isAnswer } =
      request;
    const answer = await transport.exchange({
      method,
      path,
      content,
      receive,
      assertMatches,
      isWaitedFor,
      origin: endpoint ?? `https://storage.${universeDomain}`,
      headers: { ...headers, ...request.headers },
      isFromStore: (given) =>
        isMarked(given) ||
        // The API's words count, whatever their Content-Type.
        (given.status < 300 ? isAnswer(given) : readRefusal(given).words !== undefined),
      signal,
    });
    if ((answer.status >= 200 && answer.status < 300) || answer.status === accept) {
      return answer;
    }
    throw new AnswerError(answer, readRefusal(answer));
  }

  const repeat = createRetry({
    ...retries,
    classify,
    recover({ status }) {
      if (status === 401) credentials.renew();
      return status === 401;
    },
  });
  const target = endpoint ?? 'storage.googleapis.com';
  return {
    send: (request, signal) => repeat(signal, () => attempt(request, signal)),
    attempt,
    repeat,
    with: (changes) => createClient(options, { ...retries, ...changes }),
    target,
    describeWait: () =>
      credentials.isWaiting()
        ? { name: TOKEN_SERVER, settings: undefined }
        : { name: target, settings: 'GoogleCloudStorage.Endpoint' },
  };
}

/** Failures that pass, beside those of all servers. */
function classify(thrown: unknown): RetryReason | undefined {
  if (thrown instanceof AnswerError) {
    if (isThrottling(thrown)) return 'throttled';
    return isMismatch(thrown) ? 'transient' : undefined;
  }
  // The library has repeated this already, but only within a second.
  const isOfTokenServer = thrown instanceof CredentialsError && (thrown.status ?? 0) >= 500;
  return isOfTokenServer ? 'transient' : undefined;
}
