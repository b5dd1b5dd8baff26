// SPDX-License-Identifier: GPL-3.0-or-later
// The requests of the JSON API that a store is made of: paths, the frame around an upload, what their answers say.

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
/** More than any frame takes: of a key's 1,024 bytes, JSON makes 6,144 at most. */
const FRAME_BYTES = 8_192;
/** base64 of four bytes. */
const CHECKSUM_PLACEHOLDER = 'AAAAAA==';
/** Of what an upload answers, only what is compared, and what an empty object without a size is told by. */
const UPLOAD_FIELDS = 'fields=kind%2Cname%2Csize%2Ccrc32c';
const HEAD_FIELDS = 'fields=kind%2Cname%2Csize%2Ccrc32c%2Cgeneration';
/** What an object is called (mismatched-answers.ts), so that no read takes it for another one. Others' need not be its name. */
const NAME_START = 'attachment; filename="orthanc-';
const OBJECT_KIND = 'storage#object';
const NOT_FOUND = 404;

export interface Requests {
  /** A content in the same request as its name, class and checksum. */
  upload(key: string, body: Body, options: PutOptions): Promise<Upload>;
  /** Asks for a session that takes the content, piece by piece if need be. */
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
  /** Which of the permissions we have; needs none itself. */
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
      // Of what is known of an object, a download tells this, and no metadata of one's own.
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

  /** A small content is read straight into its frame, so that it exists once. */
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
      // A name that no content can hold but by chance.
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

/** By the name that a download or a description tells, and by the key of what is not there.
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

/** Of one object come both, and each without anything of the other; emulators' may have neither.
 *  @throws TransportError */
function refuseKind(kind: 'a content' | 'a description', { status, headers }: Answer): void {
  const isContent = headers['x-goog-hash'] !== undefined;
  const isDescription = !isContent && /^application\/json\b/i.test(headers['content-type'] ?? '');
  const isRefused = kind === 'a content' ? isContent : isDescription;
  if (status < 300 && isRefused) refuse(`it has ${kind}`);
}

/** By what it is, or by what it says it is: some say "text/html" of all that they answer. */
function isJson(answer: Answer): boolean {
  return (
    /^application\/json\b/i.test(answer.headers['content-type'] ?? '') ||
    readObject(answer) !== undefined
  );
}

/** Anybody may say so: the object has to be asked for. */
function isVague({ body, headers }: Answer): boolean {
  return body.length === 0 || !isPage(headers);
}

/** Where it says nothing, the object is asked for (verifyStored). */
export function isOfUpload(answer: Answer): boolean {
  return isJson(answer) || answer.body.length === 0;
}

function isRemoval(answer: Answer): boolean {
  const { status, headers } = answer;
  const isOfApi = /^application\/json\b/i.test(headers['content-type'] ?? '');
  return status === 204 || isOfApi || isMarked(answer);
}

/** A page may have an ETag and even ranges; it has neither the type of a content nor, of a range, any other than its own. */
function isOfDownload({ status, headers }: Answer, isRange: boolean): boolean {
  if (isPage(headers)) return false;
  return (
    headers['etag'] !== undefined ||
    (isRange && status === 206 && headers['content-range'] !== undefined) ||
    /^(application|binary)\/(octet-stream|dicom)\b/i.test(headers['content-type'] ?? '')
  );
}

/** Where the content of a large upload goes.
 *  @returns path and query: its host is Google's own, which Endpoint is there to replace */
export function readSession({ headers, body }: Answer): string | undefined {
  const { location } = headers;
  if (location === undefined || !URL.canParse(location, 'http://server')) return undefined;
  const { pathname, search, searchParams } = new URL(location, 'http://server');
  const isPlain = !isPage(headers) || body.length === 0;
  return isPlain || searchParams.has('upload_id') ? pathname + search : undefined;
}

function readHeaders(range: ByteRange | undefined): Headers {
  return {
    // Against proxies that would compress the answer, whose checksum is that of the plain bytes.
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

/** Bodies one after the other as one. */
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

/** The answer to an upload tells what the server has stored; where it says nothing, the object is asked for.
 *  @throws StorageError INTEGRITY when that is something else, or nothing */
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

/** Of the object's content; JSON of something else is somebody else's. */
function saysNothing(told: Readonly<Record<string, unknown>>, key: string): boolean {
  const { size, crc32c, kind, name } = told;
  if (size !== undefined || crc32c !== undefined) return false;
  return Object.keys(told).length === 0 || kind === OBJECT_KIND || name === key;
}

/** What was sent. */
interface Stored {
  readonly key: string;
  readonly sizeBytes: number;
  readonly crc32c: string;
}

/** Removes an object; of a server that only says "OK", as any other may, it is asked whether the object is gone.
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
  // An empty listing may say no more than its kind.
  if (kind !== 'storage#objects' && !Array.isArray(items)) {
    throw notOfGoogle('the answer is no listing');
  }
  const objects = (Array.isArray(items) ? items : []).map(readItem);
  // Some write an empty one on the last page.
  const hasNext = typeof nextPageToken === 'string' && nextPageToken !== '';
  return { objects, next: hasNext ? nextPageToken : undefined };
}

function readItem(item: unknown): ObjectInfo {
  const object = asRecord(item);
  const { name } = object;
  // What is not listed would count as lost.
  if (typeof name !== 'string') throw notOfGoogle('the listing has an object without a name');
  const sizeBytes = requireSize(name, readSize({ kind: OBJECT_KIND, ...object }));
  return { key: name, sizeBytes, modified: readModified(object) };
}

/** Where a server does not tell it, the object may be new. */
function readModified({ updated, timeCreated }: Readonly<Record<string, unknown>>): Date {
  const told = [updated, timeCreated]
    .map((time) => new Date(typeof time === 'string' ? time : Number.NaN))
    .find((time) => !Number.isNaN(time.getTime()));
  return told ?? new Date();
}

/** @returns undefined where no size is told. Of an object that is described without one, that is 0: what writes JSON from protocol buffers
 *  leaves zeros out. */
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
