// SPDX-License-Identifier: GPL-3.0-or-later
// google-auth-library finds credentials and gets tokens. Its requests go over our transport, so that HttpProxy and HttpsCACertificates
// hold for them too.

import { type AuthClient, GoogleAuth, gaxios, JWT } from 'google-auth-library';
import { contentOf } from '../../http/content.ts';
import type { ExchangeRequest, Headers, Transport } from '../../http/transport.ts';
import { asRecord } from '../../http/words.ts';
import { type Signal, untilAborted } from '../../store/abort.ts';
import { checkDefaultFile } from './default-credentials.ts';
import { readServiceAccount, type ServiceAccount } from './service-account.ts';

/** Objects of buckets, but no bucket's policy. */
const SCOPE = 'https://www.googleapis.com/auth/devstorage.read_write';
/** How long a token of the library's is kept. The library renews its token 5 minutes before it expires. */
const ASK_AGAIN_MS = 60_000;
/** How long the last token is used if no new one can be had. The library's tokens are good for 5 minutes at least. */
const GRACE_MS = 4 * 60_000;

/** For messages. */
export const TOKEN_SERVER = 'the server that gives the token for the credentials';

export interface Authorization {
  /** `authorization`, and `x-goog-user-project` if the credentials name a project that pays. */
  readonly headers: Headers;
  /** "googleapis.com", or the domain of another cloud with Google's technique. */
  readonly universeDomain: string;
}

export interface Credentials {
  /** @throws CredentialsError, what the signal says */
  authorize(signal: Signal): Promise<Authorization>;
  /** After a token was refused: forgets it, and reads the key file anew. */
  renew(): void;
  /** A token has been asked for and has not come. */
  isWaiting(): boolean;
}

/** No token could be had. The cause is the library's error, or TransportError. */
export class CredentialsError extends Error {
  override readonly name = 'CredentialsError';

  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }

  /** Of the answer to the request for a token. */
  get status(): number | undefined {
    const { status } = asRecord(asRecord(this.cause)['response']);
    return typeof status === 'number' ? status : undefined;
  }
}

export const anonymous: Credentials = {
  authorize: () => Promise.resolve({ headers: {}, universeDomain: 'googleapis.com' }),
  renew: () => undefined,
  isWaiting: () => false,
};

export interface CredentialsDependencies {
  readonly transport: Transport;
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
}

/** @param serviceAccountFile undefined: application default credentials
 *  @throws StorageError BAD_CONFIG for a file that is no key */
export function createCredentials(
  serviceAccountFile: string | undefined,
  deps: CredentialsDependencies,
): Credentials {
  const { now } = deps;
  const fetchImplementation = createFetch(deps);
  let account =
    serviceAccountFile === undefined ? undefined : readServiceAccount(serviceAccountFile);
  let client: Promise<AuthClient> | undefined;
  let current: { readonly authorization: Authorization; readonly sinceMs: number } | undefined;
  let asking: Promise<Authorization> | undefined;

  function open(): Promise<AuthClient> {
    if (serviceAccountFile === undefined) return openDefault(fetchImplementation);
    // Read anew after a failure, since keys are replaced while Orthanc runs.
    account ??= readServiceAccount(serviceAccountFile);
    const opened = openServiceAccount(account, fetchImplementation);
    account = undefined;
    return Promise.resolve(opened);
  }

  async function ask(): Promise<Authorization> {
    try {
      client ??= open();
      const opened = await client;
      const headers = Object.fromEntries(await opened.getRequestHeaders());
      const authorization = { headers, universeDomain: opened.universeDomain };
      current = { authorization, sinceMs: now() };
      return authorization;
    } catch (thrown) {
      client = undefined;
      throw new CredentialsError(thrown);
    }
  }

  return {
    async authorize(signal) {
      const ageMs = current === undefined ? Number.POSITIVE_INFINITY : now() - current.sinceMs;
      if (current !== undefined && ageMs < ASK_AGAIN_MS) return current.authorization;
      asking ??= ask().finally(() => {
        asking = undefined;
      });
      if (current !== undefined && ageMs < GRACE_MS) {
        // Nobody waits for it. A failure is reported once the grace is over.
        asking.catch(() => undefined);
        return current.authorization;
      }
      return untilAborted(asking, signal);
    },
    renew() {
      current = undefined;
      client = undefined;
    },
    isWaiting: () => asking !== undefined && current === undefined,
  };
}

type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** The library's options for requests over our connections. With HTTPS_PROXY it would load an agent of its own, which no fetch uses. */
function by(fetchImplementation: Fetch) {
  return { fetchImplementation, noProxy: [/^/] };
}

function openServiceAccount(account: ServiceAccount, fetchImplementation: Fetch): AuthClient {
  const client = new JWT({ scopes: [SCOPE], transporterOptions: by(fetchImplementation) });
  client.fromJSON(account);
  return client;
}

async function openDefault(fetchImplementation: Fetch): Promise<AuthClient> {
  checkDefaultFile();
  // The library asks the metadata server by another instance, one for the whole process.
  Object.assign(gaxios.instance.defaults, by(fetchDirectly));
  const auth = new GoogleAuth({
    scopes: [SCOPE],
    // Not used. Without it the library would start gcloud.
    projectId: 'none',
    clientOptions: { transporterOptions: by(fetchImplementation) },
  });
  const client = await auth.getClient();
  for (const transporter of transportersIn(client)) {
    Object.assign(transporter.defaults, by(fetchImplementation));
  }
  return client;
}

/** The library ignores our options for some of its parts (10.9.1: the exchange of tokens for workload identity, and both clients for
 *  impersonation). */
function transportersIn(value: unknown): readonly AuthClient['transporter'][] {
  if (typeof value !== 'object' || value === null) return [];
  const { transporter, sourceClient, stsCredential } = value as {
    readonly transporter?: AuthClient['transporter'];
    readonly sourceClient?: unknown;
    readonly stsCredential?: unknown;
  };
  const own = transporter === undefined ? [] : [transporter];
  return [...own, ...transportersIn(sourceClient), ...transportersIn(stsCredential)];
}

/** A fetch for the library. */
function createFetch({ transport }: CredentialsDependencies): Fetch {
  return async (input, init = {}) => {
    const url = new URL(input instanceof Request ? input.url : input);
    const content = contentOf(init.body);
    const headers = Object.fromEntries(new Headers(init.headers));
    const answer = await transport.exchange({
      origin: url.origin,
      method: (init.method ?? 'GET') as ExchangeRequest['method'],
      path: url.pathname + url.search,
      headers:
        content === undefined
          ? headers
          : { ...headers, 'content-length': String(content.sizeBytes) },
      content,
      signal: init.signal ?? undefined,
    });
    const body = answer.body.length === 0 ? null : answer.body;
    return new Response(body, { status: answer.status, headers: { ...answer.headers } });
  };
}

/** Node's own. Metadata servers need neither proxies nor authorities. */
async function fetchDirectly(...parameters: Parameters<Fetch>): Promise<Response> {
  try {
    return await fetch(...parameters);
  } catch (thrown) {
    // The library looks at the code, which only the cause has.
    throw thrown instanceof TypeError && thrown.cause instanceof Error ? thrown.cause : thrown;
  }
}
