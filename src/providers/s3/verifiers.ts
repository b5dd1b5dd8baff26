// SPDX-License-Identifier: GPL-3.0-or-later
// What a read is verified by: the CRC32 that this plugin gives each object, or what the server keeps of others' objects.

import { createCrc32 } from '../../checksums/checksums.ts';
import { loadCrc32c, loadCrc64Nvme } from '../../checksums/wasm-checksums.ts';
import { createCrcVerifier, createHashVerifier, type Verifier } from '../../http/receive.ts';
import type { Headers } from '../../http/transport.ts';

/** Metadata of an object: the CRC32 of its bytes, by which each read of the whole is verified. Many servers keep no checksum of what was
 *  uploaded in parts, and their ETags need not be MD5s. With hyphens: proxies drop headers with underscores (nginx does by default). */
export const CRC32_METADATA = 'orthanc-crc32';

/** For reads that may be compared with the ETag: notes that it did not match. */
export interface EtagComparison {
  isMismatch: boolean;
}

export type Checksums = readonly {
  readonly header: string;
  readonly create: (expected: string, name: string) => Verifier;
}[];

/** The first header that is there counts. Ours is of what was sent; a server's may be of what arrived. The others are in the order of their
 *  cost. */
export async function loadChecksums(): Promise<Checksums> {
  return [
    { header: `x-amz-meta-${CRC32_METADATA}`, create: createCrcVerifier(createCrc32) },
    { header: 'x-amz-checksum-crc32', create: createCrcVerifier(createCrc32) },
    { header: 'x-amz-checksum-sha1', create: createBase64Verifier('sha1') },
    { header: 'x-amz-checksum-sha256', create: createBase64Verifier('sha256') },
    { header: 'x-amz-checksum-crc32c', create: createCrcVerifier(await loadCrc32c()) },
    { header: 'x-amz-checksum-crc64nvme', create: createCrcVerifier(await loadCrc64Nvme()) },
  ];
}

function createBase64Verifier(
  algorithm: 'sha1' | 'sha256',
): (expected: string, name: string) => Verifier {
  return (expected, name) => createHashVerifier(algorithm, 'base64', expected, name);
}

const ETAG_MISMATCH =
  'ETag, taken for an MD5: either the object is damaged, or the ETags of this server are none ("verify --deep" compares it with the MD5 in Orthanc\'s index)';

/** @param etag undefined: the ETag is not compared, though there is no checksum */
export function createVerifier(
  headers: Headers,
  checksums: Checksums,
  etag: EtagComparison | undefined,
): Verifier | undefined {
  for (const { header, create } of checksums) {
    const expected = headers[header];
    // "…-N" is a checksum of the checksums of N parts: without the parts it cannot be verified.
    if (expected === undefined || expected.includes('-')) continue;
    return create(expected, `checksum (${header})`);
  }
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

/** At AWS, the ETag is the content's MD5 after a single PUT without encryption by KMS or a customer's key. Other servers may have ETags of
 *  32 digits that are none, such as of what they encrypt by default; read.ts finds out.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html */
function readMd5Etag(headers: Headers): string | undefined {
  const isOpaque =
    headers['x-amz-server-side-encryption']?.startsWith('aws:kms') === true ||
    headers['x-amz-server-side-encryption-customer-algorithm'] !== undefined;
  if (isOpaque) return undefined;
  return /^"?([0-9a-f]{32})"?$/.exec(headers['etag'] ?? '')?.[1];
}
