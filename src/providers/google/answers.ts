// SPDX-License-Identifier: GPL-3.0-or-later
// What an answer of Google's is: whether it is one, whether it is that to our request, and what it says.

import { StorageError } from '../../errors.ts';
import { AnswerError, type Refusal } from '../../http/answer-error.ts';
import { hasHeaderOf, isPage } from '../../http/foreign-answers.ts';
import {
  refuse,
  refuseOther,
  refuseOtherKey,
  refuseOtherObject,
} from '../../http/mismatched-answers.ts';
import type { Answer } from '../../http/transport.ts';
import { asRecord, oneLine, oneName, readElement, text, textOf } from '../../http/words.ts';
import type { ObjectHead, ObjectInfo } from '../../store/object-store.ts';
import { type ListPage, requireSize } from '../operation.ts';

/** Before an object's name (mismatched-answers.ts) in its Content-Disposition. Other programs may write other values. */
export const NAME_START = 'attachment; filename="orthanc-';
const OBJECT_KIND = 'storage#object';
export const NOT_FOUND = 404;

/** Has headers of Google's own. */
export function isMarked({ headers }: Answer): boolean {
  return hasHeaderOf(/^x-(goog|guploader)-/, headers);
}

/** Google's words in an answer that is no success. They are JSON, or XML for a download. A page or plain text has none. */
export function readRefusal({ body, headers }: Answer): Refusal {
  const requestId = headers['x-guploader-uploadid'];
  const error = parseError(Buffer.from(body.buffer, body.byteOffset, body.length).toString('utf8'));
  if (error !== undefined) return { ...error, requestId };
  const xml = textOf(body);
  if (!xml.includes('<Error>')) return { requestId };
  const words = ['Message', 'Details'].map((name) => readElement(xml, name) ?? '').join(' ');
  return { code: oneName(readElement(xml, 'Code')), words: oneLine(words), requestId };
}

function parseError(json: string): Refusal | undefined {
  try {
    const value: unknown = JSON.parse(json);
    // Google's streams answer with a list of one, and other servers with the words alone.
    const { error } = asRecord(Array.isArray(value) ? value[0] : value);
    if (typeof error === 'string') return { words: oneLine(error) };
    const { message, errors, status } = asRecord(error);
    if (typeof message !== 'string') return undefined;
    const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
    const code = oneName(text(asRecord(first)['reason']) ?? text(status));
    return { code, words: oneLine(message) };
  } catch {
    return undefined;
  }
}

/** Google throttles by 429, and by 403 with a reason. 503 is repeated as with all servers.
 *  @see https://docs.cloud.google.com/storage/docs/json_api/v1/status-codes */
export function isThrottling(thrown: unknown): boolean {
  if (!(thrown instanceof AnswerError)) return false;
  const isLimit = /rateLimitExceeded$/i.test(thrown.code ?? '');
  return thrown.status === 429 || (thrown.status === 403 && isLimit);
}

/** The content was altered on its way. */
export function isMismatch(error: AnswerError): boolean {
  return error.status === 400 && /doesn't match calculated/i.test(error.message);
}

/** Compares the name in a download or a description, and the key of a missing object.
 *  @returns what throws TransportError, StorageError for an answer to another request */
export function assertMatches(key: string): (answer: Answer) => void {
  return (answer) => {
    const disposition = answer.headers['content-disposition'];
    if (answer.status === NOT_FOUND) {
      const words = Buffer.from(answer.body).toString('utf8');
      refuseOtherKey(key, /No such object: ([^"<\n]*)/.exec(words)?.[1]);
    } else if (answer.status < 300) {
      const isNamed = disposition?.startsWith(NAME_START) === true;
      const told = isNamed ? disposition.slice(NAME_START.length, -1) : undefined;
      refuseOtherObject(key, told, 'Google Cloud Storage');
      if (answer.body.length > 0) refuseOther('name', key, text(readObject(answer)?.['name']));
    }
  };
}

/** An object's content and its description come by the same path. Emulators' answers may be marked as neither.
 *  @throws TransportError */
export function refuseKind(kind: 'a content' | 'a description', { status, headers }: Answer): void {
  const isContent = headers['x-goog-hash'] !== undefined;
  const isDescription = !isContent && /^application\/json\b/i.test(headers['content-type'] ?? '');
  const isRefused = kind === 'a content' ? isContent : isDescription;
  if (status < 300 && isRefused) refuse(`it has ${kind}`);
}

/** By its Content-Type or its content, since some servers say "text/html" of all answers. */
export function isJson(answer: Answer): boolean {
  return (
    /^application\/json\b/i.test(answer.headers['content-type'] ?? '') ||
    readObject(answer) !== undefined
  );
}

/** Any server may answer so. Whether the object is gone has to be asked (removeObject). */
export function isVague({ body, headers }: Answer): boolean {
  return body.length === 0 || !isPage(headers);
}

/** An empty answer is taken, since verifyStored then asks for the object. */
export function isOfUpload(answer: Answer): boolean {
  return isJson(answer) || answer.body.length === 0;
}

export function isRemoval(answer: Answer): boolean {
  const { status, headers } = answer;
  const isOfApi = /^application\/json\b/i.test(headers['content-type'] ?? '');
  return status === 204 || isOfApi || isMarked(answer);
}

/** A page may have an ETag and even ranges, but its type tells. */
export function isOfDownload({ status, headers }: Answer, isRange: boolean): boolean {
  if (isPage(headers)) return false;
  return (
    headers['etag'] !== undefined ||
    (isRange && status === 206 && headers['content-range'] !== undefined) ||
    /^(application|binary)\/(octet-stream|dicom)\b/i.test(headers['content-type'] ?? '')
  );
}

/** Where the content of a large upload goes.
 *  @returns path and query, without Google's host, which Endpoint replaces */
export function readSession({ headers, body }: Answer): string | undefined {
  const { location } = headers;
  if (location === undefined || !URL.canParse(location, 'http://server')) return undefined;
  const { pathname, search, searchParams } = new URL(location, 'http://server');
  const isPlain = !isPage(headers) || body.length === 0;
  return isPlain || searchParams.has('upload_id') ? pathname + search : undefined;
}

/** @throws StorageError UNAVAILABLE where the answer tells no size */
export function readHead(key: string, answer: Answer): ObjectHead {
  const object = parseObject(answer);
  const { generation } = object;
  return {
    sizeBytes: requireSize(key, readSize(object)),
    version: typeof generation === 'string' ? generation : undefined,
  };
}

export function readGranted(answer: Answer): readonly string[] {
  const { permissions } = parseObject(answer);
  return Array.isArray(permissions) ? permissions.map(String) : [];
}

export function readPage(answer: Answer): ListPage {
  const { kind, items, nextPageToken } = parseObject(answer);
  // An empty listing may have nothing but its kind.
  if (kind !== 'storage#objects' && !Array.isArray(items)) {
    throw notOfGoogle('the answer is no listing');
  }
  const objects = (Array.isArray(items) ? items : []).map(readItem);
  // Some servers write an empty one on the last page.
  const hasNext = typeof nextPageToken === 'string' && nextPageToken !== '';
  return { objects, next: hasNext ? nextPageToken : undefined };
}

function readItem(item: unknown): ObjectInfo {
  const object = asRecord(item);
  const { name } = object;
  // An object that is not listed would count as lost.
  if (typeof name !== 'string') throw notOfGoogle('the listing has an object without a name');
  const sizeBytes = requireSize(name, readSize({ kind: OBJECT_KIND, ...object }));
  return { key: name, sizeBytes, modified: readModified(object) };
}

/** If a server does not tell the time, the object may be new. */
function readModified({ updated, timeCreated }: Readonly<Record<string, unknown>>): Date {
  const told = [updated, timeCreated]
    .map((time) => new Date(typeof time === 'string' ? time : Number.NaN))
    .find((time) => !Number.isNaN(time.getTime()));
  return told ?? new Date();
}

/** @returns undefined if no size is told. Servers that write JSON from protocol buffers leave zeros out, so that an object without a size is
 *  empty. */
export function readSize(object: Readonly<Record<string, unknown>>): number | undefined {
  const { size, kind, name, generation } = object;
  if (size === undefined) {
    const isDescribed =
      kind === OBJECT_KIND || typeof name === 'string' || generation !== undefined;
    return isDescribed ? 0 : undefined;
  }
  if (typeof size !== 'string' && typeof size !== 'number') return undefined;
  return /^\d+$/.test(String(size)) ? Number(size) : undefined;
}

export function readObject(answer: Answer): Readonly<Record<string, unknown>> | undefined {
  const { buffer, byteOffset, length } = answer.body;
  try {
    const value: unknown = JSON.parse(Buffer.from(buffer, byteOffset, length).toString('utf8'));
    return Array.isArray(value) || typeof value !== 'object' || value === null
      ? undefined
      : asRecord(value);
  } catch {
    return undefined;
  }
}

export function parseObject(answer: Answer): Readonly<Record<string, unknown>> {
  const object = readObject(answer);
  if (object === undefined) throw notOfGoogle('the answer is no JSON object');
  return object;
}

function notOfGoogle(words: string): StorageError {
  return new StorageError(
    'UNAVAILABLE',
    `${words}; does GoogleCloudStorage.Endpoint name a server of Google Cloud Storage?`,
  );
}

/** True for an object without a size and a checksum. JSON of something else is not the store's answer. */
export function saysNothing(told: Readonly<Record<string, unknown>>, key: string): boolean {
  const { size, crc32c, kind, name } = told;
  if (size !== undefined || crc32c !== undefined) return false;
  return Object.keys(told).length === 0 || kind === OBJECT_KIND || name === key;
}
