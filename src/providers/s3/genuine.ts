// SPDX-License-Identifier: GPL-3.0-or-later

import { hasHeaderOf, isPage } from '../genuine.ts';
import type { Answer } from '../transport.ts';

/** Not those of what stands in front of servers of any kind: CloudFront, API Gateway, the web application firewall. */
const HEADERS = /^x-amz-(?!cf-|apigw-|waf-)/;
/** What the next step needs of the answers that are XML, whatever their root is called (rclone 1.76 has one of its own for the start
 *  of an upload); an error may come with status 200.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html */
const ELEMENTS = ['ListBucketResult', 'UploadId>', 'CompleteMultipartUploadResult', '<Error>'];

/** Whether an answer is that of an S3 server. Servers other than AWS need not send any x-amz- header, and not all have ETags.
 *  @param isDocument it must say something in XML; else the headers say all */
export function isGenuine(method: string, answer: Answer, isDocument: boolean): boolean {
  const { status, headers, body } = answer;
  const text = Buffer.from(body.buffer, body.byteOffset, body.length);
  if (ELEMENTS.some((element) => text.includes(element))) return true;
  if (isDocument && status < 300) return false;
  if (hasHeaderOf(HEADERS, headers)) return true;
  if (method === 'DELETE' && status < 300) return status === 204;
  // A HEAD is refused without words. moto 5 has this header, and calls answers without a body text/html.
  if (status >= 400) return headers['x-amzn-requestid'] !== undefined;
  const isWordless = headers['content-length'] === '0';
  return headers['etag'] !== undefined && (isWordless || !isPage(headers));
}
