// SPDX-License-Identifier: GPL-3.0-or-later
// What S3 offers for the verification of a read.

import { crc32, encodeCrc32 } from '../checksums.ts';
import {
  createHashVerifier,
  receive as receiveFrom,
  type ReceiveOptions as SharedOptions,
  type Verifier,
} from '../receive.ts';
import type { Headers, Receiver } from '../transport.ts';

export interface ReceiveOptions extends Pick<SharedOptions, 'key' | 'range' | 'sink'> {
  /** Also compares the MD5 with the ETag, where that is one, when the server sent no checksum. */
  readonly verifyEtag: boolean;
}

/** @throws StorageError as the shared `receive` does */
export function receive(options: ReceiveOptions, status: number, headers: Headers): Receiver {
  return receiveFrom(
    {
      ...options,
      server: 'S3',
      createVerifier: (answered, isWhole) =>
        isWhole ? createVerifier(answered, options.verifyEtag) : undefined,
    },
    status,
    headers,
  );
}

function createVerifier(headers: Headers, verifyEtag: boolean): Verifier | undefined {
  const expectedCrc32 = headers['x-amz-checksum-crc32'];
  if (isFullObject(expectedCrc32)) {
    let checksum = 0;
    return {
      update: (chunk) => {
        checksum = crc32(chunk, checksum);
      },
      mismatch: () =>
        encodeCrc32(checksum) === expectedCrc32 ? undefined : 'checksum (x-amz-checksum-crc32)',
    };
  }
  for (const algorithm of ['sha256', 'sha1'] as const) {
    const name = `x-amz-checksum-${algorithm}`;
    const expected = headers[name];
    if (isFullObject(expected)) {
      return createHashVerifier(algorithm, 'base64', expected, `checksum (${name})`);
    }
  }
  const md5 = verifyEtag ? readMd5Etag(headers) : undefined;
  return md5 === undefined ? undefined : createHashVerifier('md5', 'hex', md5, 'ETag');
}

/** "…-N" is a checksum of the checksums of N parts, which only somebody who knows the parts can verify. */
function isFullObject(checksum: string | undefined): checksum is string {
  return checksum !== undefined && !checksum.includes('-');
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
