// SPDX-License-Identifier: GPL-3.0-or-later
// Exchanges with the bucket's server: whether an answer is an S3 server's, whether it is that to our request, and what a refusal says.

import { AnswerError } from '../../http/answer-error.ts';
import { hasHeaderOf, isPage } from '../../http/foreign-answers.ts';
import {
  refuse,
  refuseOther,
  refuseOtherKey,
  refuseOtherObject,
  refuseRepetition,
} from '../../http/mismatched-answers.ts';
import type { Answer, ExchangeRequest, Transport } from '../../http/transport.ts';
import { oneLine, oneName, readElement, textOf } from '../../http/words.ts';
import { NAME_METADATA } from './requests.ts';

/** A request to the bucket's server, as it is sent. */
export interface BucketRequest extends Omit<ExchangeRequest, 'isFromStore' | 'assertMatches'> {
  readonly key: string;
}

/** @param isDocument whether a success must say something in XML
 *  @throws AnswerError for an answer that is no success, TransportError for one that is not the server's or not to this request */
export async function exchange(
  transport: Transport,
  request: BucketRequest,
  isDocument = false,
): Promise<Answer> {
  const { origin, method, path, headers, content, receive, isWaitedFor, signal } = request;
  const answer = await transport.exchange({
    origin,
    method,
    path,
    headers,
    content,
    receive,
    isWaitedFor,
    signal,
    isFromStore: (given) => isFromStore(method, given, isDocument),
    assertMatches: (given, connection) => {
      assertMatches(request, given, connection);
    },
  });
  if (isFailure(answer)) throw readError(answer);
  return answer;
}

/** Those of CloudFront, API Gateway and the web application firewall do not count: they stand in front of servers of any kind. */
const HEADERS = /^x-amz-(?!cf-|apigw-|waf-)/;
/** An answer in XML has one of these, whatever its root is called (rclone 1.76 has one of its own for the start of an upload). An error may
 *  come with status 200.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html */
const ELEMENTS = [
  'ListBucketResult',
  'UploadId>',
  'CompleteMultipartUploadResult',
  'CreateSessionResult',
  'DeleteResult',
  '<Error>',
];

/** Whether an answer is an S3 server's. Servers other than AWS may send no x-amz- header, and some send no ETag. */
function isFromStore(method: string, answer: Answer, isDocument: boolean): boolean {
  const { status, headers, body } = answer;
  if (body.length > 0) {
    const text = Buffer.from(body.buffer, body.byteOffset, body.length);
    if (ELEMENTS.some((element) => text.includes(element))) return true;
  }
  if (isDocument && status < 300) return false;
  if (hasHeaderOf(HEADERS, headers)) return true;
  if (method === 'DELETE' && status < 300) return status === 204;
  // The refusal of a HEAD has no body. moto 5 has this header, and calls answers without a body text/html.
  if (status >= 400) return headers['x-amzn-requestid'] !== undefined;
  const isEmpty = headers['content-length'] === '0';
  return headers['etag'] !== undefined && (isEmpty || !isPage(headers));
}

/** Computed by the server, always by AWS. */
const CHECKSUM = 'x-amz-checksum-crc32';

/** Compares what the answer tells of its request: its number, the checksum of what was stored, the name of what is read, the key of what is
 *  missing or was uploaded in parts.
 *  @throws TransportError, StorageError for an answer to another request */
function assertMatches(
  { method, key, headers: sent }: BucketRequest,
  { status, headers, body }: Answer,
  connection: object,
): void {
  refuseRepetition(connection, headers['x-amz-request-id']);
  const isDone = status < 300;
  if (status === 404 || (isDone && method === 'POST')) {
    const text = Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8');
    refuseOtherKey(key, readElement(text, 'Key'));
    refuseOther('checksum', sent[CHECKSUM], readElement(text, 'ChecksumCRC32'));
  } else if (isDone && method === 'PUT') {
    refuseOther('checksum', sent[CHECKSUM], headers[CHECKSUM]);
  } else if (isDone && method === 'DELETE') {
    if (headers['etag'] !== undefined) refuse('it is that to a read or a write');
  } else if (isDone) {
    const told = headers[`x-amz-meta-${NAME_METADATA}`];
    refuseOtherObject(key, told, 'S3');
    // Even an empty object has its time beside its ETag.
    const isEmpty = headers['content-length'] === '0' && headers['last-modified'] === undefined;
    if (isEmpty && told === undefined) refuse('it is that to a write');
  }
}

/** @param answer that is no success, or one with an error in it: S3 begins the answer to CompleteMultipartUpload before it is done */
export function readError(answer: Answer): AnswerError {
  const xml = readErrorXml(answer);
  const code = oneName(readElement(xml, 'Code'));
  const { headers } = answer;
  // versitygw 1.8 sends the header twice, with the same id.
  const id = (headers['x-amz-request-id'] ?? headers['x-amzn-requestid'])?.split(', ')[0];
  return new AnswerError(answer, {
    code,
    words: code === undefined ? undefined : oneLine(readElement(xml, 'Message') ?? ''),
    requestId: id ?? oneName(readElement(xml, 'RequestId')),
  });
}

/** The server's own words. */
export function wordsOf({ code, message, said }: AnswerError): string {
  return code === undefined ? said : message || code;
}

function isFailure(answer: Answer): boolean {
  if (answer.status >= 300) return true;
  // It has an <Error> for each object that was not removed.
  const { body } = answer;
  const text = Buffer.from(body.buffer, body.byteOffset, body.length);
  return !text.includes('<DeleteResult') && readElement(readErrorXml(answer), 'Code') !== undefined;
}

/** @returns "" where the answer holds no error in XML */
export function readErrorXml({ body }: Answer): string {
  if (body.length === 0) return '';
  // A server that takes its time sends blanks first.
  const start = Buffer.from(body.buffer, body.byteOffset, body.length).indexOf('<Error');
  return start < 0 ? '' : textOf(body, start);
}

export const THROTTLING: ReadonlySet<string> = new Set([
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'BandwidthLimitExceeded',
]);
/** What arrived is not what was sent. */
const MISMATCH: ReadonlySet<string> = new Set([
  'BadDigest',
  'XAmzContentSHA256Mismatch',
  'XAmzContentChecksumMismatch',
]);
export function isMismatch(thrown: unknown): boolean {
  return thrown instanceof AnswerError && MISMATCH.has(thrown.code ?? '');
}

export function isDenied(thrown: unknown): boolean {
  return thrown instanceof AnswerError && /^(AccessDenied|Forbidden)$/.test(thrown.code ?? '');
}
