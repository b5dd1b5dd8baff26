// SPDX-License-Identifier: GPL-3.0-or-later
// The credentials: the keys of the configuration, or what AWS's chain finds.

import type { S3ClientConfig } from '@aws-sdk/client-s3';
import { asRecord } from '../../http/words.ts';
import type { AwaitedServer } from '../../store/check-timeout.ts';
import {
  createPlaces,
  type Credentials as FoundCredentials,
  type Identity,
  NoAnswerError,
  type Place,
} from './credential-places.ts';
import type { SdkLogger } from './sdk-log.ts';
import type { S3Settings } from './settings.ts';

/** As in the SDK: credentials that expire within this time are asked for anew, and used until then. */
const RENEWAL_MS = 5 * 60_000;

/** Shared by all clients of a store, so that the chain is searched once. */
export interface Credentials {
  /** For the SDK. Throws CredentialsError. */
  readonly provider: NonNullable<S3ClientConfig['credentials']>;
  /** The store does not take them any more: they are looked for again when the provider is asked next.
   *  @returns false for the keys of the configuration, which stay as they are */
  forget(): boolean;
  /** The server that has been asked and has not answered yet. */
  waitsFor(): AwaitedServer | undefined;
}

/** The chain has no credentials. The bucket has not been asked. The cause is what the last place threw. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';
  /** The one that ended the search; undefined: none had any. */
  readonly place: Place | undefined;
  /** What became of each place, such as "the environment (AWS_ACCESS_KEY_ID is not set)". */
  readonly searched: readonly string[];

  constructor(cause: unknown, place: Place | undefined, searched: readonly string[]) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.place = place;
    this.searched = searched;
  }
}

export function createCredentials(
  { credentials, requestTimeoutMs }: S3Settings,
  logger: SdkLogger,
): Credentials {
  if (credentials !== undefined) {
    const { accessKey, secretKey } = credentials;
    const provider = { accessKeyId: accessKey, secretAccessKey: secretKey.reveal() };
    return { provider, forget: () => false, waitsFor: () => undefined };
  }
  let current: FoundCredentials | undefined;
  let asking: Promise<FoundCredentials> | undefined;
  let asked: Place | undefined;
  // As for connections: within RequestTimeout, so that the operation can say what it waited for.
  const limitMs = Math.max(1, Math.floor(requestTimeoutMs / 4));

  async function search(identity: Identity): Promise<FoundCredentials> {
    const searched: string[] = [];
    let cause: unknown;
    for (const place of await createPlaces(process.env, logger)) {
      asked = place;
      try {
        current = await within(limitMs, place, identity);
        return current;
      } catch (thrown) {
        cause = thrown;
        searched.push(`${place.name} (${place.explain(thrown)})`);
        // The SDK's providers say so where they were not set up.
        if (asRecord(thrown)['tryNextLink'] !== true) {
          throw new CredentialsError(cause, place, searched);
        }
      } finally {
        asked = undefined;
      }
    }
    throw new CredentialsError(cause, undefined, searched);
  }

  return {
    // The identity names the client that asks. Clients of the chain (STS, SSO) inherit our connections from it.
    async provider(identity) {
      const leftMs = timeLeftMs(current);
      if (current !== undefined && leftMs > RENEWAL_MS) return current;
      asking ??= search(identity).finally(() => {
        asking = undefined;
      });
      if (current === undefined || leftMs <= 0) return await asking;
      // Nobody waits for it. Once the old ones have expired, the next request reports its failure.
      asking.catch(() => undefined);
      return current;
    },
    forget() {
      current = undefined;
      return true;
    },
    waitsFor: () => asked?.server,
  };
}

function timeLeftMs(credentials: FoundCredentials | undefined): number {
  const { expiration } = credentials ?? {};
  return expiration === undefined ? Number.POSITIVE_INFINITY : expiration.getTime() - Date.now();
}

async function within(ms: number, place: Place, identity: Identity): Promise<FoundCredentials> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new NoAnswerError(place.server));
    }, ms);
  });
  try {
    return await Promise.race([place.find(identity), timeout]);
  } finally {
    clearTimeout(timer);
  }
}
