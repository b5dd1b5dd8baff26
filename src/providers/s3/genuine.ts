// SPDX-License-Identifier: GPL-3.0-or-later

import { hasHeaderOf, isPage } from '../genuine.ts';
import type { Answer } from '../transport.ts';

/** Not CloudFront's, which stands in front of servers of any kind. */
const HEADERS = /^x-amz-(?!cf-)/;
/** The roots of the answers that are XML; an error may come with status 200.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html */
const ROOTS = [
  'ListBucketResult',
  'InitiateMultipartUploadResult',
  'CompleteMultipartUploadResult',
  '<Error>',
];

/** Whether an answer is that of an S3 server. Servers other than AWS need not send any x-amz- header. */
export function isGenuine(method: string, { status, headers, body }: Answer): boolean {
  const hasName = () => hasHeaderOf(HEADERS, headers);
  if (method === 'DELETE') return status === 204 || hasName();
  // Writes, reads and looks at objects tell their ETag.
  if (method !== 'POST' && headers['etag'] !== undefined) return !isPage(headers) || hasName();
  // Gateways have no ETag of files that were put into their folder past them (versitygw 1.8): when those changed tells as much.
  if (headers['last-modified'] !== undefined && hasName()) return true;
  const text = Buffer.from(body.buffer, body.byteOffset, body.length);
  return ROOTS.some((root) => text.includes(root));
}
