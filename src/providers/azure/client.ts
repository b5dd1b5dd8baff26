// SPDX-License-Identifier: GPL-3.0-or-later
// The SDK's client as this provider needs it: our transport beneath, its credentials, its log in ours.

import { Readable } from 'node:stream';
import { AzureLogger } from '@azure/logger';
import { BlobServiceClient, type ContainerClient, newPipeline } from '@azure/storage-blob';
import { readLocation } from '../../http/network-errors.ts';
import type { ExchangeRequest, Headers, Receiver, Transport } from '../../http/transport.ts';
import type { Logger } from '../../log.ts';
import { linkSignals } from '../../store/abort.ts';
import { viewOf } from '../../store/bodies.ts';
import type { Body } from '../../store/object-store.ts';
import { assertMatches, isFromStore, REQUEST_ID } from './requests.ts';
import type { AzureSettings } from './settings.ts';
import { createDefaultChain, type TokenSource } from './tokens.ts';

/** What a request takes past the SDK, which sees heads only: so a repetition reads the content anew, and bytes that arrive go
 *  straight to their place. */
export interface SendOptions {
  readonly content?: Body;
  readonly receive?: (status: number, headers: Headers) => Receiver;
}

export interface Connection {
  readonly container: ContainerClient;
  /** Where tokens come from, with AccountUrl. */
  readonly tokens: TokenSource | undefined;
  /** Runs one call of the SDK.
   *  @param call gets the signal that it must pass to the SDK as `abortSignal`; it belongs to this one request */
  send<T>(
    signal: AbortSignal,
    options: SendOptions,
    call: (abortSignal: AbortSignal) => Promise<T>,
  ): Promise<T>;
}

type SdkHttpClient = NonNullable<NonNullable<Parameters<typeof newPipeline>[1]>['httpClient']>;
type SdkRequest = Parameters<SdkHttpClient['sendRequest']>[0];
type SdkResponse = Awaited<ReturnType<SdkHttpClient['sendRequest']>>;
type SentOptions = SendOptions & { readonly signal: AbortSignal };

export function connect(settings: AzureSettings, transport: Transport, log: Logger): Connection {
  takeSdkLog(log);
  // By signal, which is the one option of each call that the SDK hands on to the HTTP client as it is.
  const sent = new WeakMap<object, SentOptions>();
  const options = {
    httpClient: createHttpClient(transport, sent),
    // Repeated above it, by retry.ts: the SDK's policy knows neither 429 nor Retry-After, and waits 4 s at least.
    retryOptions: { maxTries: 1 },
  };
  const { account } = settings;
  const tokens = account.kind === 'default-chain' ? createDefaultChain(transport) : undefined;
  const service =
    account.kind === 'default-chain'
      ? new BlobServiceClient(account.accountUrl, newPipeline(tokens, options))
      : BlobServiceClient.fromConnectionString(account.connectionString.reveal(), options);
  return {
    container: service.getContainerClient(settings.containerName),
    tokens,
    async send(signal, sendOptions, call) {
      const link = linkSignals(signal);
      const own = link.controller.signal;
      sent.set(own, { ...sendOptions, signal: own });
      try {
        return await call(own);
      } finally {
        link.release();
      }
    },
  };
}

/** AZURE_LOG_LEVEL makes the SDK print to stderr; the lines belong into Orthanc's log, past its net for secrets. The SDK itself
 *  leaves out the headers and parameters that are not on its list of harmless ones. */
function takeSdkLog(log: Logger): void {
  AzureLogger.log = (...parts: readonly unknown[]) => {
    const line = parts.map(String).join(' ');
    // Each begins with its origin, such as "azure:storage-blob:warning". What an error means for Orthanc, the operation's own line says.
    const isSerious = /^\S+:(error|warning)\s/.test(line);
    log[isSerious ? 'warning' : 'info'](`Azure SDK: ${line}`);
  };
}

function createHttpClient(transport: Transport, sent: WeakMap<object, SentOptions>): SdkHttpClient {
  return {
    async sendRequest(request) {
      const options = request.abortSignal === undefined ? undefined : sent.get(request.abortSignal);
      const url = new URL(request.url);
      const answer = await transport.exchange({
        origin: url.origin,
        method: request.method as ExchangeRequest['method'],
        path: url.pathname + url.search,
        headers: request.headers.rawHeaders(),
        content: options?.content ?? toBody(request.body),
        receive: options?.receive,
        isFromStore,
        assertMatches: (given) => {
          assertMatches(decodeURIComponent(url.pathname), request.headers.get(REQUEST_ID), given);
        },
        signal: options?.signal,
      });
      const isReceived = options?.receive !== undefined && answer.status < 300;
      return {
        request,
        status: answer.status,
        headers: toSdkHeaders(request, withoutRedirect(answer.headers)),
        ...(isReceived
          ? // The bytes have gone to the receiver. A stream that ended would make the SDK fetch the rest of them.
            { readableStreamBody: new Readable({ read: () => undefined }) }
          : { bodyAsText: Buffer.from(answer.body).toString('utf8') }),
      };
    },
  };
}

/** The SDK would go where the header of that name leads, on the same host, up to 20 times. */
function withoutRedirect({ location, ...headers }: Headers): Headers {
  const seen = readLocation(location);
  return seen === undefined ? headers : { ...headers, [REDIRECT]: seen };
}

/** Where a redirect leads, in what the SDK reports. */
export const REDIRECT = 'orthanc-redirect';

function toSdkHeaders(request: SdkRequest, headers: Headers): SdkResponse['headers'] {
  // The class is the SDK's secret; an instance is at hand.
  const copy = request.headers.clone();
  for (const name of copy.headerNames()) copy.remove(name);
  for (const [name, value] of Object.entries(headers)) copy.set(name, value);
  return copy;
}

function toBody(body: unknown): Body | undefined {
  if (body === undefined || body === null || body === '') return undefined;
  if (typeof body !== 'string') throw new TypeError('a request of the SDK has a streaming body');
  return viewOf(Buffer.from(body));
}
