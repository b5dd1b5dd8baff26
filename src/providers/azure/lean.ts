// SPDX-License-Identifier: GPL-3.0-or-later
// One attempt without the SDK's clients, for the requests that make nearly all of the traffic: the SDK's own policies sign it, but
// nothing else of its pipeline runs. Whatever does not plainly succeed is repeated through the SDK.

import { randomUUID } from 'node:crypto';
import {
  bearerTokenAuthenticationPolicy,
  createHttpHeaders,
  createPipelineRequest,
  RestError,
} from '@azure/core-rest-pipeline';
import { StorageOAuthScopes, StorageSharedKeyCredential } from '@azure/storage-blob';
import { StorageError } from '../../errors.ts';
import { attemptOnce, type Lean } from '../../http/lean.ts';
import type { Answer, ExchangeRequest, Headers, Transport } from '../../http/transport.ts';
import type { Connection } from './client.ts';
import type { TokenCredential } from './identity.ts';
import { assertMatches, isFromStore, REQUEST_ID } from './requests.ts';

/** The first that knows all access tiers; not the SDK's own, which follows the newest cloud. */
const SERVICE_VERSION = '2021-12-02';

export function createLean(
  connection: Connection,
  containerName: string,
  transport: Transport,
): Lean {
  const { origin, pathname, search } = new URL(connection.container.url);
  const authorize = createAuthorize(connection);

  async function attempt(
    method: 'PUT' | 'GET' | 'DELETE',
    key: string,
    headers: Headers,
    rest: Pick<ExchangeRequest, 'content' | 'receive'> & { readonly signal: AbortSignal },
  ): Promise<boolean> {
    const path = `${pathname}/${key.split('/').map(encodeURIComponent).join('/')}${search}`;
    const id = randomUUID();
    const all = { ...headers, 'x-ms-version': SERVICE_VERSION, [REQUEST_ID]: id };
    const exchange = (signed: Headers) =>
      transport.exchange({
        ...rest,
        origin,
        method,
        path,
        headers: signed,
        isFromStore,
        assertMatches: (answer) => {
          assertMatches(key, id, answer);
        },
      });
    return await attemptOnce(
      rest.signal,
      () => authorize({ method, url: origin + path, headers: all }, exchange),
      (answer) => {
        if (answer.headers['x-ms-error-code'] !== 'BlobNotFound') {
          return toRestError(answer, { method, url: origin + path });
        }
        const requestId = answer.headers['x-ms-request-id'];
        return new StorageError(
          'NOT_FOUND',
          `there is no object "${key}" in Azure container "${containerName}"`,
          { key, ...(requestId === undefined ? {} : { requestId }) },
        );
      },
    );
  }

  return {
    put: (key, headers, content, signal) =>
      attempt('PUT', key, headers, { content, receive: undefined, signal }),
    get: (key, headers, receive, signal) =>
      attempt('GET', key, headers, { content: undefined, receive, signal }),
    delete: (key, signal) =>
      attempt('DELETE', key, {}, { content: undefined, receive: undefined, signal }),
  };
}

/** As the SDK would throw it. */
function toRestError(
  answer: Answer,
  { method, url }: { method: 'PUT' | 'GET' | 'DELETE'; url: string },
): RestError {
  const { status } = answer;
  const request = createPipelineRequest({ method, url });
  const headers = createHttpHeaders(answer.headers);
  const bodyAsText = Buffer.from(answer.body).toString('utf8');
  return new RestError(`status ${status}`, {
    statusCode: status,
    request,
    response: { request, status, headers, bodyAsText },
  });
}

/** Sends a request with whatever shows that it is ours. */
type Authorize = (
  request: Unsigned,
  exchange: (headers: Headers) => Promise<Answer>,
) => Promise<Answer>;

interface Unsigned {
  readonly method: 'PUT' | 'GET' | 'DELETE';
  readonly url: string;
  readonly headers: Headers;
}

function createAuthorize({ container, tokens }: Connection): Authorize {
  if (tokens !== undefined) return authorizeWithToken(tokens);
  const { credential } = container;
  return credential instanceof StorageSharedKeyCredential
    ? async (request, exchange) => exchange(await signWithKey(credential, request))
    : // The URL itself holds the signature.
      ({ headers }, exchange) => exchange(headers);
}

/** The SDK's policy keeps the token, renews it before its time, and answers challenges. */
function authorizeWithToken(credential: TokenCredential): Authorize {
  const policy = bearerTokenAuthenticationPolicy({ credential, scopes: StorageOAuthScopes });
  return async ({ method, url, headers }, exchange) => {
    let last: Answer | undefined;
    await policy.sendRequest(
      createPipelineRequest({ method, url, headers: createHttpHeaders(headers) }),
      async (request) => {
        last = await exchange(request.headers.toJSON());
        return { request, status: last.status, headers: createHttpHeaders(last.headers) };
      },
    );
    if (last === undefined) throw new Error('the policy sent nothing');
    return last;
  };
}

/** The SDK's policy signs, in a pipeline of its own that ends there. */
async function signWithKey(
  credential: StorageSharedKeyCredential,
  { method, url, headers }: Unsigned,
): Promise<Headers> {
  const signed = new Map(Object.entries(headers));
  // What the policy uses of the SDK's WebResource (storage-common 12.4, StorageSharedKeyCredentialPolicy.signRequest).
  const request = {
    method,
    url,
    headers: {
      get: (name: string) => signed.get(name.toLowerCase()),
      set: (name: string, value: string) => signed.set(name.toLowerCase(), value),
      headersArray: () => Array.from(signed, ([name, value]) => ({ name, value })),
    },
  };
  const end = { sendRequest: () => Promise.resolve() };
  await credential.create(end as never, {} as never).sendRequest(request as never);
  return Object.fromEntries(signed);
}
