// SPDX-License-Identifier: GPL-3.0-or-later
// What the SDK contributes: where requests go, with which keys they are signed, and for its own client a handler over our transport.

import { GetObjectCommand, type S3Client as SdkClient } from '@aws-sdk/client-s3';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import { StorageError } from '../../errors.ts';
import type { Answer, ExchangeRequest, Headers, Transport } from '../../http/transport.ts';
import { asRecord, text } from '../../http/words.ts';
import type { Signal } from '../../store/abort.ts';
import { viewOf } from '../../store/bodies.ts';
import type { Body } from '../../store/object-store.ts';
import { exchange } from './answers.ts';
import { buildQuery, type Query } from './requests.ts';
import { createSigner, type Unsigned } from './sign.ts';

/** What the SDK's client hands to our handler with each request. */
export interface CallOptions {
  readonly signal: Signal;
  /** Is told of a success, before the SDK reads it. */
  readonly onAnswer: (answer: Answer) => void;
}

/** Where requests for the bucket go and how they are signed. */
export interface Target {
  readonly origin: string;
  readonly host: string;
  readonly basePath: string;
  readonly sign: (request: Unsigned) => Promise<Headers>;
}

/** By the SDK's rules for regions, dual stack, FIPS, access points and kinds of buckets.
 *  @throws StorageError BAD_CONFIG for a multi-region access point */
export async function resolveTarget({ config }: SdkClient, bucket: string): Promise<Target> {
  const input = { Bucket: bucket, Key: 'key' };
  // A copy, because the SDK writes into it.
  const { url, properties } = await getEndpointFromInstructions(input, GetObjectCommand, {
    ...config,
  });
  const scheme = readScheme(properties?.['authSchemes']);
  if (scheme === undefined) {
    throw new StorageError(
      'BAD_CONFIG',
      `AwsS3Storage.BucketName: "${bucket}" is a multi-region access point, whose requests need a kind of signature (SigV4A) that this plugin does not have; write the name of one of its buckets, and its region into AwsS3Storage.Region`,
      { key: bucket },
    );
  }
  const isExpress = scheme.name === 'sigv4-s3express';
  const sign = createSigner(
    scheme.signingRegion,
    scheme.signingName,
    isExpress ? 'x-amz-s3session-token' : 'x-amz-security-token',
  );
  const identity = { Bucket: bucket };
  return {
    origin: url.origin,
    host: url.host,
    basePath: url.pathname.replace(/\/$/, ''),
    async sign(request) {
      const credentials = await config.credentials();
      const keys = isExpress
        ? await config.s3ExpressIdentityProvider.getS3ExpressIdentity(credentials, identity)
        : credentials;
      // By the server's clock, where that differs from ours.
      return sign(request, keys, Date.now() + config.systemClockOffset);
    },
  };
}

/** @returns the first of an endpoint's that our signer can do: sigv4, and that of S3 Express */
function readScheme(schemes: unknown) {
  for (const each of Array.isArray(schemes) ? schemes : []) {
    const scheme = asRecord(each);
    const name = text(scheme['name']);
    const signingRegion = text(scheme['signingRegion']);
    if (signingRegion !== undefined && (name === 'sigv4' || name === 'sigv4-s3express')) {
      return { name, signingRegion, signingName: text(scheme['signingName']) ?? 's3' };
    }
  }
  return undefined;
}

interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly method: ExchangeRequest['method'];
  readonly path: string;
  readonly query?: Query;
  readonly headers: Record<string, string>;
  readonly body?: unknown;
}

/** The SDK's interface HttpHandler. Clients for credentials (STS, SSO) inherit it, and so the proxy and the authorities. */
export function createHandler(transport: Transport) {
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    async handle(sent: SdkRequest, { signal, onAnswer }: Partial<CallOptions> = {}) {
      const { method, headers, query = {} } = sent;
      const port = sent.port === undefined ? '' : `:${sent.port}`;
      const request = {
        origin: `${sent.protocol}//${sent.hostname}${port}`,
        method,
        path: sent.path + buildQuery(query),
        headers,
        content: toBody(sent.body),
        signal,
        // The only DELETE is the end of an upload that was given up.
        isWaitedFor: false,
      };
      // Sessions of S3 Express are begun by the SDK itself. All others are requests for credentials, to servers of another kind.
      const isForBucket = onAnswer !== undefined || query['session'] !== undefined;
      const answer = isForBucket
        ? await exchange(
            transport,
            // The path of DeleteObjects is the bucket's alone.
            { ...request, key: query['delete'] === undefined ? decodeURIComponent(sent.path) : '' },
            method !== 'DELETE',
          )
        : await transport.exchange(request);
      onAnswer?.(answer);
      const { status, body } = answer;
      // The answer itself is for what errors say of credentials (credential-errors.ts).
      return { response: { statusCode: status, headers: { ...answer.headers }, body, answer } };
    },
    destroy: () => undefined,
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  };
}

function toBody(body: unknown): Body | undefined {
  if (body === undefined || body === null || body === '') return undefined;
  const bytes =
    typeof body === 'string' ? Buffer.from(body) : body instanceof Uint8Array ? body : undefined;
  if (bytes === undefined) throw new TypeError('a request of the SDK has a streaming body');
  return viewOf(bytes);
}

/** Changes the headers of a command before it is signed, and after the SDK has added its checksum. */
export function changeHeaders(
  stack: {
    add(
      step: never,
      options: {
        readonly step: 'build';
        readonly name: string;
        readonly priority: 'low';
      },
    ): void;
  },
  change: (headers: Record<string, string>, body: unknown) => void,
): void {
  type Next = (args: { readonly request: SdkRequest }) => unknown;
  const step =
    (next: Next): Next =>
    (args) => {
      const { headers, body } = args.request;
      change(headers, body);
      return next(args);
    };
  // The stack's type depends on each command's input and output, which a step on the request does not care about.
  stack.add(step as never, { step: 'build', name: change.name, priority: 'low' });
}
