// SPDX-License-Identifier: GPL-3.0-or-later
// The requests for blobs, with what the settings add to them, and how their answers are verified.

import { createCrc32, encodeCrc32 } from '../../checksums/checksums.ts';
import { digest } from '../../http/content.ts';
import { nameOf, refuseOther, refuseOtherObject } from '../../http/mismatched-answers.ts';
import {
  createCrcVerifier,
  createHashVerifier,
  type ReceiveOptions,
  receive,
  type Verifier,
} from '../../http/receive.ts';
import type { Answer, Headers } from '../../http/transport.ts';
import type { Signal } from '../../store/abort.ts';
import { viewOf } from '../../store/bodies.ts';
import type { Body, ByteRange } from '../../store/object-store.ts';
import type { BlobRequest } from './client.ts';
import type { AzureSettings } from './settings.ts';

const CONTENT_TYPE = 'application/octet-stream';
/** Azure computes the MD5 of ranges up to here, and refuses to beyond. */
const MAX_RANGE_MD5_BYTES = 4 * 1024 * 1024;
/** Ranges up to here are always verified, which takes 0.09 ms. */
const SMALL_RANGE_BYTES = 64 * 1024;

/** Metadata of a blob: its CRC32, by which reads of the whole are verified. It costs a sixth of the MD5 that Azure keeps. Blobs of other
 *  programs have only the MD5. */
export const CRC32_METADATA = 'orthanc_crc32';
/** Metadata of a blob: its name (mismatched-answers.ts), so that no read takes it for another one. */
const NAME_METADATA = 'orthanc_name';
const verifyCrc32 = createCrcVerifier(createCrc32);

/** A blob service gives each answer an id. */
export function isFromStore({ headers }: Answer): boolean {
  return headers['x-ms-request-id'] !== undefined;
}

/** The server returns it with its answer. */
export const REQUEST_ID = 'x-ms-client-request-id';

/** Compares the id, which not every emulator returns, and the name of the blob.
 *  @throws TransportError, StorageError for an answer to another request */
export function assertMatches(
  key: string | undefined,
  requestId: string | undefined,
  { status, headers }: Answer,
): void {
  refuseOther('request id', requestId, headers[REQUEST_ID]);
  const told = headers[`x-ms-meta-${NAME_METADATA}`];
  if (key !== undefined && status < 300) refuseOtherObject(key, told, 'Azure');
}

export interface BlobDigests {
  readonly md5Base64: string;
  readonly crc32: number;
}

export async function digestBlob(content: Body, signal: Signal): Promise<BlobDigests> {
  const wanted = { crc32: true, md5: true, sha256: false };
  const { md5Base64 = '', crc32 = 0 } = await digest(content, wanted, signal);
  return { md5Base64, crc32 };
}

export type ReadOptions = Pick<ReceiveOptions, 'key' | 'range' | 'sink' | 'requireChecksum'>;

/** Uploads carry an MD5, since Azure verifies it and stores it with the blob. Its CRC64 would cost 0.48 ms for 512 kB in the SDK's
 *  WebAssembly (MD5 0.68), and is not stored. */
export interface Requests {
  put(key: string, content: Body, digests: BlobDigests, onlyIfVersion?: string): BlobRequest;
  /** A part of a large content. @param id in base64, and of one length for all blocks of a blob */
  putBlock(key: string, id: string, content: Body, md5Base64: string): BlobRequest;
  /** Makes the blob of its blocks. @param digests of the whole, whose MD5 Azure does not compute itself */
  commit(
    key: string,
    ids: readonly string[],
    digests: BlobDigests,
    onlyIfVersion?: string,
  ): BlobRequest;
  get(options: ReadOptions): BlobRequest;
}

/** @param verifyMd5 compare whole reads without a CRC32 with the MD5, for an Orthanc that does not verify MD5s itself */
export function createRequests({ accessTier }: AzureSettings, verifyMd5: boolean): Requests {
  const isRangeVerified = ({ start, end }: ByteRange) =>
    end - start <= (verifyMd5 ? MAX_RANGE_MD5_BYTES : SMALL_RANGE_BYTES);

  function createVerifier(
    headers: Headers,
    isWhole: boolean,
    { range, requireChecksum }: ReadOptions,
  ): Verifier | undefined {
    const crc32 = headers[`x-ms-meta-${CRC32_METADATA}`];
    if (isWhole && crc32 !== undefined) {
      return verifyCrc32(crc32, `CRC32 (metadata ${CRC32_METADATA})`);
    }
    // With some servers the Content-MD5 of a range is the blob's, unless the range's was asked for.
    const isOfRange = range !== undefined && isRangeVerified(range);
    const expected =
      range === undefined || isOfRange ? headers['content-md5'] : headers['x-ms-blob-content-md5'];
    const isWanted = isOfRange || (isWhole && (verifyMd5 || requireChecksum === true));
    return isWanted && expected !== undefined
      ? createHashVerifier('md5', 'base64', expected, 'MD5 (Content-MD5)')
      : undefined;
  }

  /** Of a new blob. */
  const blobHeaders = (
    key: string,
    { crc32 }: BlobDigests,
    onlyIfVersion: string | undefined,
  ): Headers => ({
    [`x-ms-meta-${CRC32_METADATA}`]: encodeCrc32(crc32),
    [`x-ms-meta-${NAME_METADATA}`]: nameOf(key),
    ...(accessTier === undefined ? {} : { 'x-ms-access-tier': accessTier }),
    ...(onlyIfVersion === undefined ? {} : { 'if-match': onlyIfVersion }),
  });

  return {
    put: (key, content, digests, onlyIfVersion) => ({
      method: 'PUT',
      key,
      content,
      headers: {
        ...blobHeaders(key, digests, onlyIfVersion),
        'content-length': String(content.sizeBytes),
        'content-type': CONTENT_TYPE,
        'content-md5': digests.md5Base64,
        'x-ms-blob-type': 'BlockBlob',
      },
    }),
    putBlock: (key, id, content, md5Base64) => ({
      method: 'PUT',
      key,
      query: `comp=block&blockid=${encodeURIComponent(id)}`,
      content,
      headers: {
        'content-length': String(content.sizeBytes),
        'content-type': CONTENT_TYPE,
        'content-md5': md5Base64,
      },
    }),
    commit(key, ids, digests, onlyIfVersion) {
      const blocks = ids.map((id) => `<Latest>${id}</Latest>`).join('');
      const content = viewOf(
        Buffer.from(`<?xml version="1.0" encoding="utf-8"?><BlockList>${blocks}</BlockList>`),
      );
      return {
        method: 'PUT',
        key,
        query: 'comp=blocklist',
        content,
        headers: {
          ...blobHeaders(key, digests, onlyIfVersion),
          'content-length': String(content.sizeBytes),
          'content-type': 'application/xml',
          'x-ms-blob-content-type': CONTENT_TYPE,
          'x-ms-blob-content-md5': digests.md5Base64,
        },
      };
    },
    get(options) {
      const { key, range } = options;
      return {
        method: 'GET',
        key,
        headers:
          range === undefined
            ? {}
            : {
                'x-ms-range': `bytes=${range.start}-${range.end - 1}`,
                ...(isRangeVerified(range) ? { 'x-ms-range-get-content-md5': 'true' } : {}),
              },
        receive: (status, headers) =>
          receive(
            {
              ...options,
              server: 'Azure',
              createVerifier: (answered, isWhole) => createVerifier(answered, isWhole, options),
            },
            status,
            headers,
          ),
      };
    },
  };
}
