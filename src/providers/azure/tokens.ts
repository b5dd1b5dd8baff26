// SPDX-License-Identifier: GPL-3.0-or-later
// Tokens for AccountUrl. @azure/identity is loaded for the first token, and not at all with a connection string.

import { type Transport, TransportError } from '../../http/transport.ts';
import { once } from '../../store/once.ts';
import type { AccessToken, GetTokenOptions, TokenCredential } from './identity.ts';

export interface TokenSource extends TokenCredential {
  /** A token has been asked for and has not come. */
  isWaiting(): boolean;
}

/** The default chain: environment, workload identity, managed identity. */
export function createDefaultChain(transport: Transport): TokenSource {
  let networkError: TransportError | undefined;
  let waiting = 0;

  /** MSAL says no more than "network_error", so the transport's error is kept. */
  const watched: Transport = {
    ...transport,
    async exchange(request) {
      try {
        return await transport.exchange(request);
      } catch (thrown) {
        if (thrown instanceof TransportError) networkError = thrown;
        throw thrown;
      }
    },
  };

  const load = once(async () => {
    const { createCredential } = await import('./identity.ts');
    return createCredential(watched, process.env);
  });

  return {
    async getToken(
      scopes: string | string[],
      options: GetTokenOptions = {},
    ): Promise<AccessToken | null> {
      // All operations wait for the same token, so that none may end the request.
      const { abortSignal: _own, ...shared } = options;
      networkError = undefined;
      waiting += 1;
      try {
        return await (await load()).getToken(scopes, shared);
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
  };
}
