// SPDX-License-Identifier: GPL-3.0-or-later
// The headers that the settings add to each kind of request, once for both ways of sending (the SDK's commands and lean.ts), and the
// checksum that each object takes along.

import { encodeCrc32 } from '../../checksums/checksums.ts';
import { digest } from '../../http/content.ts';
import { nameOf } from '../../http/mismatched-answers.ts';
import type { Headers } from '../../http/transport.ts';
import type { Body, ByteRange } from '../../store/object-store.ts';
import { encode } from './encode.ts';
import type { S3Settings } from './settings.ts';

/** SHA-256 of nothing, for requests without content. */
export const EMPTY_SHA256 = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** Metadata of an object: the CRC32 of its bytes, by which each read of the whole is verified. Many servers keep no checksum of what was
 *  uploaded in parts, and their ETags need not be MD5s. With hyphens: proxies drop headers with underscores (nginx does by default). */
export const CRC32_METADATA = 'orthanc-crc32';

/** Metadata of an object: what it is called (mismatched-answers.ts), so that no read takes it for another one. */
export const NAME_METADATA = 'orthanc-name';

export interface RequestHeaders {
  /** Of a new object: for a PUT and for CreateMultipartUpload.
   *  @param crc32 of all its bytes */
  object(key: string, crc32: number): Headers;
  /** Of a read without a range, or one that may turn out to cover the whole object. */
  read(range: ByteRange | undefined): Headers;
  /** Digests of a content that is sent in one request: its checksum, and what its signature covers.
   *  @param knownCrc32 where it has been computed already */
  content(body: Body, signal: AbortSignal, knownCrc32?: number): Promise<ContentHeaders>;
}

export interface ContentHeaders {
  readonly headers: Headers;
  readonly crc32: number;
}

export function createRequestHeaders(settings: S3Settings): RequestHeaders {
  const withCrc32 = settings.checksumMode === 'WhenSupported';
  // TLS keeps the content as it is; over plain HTTP the signature has to.
  const isPlainHttp = settings.endpoint?.startsWith('http:') === true;
  const readHeaders: Headers = withCrc32 ? { 'x-amz-checksum-mode': 'ENABLED' } : {};
  const objectHeaders = headersOfSettings(settings);
  return {
    object: (key, crc32) => ({
      ...objectHeaders,
      [`x-amz-meta-${CRC32_METADATA}`]: encodeCrc32(crc32),
      [`x-amz-meta-${NAME_METADATA}`]: nameOf(key),
    }),
    read: (range) =>
      range === undefined
        ? readHeaders
        : { ...readHeaders, range: `bytes=${range.start}-${range.end - 1}` },
    async content(body, signal, knownCrc32) {
      const digests = await digest(
        body,
        { crc32: knownCrc32 === undefined, md5: !withCrc32, sha256: isPlainHttp },
        signal,
      );
      const crc32 = knownCrc32 ?? digests.crc32 ?? 0;
      return {
        headers: {
          'content-length': String(body.sizeBytes),
          'content-type': 'application/octet-stream',
          'x-amz-content-sha256': digests.sha256Hex ?? 'UNSIGNED-PAYLOAD',
          ...(withCrc32 ? { 'x-amz-checksum-crc32': encodeCrc32(crc32) } : {}),
          ...(digests.md5Base64 === undefined ? {} : { 'content-md5': digests.md5Base64 }),
        },
        crc32,
      };
    },
  };
}

function headersOfSettings(settings: S3Settings): Headers {
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
