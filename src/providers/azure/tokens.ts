// SPDX-License-Identifier: GPL-3.0-or-later
// Tokens for AccountUrl. @azure/identity is loaded when the first one is needed, and not at all with a connection string.

import type { AzureSettings } from '../../config/settings.ts';
import { createTransport, type Transport, TransportError } from '../transport.ts';
import type { AccessToken, GetTokenOptions, TokenCredential } from './identity.ts';

export interface TokenSource extends TokenCredential {
  /** A token has been asked for and has not come. */
  isWaiting(): boolean;
  close(): Promise<void>;
}

/** The default chain: environment, workload identity, managed identity. */
export function createDefaultChain(settings: AzureSettings, transport: Transport): TokenSource {
  // The metadata services of Azure's machines are on the machine itself; a proxy cannot reach them.
  let local: Transport | undefined;
  const transportFor = (url: URL) => {
    if (!isLocal(url.hostname) || settings.proxyUrl === undefined) return transport;
    local ??= createTransport({ ...settings, proxyUrl: undefined });
    return local;
  };
  let credential: Promise<TokenCredential> | undefined;
  let networkError: TransportError | undefined;
  let waiting = 0;

  /** MSAL says "network_error" of whatever the network does; this one knows more. */
  function watch(url: URL): Transport {
    const watched = transportFor(url);
    return {
      ...watched,
      async exchange(request) {
        try {
          return await watched.exchange(request);
        } catch (thrown) {
          if (thrown instanceof TransportError) networkError = thrown;
          throw thrown;
        }
      },
    };
  }

  async function load(): Promise<TokenCredential> {
    const { createCredential } = await import('./identity.ts');
    return createCredential(watch, process.env);
  }

  return {
    async getToken(
      scopes: string | string[],
      options: GetTokenOptions = {},
    ): Promise<AccessToken | null> {
      credential ??= load();
      // A token is for all: an operation that is given up must not end the others' wait for it.
      const { abortSignal: _own, ...shared } = options;
      networkError = undefined;
      waiting += 1;
      try {
        return await (await credential).getToken(scopes, shared);
      } catch (thrown) {
        const isNetwork = thrown instanceof Error && thrown.name === 'AuthenticationError';
        if (isNetwork && thrown.message.includes('network_error') && networkError !== undefined) {
          throw new Error(thrown.message, { cause: networkError });
        }
        throw thrown;
      } finally {
        waiting -= 1;
      }
    },
    isWaiting: () => waiting > 0,
    async close() {
      await local?.close();
    },
  };
}

function isLocal(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^(127|169\.254)\./.test(hostname);
}
