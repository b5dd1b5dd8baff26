// SPDX-License-Identifier: GPL-3.0-or-later
// What a read is verified by: the CRC32 that this plugin gives each object, or what the server keeps of others' objects.

import { CRC32 } from '../../checksums/checksums.ts';
import { createCrc32c, createCrc64Nvme } from '../../checksums/slow-checksums.ts';
import {
  createCrcVerifier,
  createHashVerifier,
  receive as receiveFrom,
  type ReceiveOptions as SharedOptions,
  type Verifier,
} from '../../http/receive.ts';
import type { Headers, Receiver } from '../../http/transport.ts';
import { CRC32_METADATA } from './requests.ts';

export interface ReceiveOptions
  extends Pick<SharedOptions, 'key' | 'range' | 'sink' | 'split' | 'requireChecksum'> {
  /** Where there is no checksum, the MD5 is compared with the ETag, if that may be one; notes here that it did not match. Undefined: it
   *  is not compared. */
  readonly etag: { isMismatch: boolean } | undefined;
  readonly checksums: Checksums;
}

/** @throws StorageError as the shared `receive` does */
export function receive(options: ReceiveOptions, status: number, headers: Headers): Receiver {
  return receiveFrom(
    {
      ...options,
      server: 'S3',
      createVerifier: (answered, isWhole) =>
        isWhole ? createVerifier(answered, options) : undefined,
    },
    status,
    headers,
  );
}

/** What to verify each of the headers with. */
export type Checksums = readonly {
  readonly header: string;
  readonly create: (expected: string, name: string) => Verifier;
}[];

/** The first that is there counts. Ours is of what was sent; a server's may be of what arrived. The others in the order of their cost.
 *  The tables are made here, once for a store. */
export function createChecksums(): Checksums {
  return [
    { header: `x-amz-meta-${CRC32_METADATA}`, create: createCrcVerifier(CRC32) },
    { header: 'x-amz-checksum-crc32', create: createCrcVerifier(CRC32) },
    { header: 'x-amz-checksum-sha1', create: createBase64Verifier('sha1') },
    { header: 'x-amz-checksum-sha256', create: createBase64Verifier('sha256') },
    { header: 'x-amz-checksum-crc32c', create: createCrcVerifier(createCrc32c()) },
    { header: 'x-amz-checksum-crc64nvme', create: createCrcVerifier(createCrc64Nvme()) },
  ];
}

function createBase64Verifier(
  algorithm: 'sha1' | 'sha256',
): (expected: string, name: string) => Verifier {
  return (expected, name) => createHashVerifier(algorithm, 'base64', expected, name);
}

/** In a message, what does not match. */
const ETAG_MISMATCH =
  'ETag, taken for an MD5: either the object is damaged, or the ETags of this server are none ("verify --deep" compares it with the MD5 in Orthanc\'s index)';

function createVerifier(headers: Headers, options: ReceiveOptions): Verifier | undefined {
  for (const { header, create } of options.checksums) {
    const expected = headers[header];
    // "…-N" is a checksum of the checksums of N parts, which only somebody who knows the parts can verify.
    if (expected === undefined || expected.includes('-')) continue;
    return create(expected, `checksum (${header})`);
  }
  const { etag } = options;
  const md5 = etag === undefined ? undefined : readMd5Etag(headers);
  if (etag === undefined || md5 === undefined) return undefined;
  const verifier = createHashVerifier('md5', 'hex', md5, ETAG_MISMATCH);
  return {
    ...verifier,
    mismatch: () => {
      const mismatch = verifier.mismatch();
      etag.isMismatch = mismatch !== undefined;
      return mismatch;
    },
  };
}

/** The ETag is the content's MD5 for a single PUT that was not encrypted with KMS or a customer's key, at AWS. Other servers may have
 *  ETags of 32 digits that are none, of what they encrypt by default, say; etags.ts finds out.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html */
function readMd5Etag(headers: Headers): string | undefined {
  const isOpaque =
    headers['x-amz-server-side-encryption']?.startsWith('aws:kms') === true ||
    headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined;
  if (isOpaque) return undefined;
  return /^"?([0-9a-f]{32})"?$/.exec(headers['etag'] ?? '')?.[1];
}
