// SPDX-License-Identifier: GPL-3.0-or-later
// The only importer of @azure/identity. tokens.ts imports it when it is needed.

import {
  createHttpHeaders,
  type HttpClient,
  type PipelineRequest,
  RestError,
} from '@azure/core-rest-pipeline';
import {
  type AccessToken,
  ChainedTokenCredential,
  DefaultAzureCredential,
  EnvironmentCredential,
  type GetTokenOptions,
  ManagedIdentityCredential,
  type TokenCredential,
  WorkloadIdentityCredential,
} from '@azure/identity';
import { contentOf } from '../../http/content.ts';
import { type ExchangeRequest, type Transport, TransportError } from '../../http/transport.ts';
import { Cancellation, type Signal } from '../../store/abort.ts';

export type { AccessToken, GetTokenOptions, TokenCredential };

type Variables = Readonly<Record<string, string | undefined>>;

/** DefaultAzureCredential without its tools for developers (az, azd, PowerShell, Visual Studio Code), since they start processes.
 *  AZURE_TOKEN_CREDENTIALS brings them back. */
export function createCredential(transport: Transport, variables: Variables): TokenCredential {
  const options = { httpClient: createHttpClient(transport) };
  if (isSet(variables['AZURE_TOKEN_CREDENTIALS'])) return new DefaultAzureCredential(options);
  const clientId = variables['AZURE_CLIENT_ID'];
  const hasWorkloadIdentity =
    isSet(variables['AZURE_FEDERATED_TOKEN_FILE']) &&
    isSet(variables['AZURE_TENANT_ID']) &&
    isSet(clientId);
  // http/retry.ts repeats what lasts longer. The default would take 7 s of a start.
  const quick = { ...options, retryOptions: { maxRetries: 1, retryDelayInMs: 500 } };
  return new ChainedTokenCredential(
    new EnvironmentCredential(quick),
    ...(hasWorkloadIdentity ? [new WorkloadIdentityCredential(quick)] : []),
    new ManagedIdentityCredential(isSet(clientId) ? { ...options, clientId } : options),
  );
}

function isSet(value: string | undefined): value is string {
  return value !== undefined && value !== '';
}

/** The way to Entra ID and to the machine's metadata service, with Orthanc's authorities and proxy. */
function createHttpClient(transport: Transport): HttpClient {
  return {
    async sendRequest(request) {
      const url = new URL(request.url);
      const link = new Cancellation(...signalsOf(request));
      try {
        const answer = await transport.exchange({
          origin: url.origin,
          method: request.method as ExchangeRequest['method'],
          path: url.pathname + url.search,
          headers: request.headers.toJSON(),
          content: contentOf(request.body),
          signal: link,
        });
        return {
          request,
          status: answer.status,
          headers: createHttpHeaders(answer.headers),
          bodyAsText: Buffer.from(answer.body).toString('utf8'),
        };
      } catch (thrown) {
        if (!(thrown instanceof TransportError)) throw thrown;
        // What the SDK's policies for repetitions look at.
        throw Object.assign(new RestError(thrown.message, { code: thrown.code, request }), {
          cause: thrown,
        });
      } finally {
        link.release();
      }
    },
  };
}

function signalsOf({ abortSignal, timeout }: PipelineRequest): readonly Signal[] {
  return [
    ...(abortSignal === undefined ? [] : [abortSignal]),
    ...(timeout > 0 ? [AbortSignal.timeout(timeout)] : []),
  ];
}
