// SPDX-License-Identifier: GPL-3.0-or-later
// The requests of the JSON API: their paths, the frame around an upload, and what their answers say.

import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { CreateChecksum } from '../../checksums/checksums.ts';
import { StorageError } from '../../errors.ts';
import { createPieceReader, ONE_PIECE_BYTES, PIECE_BYTES } from '../../http/content.ts';
import { isPage } from '../../http/foreign-answers.ts';
import {
  refuse,
  refuseOther,
  refuseOtherKey,
  refuseOtherObject,
  refuseRepetition,
  uuidOf,
} from '../../http/mismatched-answers.ts';
import type { Answer, Headers } from '../../http/transport.ts';
import { asRecord, text } from '../../http/words.ts';
import { abortReason } from '../../store/abort.ts';
import { bodyFrom, viewOf } from '../../store/bodies.ts';
import type {
  Body,
  ByteRange,
  ObjectHead,
  ObjectInfo,
  PutOptions,
} from '../../store/object-store.ts';
import { type ListPage, requireSize } from '../operation.ts';
import { type Client, type GoogleRequest, isMarked } from './client.ts';
import { type ReadOptions, receive } from './receive.ts';
import type { GoogleSettings } from './settings.ts';

/** The most that a page of a listing may hold. */
const PAGE_OBJECTS = 1_000;
/** More than any frame takes: JSON makes at most 6,144 bytes of a key's 1,024. */
const FRAME_BYTES = 8_192;
/** base64 of four bytes. */
const CHECKSUM_PLACEHOLDER = 'AAAAAA==';
/** What is compared, and `kind`, which shows that an object without a size is empty. */
const UPLOAD_FIELDS = 'fields=kind%2Cname%2Csize%2Ccrc32c';
const HEAD_FIELDS = 'fields=kind%2Cname%2Csize%2Ccrc32c%2Cgeneration';
/** Before an object's name (mismatched-answers.ts) in its Content-Disposition. Other programs may write other values. */
const NAME_START = 'attachment; filename="orthanc-';
const OBJECT_KIND = 'storage#object';
const NOT_FOUND = 404;

export interface Requests {
  /** Sends a content together with its name, class and checksum. */
  upload(key: string, body: Body, options: PutOptions): Promise<Upload>;
  /** Begins a session that takes the content piece by piece. */
  beginResumable(
    key: string,
    sizeBytes: number,
    crc32c: string,
    onlyIfVersion?: string,
  ): GoogleRequest;
  read(options: ReadOptions): GoogleRequest;
  head(key: string): GoogleRequest;
  remove(key: string): GoogleRequest;
  list(prefix: string, pageToken: string | undefined): GoogleRequest;
  /** Asks which of the permissions we have. This needs no permission. */
  testPermissions(permissions: readonly string[]): GoogleRequest;
  /** One pass over the content. */
  checksum(body: Body, signal: AbortSignal): Promise<string>;
}

export interface Upload {
  readonly request: GoogleRequest;
  readonly crc32c: string;
}

export function createRequests(
  settings: Pick<GoogleSettings, 'bucketName' | 'storageClass'>,
  createChecksum: CreateChecksum,
): Requests {
  const bucket = encodeURIComponent(settings.bucketName);
  const objects = `/storage/v1/b/${bucket}/o`;
  const uploads = `/upload${objects}`;
  const object = (key: string) => `${objects}/${encodeURIComponent(key)}`;
  const metadata = (key: string, crc32c: string) => {
    const uuid = uuidOf(key);
    return JSON.stringify({
      name: key,
      contentType: 'application/octet-stream',
      // A download returns this, but no custom metadata.
      contentDisposition: uuid === undefined ? undefined : `${NAME_START}${uuid}"`,
      crc32c,
      storageClass: settings.storageClass,
    });
  };

  async function checksum(body: Body, signal: AbortSignal): Promise<string> {
    const sum = createChecksum();
    const readPiece = createPieceReader(body);
    for (let start = 0; start < body.sizeBytes; start += PIECE_BYTES) {
      if (start > 0) await setImmediate();
      if (signal.aborted) throw abortReason(signal);
      sum.update(readPiece(start));
    }
    return sum.toBase64();
  }

  /** Reads a small content straight into its frame, so that it is in memory once. */
  function frameSmall(key: string, body: Body, boundary: string): Framed {
    const { length: headBytes } = frameHead(boundary, metadata(key, CHECKSUM_PLACEHOLDER));
    const tail = frameTail(boundary);
    const bytes = Buffer.allocUnsafe(headBytes + body.sizeBytes + tail.length);
    const content = bytes.subarray(headBytes, headBytes + body.sizeBytes);
    body.readInto(0, content);
    const sum = createChecksum();
    sum.update(content);
    const crc32c = sum.toBase64();
    bytes.set(frameHead(boundary, metadata(key, crc32c)), 0);
    bytes.set(tail, headBytes + body.sizeBytes);
    return { crc32c, body: viewOf(bytes) };
  }

  async function frameLarge(
    key: string,
    body: Body,
    boundary: string,
    signal: AbortSignal,
  ): Promise<Framed> {
    const crc32c = await checksum(body, signal);
    const head = frameHead(boundary, metadata(key, crc32c));
    return { crc32c, body: joinBodies([viewOf(head), body, viewOf(frameTail(boundary))]) };
  }

  return {
    checksum,

    async upload(key, body, { signal, onlyIfVersion }) {
      // No content holds it but by chance.
      const boundary = randomUUID();
      const framed =
        body.sizeBytes <= ONE_PIECE_BYTES - FRAME_BYTES
          ? frameSmall(key, body, boundary)
          : await frameLarge(key, body, boundary, signal);
      return {
        crc32c: framed.crc32c,
        request: {
          method: 'POST',
          path: `${uploads}?uploadType=multipart&${UPLOAD_FIELDS}${conditionOf(onlyIfVersion)}`,
          headers: {
            'content-type': `multipart/related; boundary=${boundary}`,
            'content-length': String(framed.body.sizeBytes),
          },
          content: framed.body,
          isAnswer: isOfUpload,
          assertMatches: assertMatches(key),
        },
      };
    },

    beginResumable(key, sizeBytes, crc32c, onlyIfVersion) {
      const json = Buffer.from(metadata(key, crc32c));
      return {
        method: 'POST',
        path: `${uploads}?uploadType=resumable&name=${encodeURIComponent(key)}&${UPLOAD_FIELDS}${conditionOf(onlyIfVersion)}`,
        headers: {
          'content-type': 'application/json; charset=UTF-8',
          'content-length': String(json.length),
          'x-upload-content-type': 'application/octet-stream',
          'x-upload-content-length': String(sizeBytes),
        },
        content: viewOf(json),
        isAnswer: (answer) => isJson(answer) || readSession(answer) !== undefined,
      };
    },

    read(options) {
      const { key, range } = options;
      return {
        method: 'GET',
        path: `${object(key)}?alt=media`,
        headers: readHeaders(range),
        receive: (status, headers) => receive(options, createChecksum, status, headers),
        isAnswer: (answer) => isOfDownload(answer, range !== undefined),
        assertMatches: (answer) => {
          assertMatches(key)(answer);
          refuseKind('a description', answer);
        },
      };
    },
    head: (key) => ({
      ...plain('GET', `${object(key)}?${HEAD_FIELDS}`),
      assertMatches: (answer) => {
        assertMatches(key)(answer);
        refuseKind('a content', answer);
      },
    }),
    remove: (key) => ({
      ...plain('DELETE', object(key)),
      assertMatches: (answer, connection) => {
        refuseRepetition(connection, answer.headers['x-guploader-uploadid']);
        assertMatches(key)(answer);
      },
      isAnswer: (answer) => isRemoval(answer) || isVague(answer),
    }),
    list(prefix, pageToken) {
      const query = new URLSearchParams({
        prefix,
        maxResults: String(PAGE_OBJECTS),
        fields: 'kind,nextPageToken,items(name,size,updated)',
        ...(pageToken === undefined ? {} : { pageToken }),
      });
      return plain('GET', `${objects}?${query.toString()}`);
    },
    testPermissions(permissions) {
      const query = permissions.map((permission) => `permissions=${permission}`).join('&');
      return plain('GET', `/storage/v1/b/${bucket}/iam/testPermissions?${query}`);
    },
  };
}

function conditionOf(onlyIfVersion: string | undefined): string {
  return onlyIfVersion === undefined ? '' : `&ifGenerationMatch=${onlyIfVersion}`;
}

interface Framed {
  readonly crc32c: string;
  readonly body: Body;
}

function plain(method: 'GET' | 'DELETE', path: string): GoogleRequest {
  return { method, path, isAnswer: isJson };
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
function refuseKind(kind: 'a content' | 'a description', { status, headers }: Answer): void {
  const isContent = headers['x-goog-hash'] !== undefined;
  const isDescription = !isContent && /^application\/json\b/i.test(headers['content-type'] ?? '');
  const isRefused = kind === 'a content' ? isContent : isDescription;
  if (status < 300 && isRefused) refuse(`it has ${kind}`);
}

/** By its Content-Type or its content, since some servers say "text/html" of all answers. */
function isJson(answer: Answer): boolean {
  return (
    /^application\/json\b/i.test(answer.headers['content-type'] ?? '') ||
    readObject(answer) !== undefined
  );
}

/** Any server may answer so. Whether the object is gone has to be asked (removeObject). */
function isVague({ body, headers }: Answer): boolean {
  return body.length === 0 || !isPage(headers);
}

/** An empty answer is taken, since verifyStored then asks for the object. */
export function isOfUpload(answer: Answer): boolean {
  return isJson(answer) || answer.body.length === 0;
}

function isRemoval(answer: Answer): boolean {
  const { status, headers } = answer;
  const isOfApi = /^application\/json\b/i.test(headers['content-type'] ?? '');
  return status === 204 || isOfApi || isMarked(answer);
}

/** A page may have an ETag and even ranges, but its type tells. */
function isOfDownload({ status, headers }: Answer, isRange: boolean): boolean {
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

function readHeaders(range: ByteRange | undefined): Headers {
  return {
    // Proxies must not compress the answer, since its checksum is that of the plain bytes.
    'accept-encoding': 'identity',
    ...(range === undefined ? {} : { range: `bytes=${range.start}-${range.end - 1}` }),
  };
}

function frameHead(boundary: string, json: string): Buffer {
  return Buffer.from(
    `--${boundary}\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n${json}\r\n` +
      `--${boundary}\r\ncontent-type: application/octet-stream\r\n\r\n`,
  );
}

function frameTail(boundary: string): Buffer {
  return Buffer.from(`\r\n--${boundary}--\r\n`);
}

/** Several bodies, one after the other, as one. */
function joinBodies(parts: readonly Body[]): Body {
  const readInto = (start: number, target: Uint8Array) => {
    let partStart = 0;
    for (const part of parts) {
      const from = Math.max(start, partStart);
      const to = Math.min(start + target.length, partStart + part.sizeBytes);
      if (from < to) part.readInto(from - partStart, target.subarray(from - start, to - start));
      partStart += part.sizeBytes;
    }
  };
  return bodyFrom(
    parts.reduce((sum, part) => sum + part.sizeBytes, 0),
    readInto,
  );
}

/** Compares what the server has stored, by its answer or by asking for the object.
 *  @throws StorageError INTEGRITY if it differs, or is not told */
export async function verifyStored(
  { client, requests }: { readonly client: Client; readonly requests: Requests },
  { key, sizeBytes, crc32c }: Stored,
  answer: Answer,
  signal: AbortSignal,
): Promise<void> {
  let told = readObject(answer) ?? {};
  if (saysNothing(told, key)) {
    const head = { ...requests.head(key), accept: NOT_FOUND };
    const found = await client.attempt(head, signal);
    told = found.status === NOT_FOUND ? {} : parse(found);
  }
  const stored = text(told['crc32c']);
  const size = told['size'] === undefined && stored !== undefined ? sizeBytes : readSize(told);
  if (size === sizeBytes && (stored === undefined || stored === crc32c)) return;
  const isTold = size !== undefined || stored !== undefined;
  throw new StorageError(
    'INTEGRITY',
    isTold
      ? `what Google Cloud Storage stored as "${key}" is not what was sent`
      : `the server does not say what it stored as "${key}"; does GoogleCloudStorage.Endpoint name a server of Google Cloud Storage?`,
    { key },
  );
}

/** True for an object without a size and a checksum. JSON of something else is not the store's answer. */
function saysNothing(told: Readonly<Record<string, unknown>>, key: string): boolean {
  const { size, crc32c, kind, name } = told;
  if (size !== undefined || crc32c !== undefined) return false;
  return Object.keys(told).length === 0 || kind === OBJECT_KIND || name === key;
}

interface Stored {
  readonly key: string;
  readonly sizeBytes: number;
  readonly crc32c: string;
}

/** Removes an object. If the server says no more than "OK", as any server may, the object is asked for.
 *  @throws what the client throws; StorageError UNAVAILABLE for an object that is still there */
export async function removeObject(
  { client, requests }: { readonly client: Client; readonly requests: Requests },
  key: string,
  signal: AbortSignal,
): Promise<void> {
  if (isRemoval(await client.send(requests.remove(key), signal))) return;
  const head = { ...requests.head(key), accept: NOT_FOUND };
  if ((await client.send(head, signal)).status === NOT_FOUND) return;
  throw new StorageError(
    'UNAVAILABLE',
    `the server says that "${key}" is removed, and still has it`,
    { key },
  );
}

/** @throws StorageError UNAVAILABLE where the answer tells no size */
export function readHead(key: string, answer: Answer): ObjectHead {
  const object = parse(answer);
  const { generation } = object;
  return {
    sizeBytes: requireSize(key, readSize(object)),
    version: typeof generation === 'string' ? generation : undefined,
  };
}

export function readGranted(answer: Answer): readonly string[] {
  const { permissions } = parse(answer);
  return Array.isArray(permissions) ? permissions.map(String) : [];
}

export function readPage(answer: Answer): ListPage {
  const { kind, items, nextPageToken } = parse(answer);
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
function readSize(object: Readonly<Record<string, unknown>>): number | undefined {
  const { size, kind, name, generation } = object;
  if (size === undefined) {
    const isDescribed =
      kind === OBJECT_KIND || typeof name === 'string' || generation !== undefined;
    return isDescribed ? 0 : undefined;
  }
  if (typeof size !== 'string' && typeof size !== 'number') return undefined;
  return /^\d+$/.test(String(size)) ? Number(size) : undefined;
}

function readObject(answer: Answer): Readonly<Record<string, unknown>> | undefined {
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

function parse(answer: Answer): Readonly<Record<string, unknown>> {
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
