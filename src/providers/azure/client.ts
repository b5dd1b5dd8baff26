// SPDX-License-Identifier: GPL-3.0-or-later
// Requests to one container. The SDK's policies authorize and log them, our transport carries them, the shared retry repeats them.
// Listings are read by the SDK's client, whose requests take the same way.

import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { authorizeRequestOnTenantChallenge } from '@azure/core-client';
import {
  bearerTokenAuthenticationPolicy,
  createEmptyPipeline,
  createHttpHeaders,
  createPipelineRequest,
  logPolicy,
  type Pipeline,
  type PipelineRequest,
  RestError,
} from '@azure/core-rest-pipeline';
import { AzureLogger } from '@azure/logger';
import {
  BlobServiceClient,
  ContainerClient,
  newPipeline,
  StorageOAuthScopes,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import { storageSharedKeyCredentialPolicy } from '@azure/storage-common';
import { AnswerError } from '../../http/answer-error.ts';
import { contentOf } from '../../http/content.ts';
import { createRetry, type RetryOptions } from '../../http/retry.ts';
import type { Answer, ExchangeRequest, Headers, Transport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import type { Signal } from '../../store/abort.ts';
import { readRefusal } from './errors.ts';
import { assertMatches, isFromStore, REQUEST_ID } from './requests.ts';
import type { AzureSettings } from './settings.ts';
import { createDefaultChain, type TokenSource } from './tokens.ts';

/** The first version that knows all access tiers. The SDK's own may be newer than the server. */
const SERVICE_VERSION = '2021-12-02';

export interface BlobRequest
  extends Pick<ExchangeRequest, 'method' | 'content' | 'receive' | 'isWaitedFor'> {
  /** undefined: the container itself. */
  readonly key: string | undefined;
  /** Without "?". */
  readonly query?: string;
  readonly headers?: Headers;
}

export interface Client {
  /** One request, with retries.
   *  @throws AnswerError, TransportError, StorageError, what gives out tokens */
  send(request: BlobRequest, signal: Signal): Promise<Answer>;
  /** One call of the SDK's client, with retries. @param call must pass the signal on as `abortSignal` */
  call<T>(signal: Signal, call: (container: ContainerClient) => Promise<T>): Promise<T>;
  /** The same with other retries. */
  with(changes: Partial<Retries>): Client;
  /** Of the container, with the signature if there is one. */
  readonly url: string;
  /** With AccountUrl. */
  readonly tokens: TokenSource | undefined;
  /** Signs requests. A shared access signature is in the URL, and needs none. */
  readonly credential: Credential;
}

type Credential = TokenSource | ContainerClient['credential'];

type Retries = Pick<RetryOptions, 'maxRetries' | 'retryConnecting'>;

export function createClient(settings: AzureSettings, transport: Transport, log: Logger): Client {
  takeSdkLog(log);
  const { account } = settings;
  const tokens = account.kind === 'default-chain' ? createDefaultChain(transport) : undefined;
  const service =
    account.kind === 'default-chain'
      ? new BlobServiceClient(account.accountUrl)
      : BlobServiceClient.fromConnectionString(account.connectionString.reveal());
  const containerClient = service.getContainerClient(settings.containerName);
  const { url } = containerClient;
  const credential = tokens ?? containerClient.credential;
  const { origin, pathname, search } = new URL(url);
  const authorizing = createAuthorizing(credential);
  const logging = authorizing.clone();
  logging.addPolicy(logPolicy({ additionalAllowedHeaderNames: LOGGED_HEADERS }));

  /** @param pipeline of policies, one of which may send the request again, with another token */
  async function attempt(
    pipeline: Pipeline,
    request: PipelineRequest,
    rest: Omit<ExchangeRequest, 'origin' | 'method' | 'headers' | 'isFromStore'>,
  ): Promise<Answer> {
    let answer: Answer | undefined;
    const exchange = async (authorized: PipelineRequest) => {
      answer = await transport.exchange({
        ...rest,
        origin,
        method: request.method as ExchangeRequest['method'],
        headers: authorized.headers.toJSON(),
        isFromStore,
      });
      const headers = createHttpHeaders(answer.headers);
      return { request: authorized, status: answer.status, headers };
    };
    await pipeline.sendRequest({ sendRequest: exchange }, request);
    if (answer === undefined) throw new Error('the policies sent nothing');
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw new AnswerError(answer, readRefusal(answer));
  }

  function sendOnce(
    { method, key, query, headers, content, receive, isWaitedFor }: BlobRequest,
    signal: Signal,
  ): Promise<Answer> {
    const id = randomUUID();
    const name = key === undefined ? '' : `/${key.split('/').map(encodeURIComponent).join('/')}`;
    const queries = query === undefined ? search : `${search === '' ? '?' : `${search}&`}${query}`;
    const path = `${pathname}${name}${queries}`;
    const request = createPipelineRequest({
      method,
      url: origin + path,
      headers: createHttpHeaders({
        ...headers,
        'x-ms-version': SERVICE_VERSION,
        [REQUEST_ID]: id,
      }),
      requestId: id,
    });
    return attempt(logging, request, {
      path,
      content,
      receive,
      isWaitedFor,
      signal,
      assertMatches: (answer) => {
        assertMatches(key, id, answer);
      },
    });
  }

  /** Does not log, since the SDK's client does. */
  async function sendForSdk(request: SdkRequest) {
    const { method, body, abortSignal } = request;
    const { href, pathname, search } = new URL(request.url);
    const answer = await attempt(
      authorizing,
      createPipelineRequest({
        method,
        url: href,
        headers: createHttpHeaders(request.headers.rawHeaders()),
      }),
      {
        path: pathname + search,
        content: contentOf(body),
        signal: abortSignal,
        assertMatches: (given) => {
          assertMatches(undefined, request.headers.get(REQUEST_ID), given);
        },
      },
    );
    return {
      request,
      status: answer.status,
      headers: toSdkHeaders(request, answer.headers),
      bodyAsText: Buffer.from(answer.body).toString('utf8'),
      // That of a batch is read as a stream.
      readableStreamBody: Readable.from([answer.body]),
    };
  }

  const container = new ContainerClient(
    url,
    newPipeline(undefined, { httpClient: { sendRequest: sendForSdk }, retryOptions: NO_RETRIES }),
  );

  function open(retries: Retries): Client {
    const retry = createRetry({
      ...retries,
      classify: (thrown) =>
        isTransient(thrown, retries.retryConnecting) ? 'transient' : undefined,
    });
    return {
      send: (request, signal) => retry(signal, () => sendOnce(request, signal)),
      call: (signal, call) =>
        retry(signal, async () => {
          try {
            return await call(container);
          } catch (thrown) {
            throw toAnswerError(thrown);
          }
        }),
      with: (changes) => open({ ...retries, ...changes }),
      url,
      tokens,
      credential,
    };
  }

  return open({ maxRetries: settings.maxRetries, retryConnecting: true });
}

const NO_RETRIES = { maxTries: 1 };
const LOGGED_HEADERS = ['x-ms-error-code', 'x-ms-range', 'x-ms-version'];

type SdkHttpClient = NonNullable<NonNullable<Parameters<typeof newPipeline>[1]>['httpClient']>;
type SdkRequest = Parameters<SdkHttpClient['sendRequest']>[0];
type SdkResponse = Awaited<ReturnType<SdkHttpClient['sendRequest']>>;

/** The SDK's policy for a token or an account key. */
function createAuthorizing(credential: Credential): Pipeline {
  const pipeline = createEmptyPipeline();
  if ('getToken' in credential) {
    const challengeCallbacks = { authorizeRequestOnChallenge: authorizeRequestOnTenantChallenge };
    const scopes = StorageOAuthScopes;
    pipeline.addPolicy(bearerTokenAuthenticationPolicy({ credential, scopes, challengeCallbacks }));
  } else if (credential instanceof StorageSharedKeyCredential) {
    const { accountName } = credential;
    const accountKey = credential['accountKey'];
    pipeline.addPolicy(storageSharedKeyCredentialPolicy({ accountName, accountKey }));
  }
  return pipeline;
}

/** Failures that pass, beside those of all servers. */
function isTransient(thrown: unknown, retryConnecting: boolean): boolean {
  // The content was altered on its way, or the XML of a listing broke off.
  if (thrown instanceof AnswerError) return thrown.code === 'Md5Mismatch' || thrown.status < 300;
  // The machine's metadata service fails now and then. At start there may be none.
  const isTokenMissing =
    thrown instanceof Error &&
    (thrown.name === 'CredentialUnavailableError' ||
      thrown.name === 'AggregateAuthenticationError');
  return isTokenMissing && retryConnecting;
}

/** An answer that the SDK could not read. */
function toAnswerError(thrown: unknown): unknown {
  if (!(thrown instanceof RestError) || thrown.response === undefined) return thrown;
  const { status, headers, bodyAsText } = thrown.response;
  const body = Buffer.from(bodyAsText ?? '');
  return new AnswerError({ status, headers: headers.toJSON(), body }, {});
}

/** With AZURE_LOG_LEVEL the SDK prints to stderr. The lines belong into Orthanc's log, which hides secrets. The SDK shows only headers and
 *  parameters that it knows to be harmless. */
function takeSdkLog(log: Logger): void {
  AzureLogger.log = (...parts: readonly unknown[]) => {
    const line = parts.map(String).join(' ');
    // Each begins with its origin, such as "azure:storage-blob:warning". The operation's own line tells what an error means for Orthanc.
    const isSerious = /^\S+:(error|warning)\s/.test(line);
    log[isSerious ? 'warning' : 'info'](`Azure SDK: ${line}`);
  };
}

function toSdkHeaders(request: SdkRequest, headers: Headers): SdkResponse['headers'] {
  // The SDK does not export the class, so an instance is copied.
  const copy = request.headers.clone();
  for (const name of copy.headerNames()) copy.remove(name);
  for (const [name, value] of Object.entries(headers)) copy.set(name, value);
  return copy;
}
