// SPDX-License-Identifier: GPL-3.0-or-later
// What S3 offers for the verification of a read.

import { CRC32 } from '../checksums.ts';
import {
  createCrcVerifier,
  createHashVerifier,
  receive as receiveFrom,
  type ReceiveOptions as SharedOptions,
  type Verifier,
} from '../receive.ts';
import { createCrc32c, createCrc64Nvme } from '../slow-checksums.ts';
import type { Headers, Receiver } from '../transport.ts';

export interface ReceiveOptions extends Pick<SharedOptions, 'key' | 'range' | 'sink' | 'split'> {
  /** Also compares the MD5 with the ETag, where that is one, when the server sent no checksum. */
  readonly verifyMd5: boolean;
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

/** What to verify each of S3's checksum headers with. */
export type Checksums = readonly {
  readonly header: string;
  readonly create: (expected: string, name: string) => Verifier;
}[];

/** In the order of their cost, should a server send several. The tables are made here, once for a store. */
export function createChecksums(): Checksums {
  return [
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

function createVerifier(headers: Headers, options: ReceiveOptions): Verifier | undefined {
  for (const { header, create } of options.checksums) {
    const expected = headers[header];
    // "…-N" is a checksum of the checksums of N parts, which only somebody who knows the parts can verify.
    if (expected === undefined || expected.includes('-')) continue;
    return create(expected, `checksum (${header})`);
  }
  const md5 = options.verifyMd5 ? readMd5Etag(headers) : undefined;
  return md5 === undefined ? undefined : createHashVerifier('md5', 'hex', md5, 'ETag');
}

/** The ETag is the content's MD5 for a single PUT that was not encrypted with KMS or a customer's key.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html */
function readMd5Etag(headers: Headers): string | undefined {
  const isOpaque =
    headers['x-amz-server-side-encryption']?.startsWith('aws:kms') === true ||
    headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined;
  if (isOpaque) return undefined;
  return /^"?([0-9a-f]{32})"?$/.exec(headers['etag'] ?? '')?.[1];
}
