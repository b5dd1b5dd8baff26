// SPDX-License-Identifier: GPL-3.0-or-later
// Requests about one object: what the settings add to them, the checksum that each object takes along, and what reads are verified by.

import { encodeCrc32 } from '../../checksums/checksums.ts';
import { digest } from '../../http/content.ts';
import { nameOf } from '../../http/mismatched-answers.ts';
import { type ReceiveOptions, receive } from '../../http/receive.ts';
import type { ExchangeRequest, Headers } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import type { Body } from '../../store/object-store.ts';
import { once } from '../../store/once.ts';
import type { S3Settings } from './settings.ts';
import { CRC32_METADATA, createVerifier, type EtagComparison, loadChecksums } from './verifiers.ts';

/** Metadata of an object: what it is called (mismatched-answers.ts), so that no read takes it for another one. */
export const NAME_METADATA = 'orthanc-name';

/** What the SDK's requests have. */
export type Query = Readonly<Record<string, string | readonly string[] | null | undefined>>;

/** A request about one object. */
export interface ObjectRequest
  extends Partial<Pick<ExchangeRequest, 'content' | 'receive' | 'isWaitedFor'>> {
  readonly method: 'PUT' | 'GET' | 'HEAD' | 'DELETE';
  readonly key: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Headers;
  /** Instead of MaxRetries. */
  readonly maxRetries?: number;
}

export type Read = Pick<ReceiveOptions, 'key' | 'range' | 'sink' | 'requireChecksum'>;

export interface ReadMode {
  /** undefined: the content is not compared with its ETag. */
  readonly etag?: EtagComparison | undefined;
  readonly split?: ReceiveOptions['split'];
  /** Only this ETag's. */
  readonly version?: string;
}

export interface Requests {
  /** Headers of a new object: for a PUT and for CreateMultipartUpload.
   *  @param crc32 of all its bytes */
  object(key: string, crc32: number): Headers;
  /** A write in one request. @param onlyIfVersion as in PutOptions */
  put(key: string, body: Body, signal: Signal, onlyIfVersion?: string): Promise<ObjectRequest>;
  /** UploadPart. */
  part(
    key: string,
    part: { readonly uploadId: string; readonly number: number; readonly crc32: number },
    content: Body,
    signal: Signal,
  ): Promise<ObjectRequest>;
  get(read: Read, mode?: ReadMode): Promise<ObjectRequest>;
}

export function createRequests(settings: S3Settings, origin: () => Promise<string>): Requests {
  const withCrc32 = settings.checksumMode === 'WhenSupported';
  const objectHeaders = headersOfSettings(settings);
  const loadOnce = once(loadChecksums);

  /** Of a content that is sent in one request: its checksum, and what its signature covers. */
  async function describe(body: Body, signal: Signal, knownCrc32?: number) {
    // TLS keeps the content as it is; over plain HTTP the signature has to.
    const isPlainHttp = (await origin()).startsWith('http:');
    const digests = await digest(
      body,
      { crc32: knownCrc32 === undefined, md5: !withCrc32, sha256: isPlainHttp },
      signal,
    );
    const crc32 = knownCrc32 ?? digests.crc32 ?? 0;
    const headers: Record<string, string> = {
      'content-length': String(body.sizeBytes),
      'content-type': 'application/octet-stream',
      'x-amz-content-sha256': digests.sha256Hex ?? 'UNSIGNED-PAYLOAD',
    };
    if (withCrc32) headers['x-amz-checksum-crc32'] = encodeCrc32(crc32);
    if (digests.md5Base64 !== undefined) headers['content-md5'] = digests.md5Base64;
    return { headers, crc32 };
  }

  const requests: Requests = {
    object: (key, crc32) => ({
      ...objectHeaders,
      [`x-amz-meta-${CRC32_METADATA}`]: encodeCrc32(crc32),
      [`x-amz-meta-${NAME_METADATA}`]: nameOf(key),
    }),
    async put(key, body, signal, onlyIfVersion) {
      const { headers, crc32 } = await describe(body, signal);
      Object.assign(headers, requests.object(key, crc32));
      if (onlyIfVersion !== undefined) headers['if-match'] = onlyIfVersion;
      return { method: 'PUT', key, headers, content: body };
    },
    async part(key, { uploadId, number, crc32 }, content, signal) {
      const { headers } = await describe(content, signal, crc32);
      const query = { partNumber: String(number), uploadId };
      return { method: 'PUT', key, query, headers, content };
    },
    async get({ key, range, sink, requireChecksum }, { etag, split, version } = {}) {
      const checksums = await loadOnce();
      const headers: Record<string, string> = {};
      if (withCrc32) headers['x-amz-checksum-mode'] = 'ENABLED';
      if (range !== undefined) headers['range'] = `bytes=${range.start}-${range.end - 1}`;
      if (version !== undefined) headers['if-match'] = version;
      const options: ReceiveOptions = {
        key,
        range,
        sink,
        requireChecksum,
        split,
        server: 'S3',
        createVerifier: (answered, isWhole) =>
          isWhole ? createVerifier(answered, checksums, etag) : undefined,
      };
      return {
        method: 'GET',
        key,
        headers,
        receive: (status, answered) => receive(options, status, answered),
      };
    },
  };
  return requests;
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

/** As SigV4 wants it: all but letters, digits, "-", ".", "_" and "~".
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
export function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/** @returns with its question mark; "" where there is none */
export function buildQuery(query: Query): string {
  const pairs = Object.entries(query).flatMap(([name, value]) => {
    const values = typeof value === 'object' && value !== null ? value : [value];
    return values.map((each) => (each == null ? encode(name) : `${encode(name)}=${encode(each)}`));
  });
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`;
}
