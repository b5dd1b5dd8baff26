// SPDX-License-Identifier: GPL-3.0-or-later
// What the settings add to each kind of request, once for both ways of sending (the SDK's clients and lean.ts).

import type {
  BlobDownloadOptions,
  BlockBlobCommitBlockListOptions,
  BlockBlobUploadOptions,
} from '@azure/storage-blob';
import { CRC32, encodeCrc32 } from '../../checksums/checksums.ts';
import { digest } from '../../http/content.ts';
import { nameOf, refuseOther, refuseOtherObject } from '../../http/mismatched-answers.ts';
import {
  createCrcVerifier,
  createHashVerifier,
  type ReceiveOptions,
  receive,
  type Verifier,
} from '../../http/receive.ts';
import type { Answer, Headers, Receiver } from '../../http/transport.ts';
import type { Body, ByteRange } from '../../store/object-store.ts';
import type { AzureSettings } from './settings.ts';

const CONTENT_TYPE = 'application/octet-stream';
/** Azure computes the MD5 of ranges up to here, and refuses to beyond. */
const MAX_RANGE_MD5_BYTES = 4 * 1024 * 1024;
/** Ranges up to here are always verified: 0.09 ms of MD5. */
const SMALL_RANGE_BYTES = 64 * 1024;

/** Metadata of a blob: what its bytes are verified by at each read of the whole, which costs a sixth of the MD5 that Azure keeps.
 *  Blobs of other programs have the MD5 alone. */
export const CRC32_METADATA = 'orthanc_crc32';
/** Metadata of a blob: what it is called (mismatched-answers.ts), so that no read takes it for another one. */
const NAME_METADATA = 'orthanc_name';
const verifyCrc32 = createCrcVerifier(CRC32);

/** Whether an answer is that of a blob service, which numbers each. */
export function isFromStore({ headers }: Answer): boolean {
  return headers['x-ms-request-id'] !== undefined;
}

/** The server gives it back with its answer. */
export const REQUEST_ID = 'x-ms-client-request-id';

/** Not every emulator gives the id back; the name is in what this plugin stored.
 *  @throws TransportError, StorageError for an answer to another request */
export function assertMatches(
  key: string,
  requestId: string | undefined,
  { status, headers }: Answer,
): void {
  refuseOther('request id', requestId, headers[REQUEST_ID]);
  const told = headers[`x-ms-meta-${NAME_METADATA}`];
  if (status < 300) refuseOtherObject(key, told, 'Azure');
}

/** What goes along with each upload. */
export interface BlobDigests {
  readonly md5Base64: string;
  readonly crc32: number;
}

export async function digestBlob(content: Body, signal: AbortSignal): Promise<BlobDigests> {
  const wanted = { crc32: true, md5: true, sha256: false };
  const { md5Base64 = '', crc32 = 0 } = await digest(content, wanted, signal);
  return { md5Base64, crc32 };
}

/** Uploads carry an MD5, since it is what Azure verifies and stores with a blob. The other one that Azure knows, CRC64, costs 0.48 ms
 *  for 512 kB in the SDK's WebAssembly (MD5 0.68), and is not stored. */
export interface Requests {
  /** Of a content that goes in one request. */
  put(
    key: string,
    content: Body,
    digests: BlobDigests,
  ): { readonly headers: Headers; readonly sdk: BlockBlobUploadOptions };
  /** Of a content that went in blocks. */
  commit(key: string, digests: BlobDigests): BlockBlobCommitBlockListOptions;
  get(range: ByteRange | undefined): {
    readonly headers: Headers;
    readonly sdk: BlobDownloadOptions;
  };
  receive(
    options: Pick<ReceiveOptions, 'key' | 'range' | 'sink' | 'requireChecksum'>,
  ): (status: number, headers: Headers) => Receiver;
}

/** @param verifyMd5 compare whole reads with the MD5 where there is no CRC32: for an Orthanc that does not verify MD5s itself */
export function createRequests(settings: AzureSettings, verifyMd5: boolean): Requests {
  const { accessTier } = settings;
  const tier = accessTier === undefined ? {} : { tier: accessTier };
  const isRangeVerified = ({ start, end }: ByteRange) =>
    end - start <= (verifyMd5 ? MAX_RANGE_MD5_BYTES : SMALL_RANGE_BYTES);

  function createVerifier(
    headers: Headers,
    isWhole: boolean,
    { range, requireChecksum }: Pick<ReceiveOptions, 'range' | 'requireChecksum'>,
  ): Verifier | undefined {
    const crc32 = headers[`x-ms-meta-${CRC32_METADATA}`];
    if (isWhole && crc32 !== undefined) {
      return verifyCrc32(crc32, `CRC32 (metadata ${CRC32_METADATA})`);
    }
    // Of a range, Content-MD5 is the blob's with some servers unless the range's was asked for.
    const isOfRange = range !== undefined && isRangeVerified(range);
    const expected =
      range === undefined || isOfRange ? headers['content-md5'] : headers['x-ms-blob-content-md5'];
    const isWanted = isOfRange || (isWhole && (verifyMd5 || requireChecksum === true));
    return isWanted && expected !== undefined
      ? createHashVerifier('md5', 'base64', expected, 'MD5 (Content-MD5)')
      : undefined;
  }

  const metadataOf = (key: string, { crc32 }: BlobDigests) => ({
    [CRC32_METADATA]: encodeCrc32(crc32),
    [NAME_METADATA]: nameOf(key),
  });

  return {
    put: (key, content, digests) => ({
      headers: {
        'content-length': String(content.sizeBytes),
        'content-type': CONTENT_TYPE,
        'content-md5': digests.md5Base64,
        ...toHeaders(metadataOf(key, digests)),
        'x-ms-blob-type': 'BlockBlob',
        ...(accessTier === undefined ? {} : { 'x-ms-access-tier': accessTier }),
      },
      sdk: {
        transactionalContentMD5: Buffer.from(digests.md5Base64, 'base64'),
        metadata: metadataOf(key, digests),
        blobHTTPHeaders: { blobContentType: CONTENT_TYPE },
        ...tier,
      },
    }),
    commit: (key, digests) => ({
      blobHTTPHeaders: {
        blobContentType: CONTENT_TYPE,
        blobContentMD5: Buffer.from(digests.md5Base64, 'base64'),
      },
      metadata: metadataOf(key, digests),
      ...tier,
    }),
    get: (range) => {
      if (range === undefined) return { headers: {}, sdk: {} };
      const withMd5 = isRangeVerified(range);
      return {
        headers: {
          'x-ms-range': `bytes=${range.start}-${range.end - 1}`,
          ...(withMd5 ? { 'x-ms-range-get-content-md5': 'true' } : {}),
        },
        sdk: withMd5 ? { rangeGetContentMD5: true } : {},
      };
    },
    receive: (options) => (status, headers) =>
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
}

function toHeaders(metadata: Readonly<Record<string, string>>): Headers {
  const entries = Object.entries(metadata);
  return Object.fromEntries(entries.map(([name, value]) => [`x-ms-meta-${name}`, value]));
}
