// SPDX-License-Identifier: GPL-3.0-or-later
// The headers that the settings add to each kind of request, once for both ways of sending (the SDK's commands and lean.ts).

import type { S3Settings } from '../../config/settings.ts';
import type { Body, ByteRange } from '../../store/object-store.ts';
import { encodeCrc32 } from '../checksums.ts';
import { digest } from '../content.ts';
import type { Headers } from '../transport.ts';
import { encode } from './encode.ts';

/** SHA-256 of nothing, for requests without content. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

export interface RequestHeaders {
  /** Of a new object: for a PUT and for CreateMultipartUpload. */
  readonly object: Headers;
  /** Of a read without a range, or one that may turn out to cover the whole object. */
  read(range: ByteRange | undefined): Headers;
  /** Digests of a content that is sent in one request: its checksum, and what its signature covers. */
  content(body: Body, signal: AbortSignal): Promise<ContentHeaders>;
}

export interface ContentHeaders {
  readonly headers: Headers;
  readonly crc32: number | undefined;
}

export function createRequestHeaders(settings: S3Settings): RequestHeaders {
  const withCrc32 = settings.checksumMode === 'WhenSupported';
  // TLS keeps the content as it is; over plain HTTP the signature has to.
  const isPlainHttp = settings.endpoint?.startsWith('http:') === true;
  const readHeaders: Headers = withCrc32 ? { 'x-amz-checksum-mode': 'ENABLED' } : {};
  return {
    object: objectHeaders(settings),
    read: (range) =>
      range === undefined
        ? readHeaders
        : { ...readHeaders, range: `bytes=${range.start}-${range.end - 1}` },
    async content(body, signal) {
      const digests = await digest(
        body,
        { crc32: withCrc32, md5: !withCrc32, sha256: isPlainHttp },
        signal,
      );
      return {
        headers: {
          'content-length': String(body.sizeBytes),
          'content-type': 'application/octet-stream',
          'x-amz-content-sha256': digests.sha256Hex ?? 'UNSIGNED-PAYLOAD',
          ...(digests.crc32 === undefined
            ? {}
            : { 'x-amz-checksum-crc32': encodeCrc32(digests.crc32) }),
          ...(digests.md5Base64 === undefined ? {} : { 'content-md5': digests.md5Base64 }),
        },
        crc32: digests.crc32,
      };
    },
  };
}

function objectHeaders(settings: S3Settings): Headers {
  const headers: Record<string, string> = {};
  if (settings.storageClass !== undefined) headers['x-amz-storage-class'] = settings.storageClass;
  const tags = Object.entries(settings.tags)
    .map(([name, value]) => `${encode(name)}=${encode(value)}`)
    .join('&');
  if (tags !== '') headers['x-amz-tagging'] = tags;
  if (settings.serverSideEncryption !== undefined) {
    headers['x-amz-server-side-encryption'] = settings.serverSideEncryption;
  }
  if (settings.kmsKeyId !== undefined) {
    headers['x-amz-server-side-encryption-aws-kms-key-id'] = settings.kmsKeyId;
  }
  return headers;
}
