// SPDX-License-Identifier: GPL-3.0-or-later
// Who we are to S3: the keys of the configuration, or what the SDK's chain finds.

import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { defaultProvider } from '@aws-sdk/credential-provider-node';
import type { S3Settings } from '../../config/settings.ts';
import type { SdkLogger } from './sdk-log.ts';

/** One for all clients of a store, so that a chain is walked once. */
export interface Credentials {
  /** For the SDK. Throws CredentialsError. */
  readonly provider: NonNullable<S3ClientConfig['credentials']>;
  /** The chain has been asked and has not answered. */
  isWaiting(): boolean;
}

/** The chain found no credentials, or could not get them: nothing that the bucket or its server is to blame for. The cause is
 *  what a part of the chain threw. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';

  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

export function createCredentials({ credentials }: S3Settings, logger: SdkLogger): Credentials {
  if (credentials !== undefined) {
    const { accessKey, secretKey } = credentials;
    const provider = { accessKeyId: accessKey, secretAccessKey: secretKey.reveal() };
    return { provider, isWaiting: () => false };
  }
  const chain = defaultProvider({ logger });
  let waiting = 0;
  return {
    // Its options are the asking client's; the clients of the chain (STS, SSO) inherit our connections from it.
    async provider(options) {
      waiting += 1;
      try {
        return await chain(options);
      } catch (thrown) {
        throw new CredentialsError(thrown);
      } finally {
        waiting -= 1;
      }
    },
    isWaiting: () => waiting > 0,
  };
}
