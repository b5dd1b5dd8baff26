// SPDX-License-Identifier: GPL-3.0-or-later
// The requests of the JSON API that a store is made of: paths, the frame around an upload, what their answers say.

import { randomUUID } from 'node:crypto';
import { setImmediate } from 'node:timers/promises';
import type { GoogleSettings } from '../../config/settings.ts';
import { StorageError } from '../../errors.ts';
import { abortReason } from '../../store/abort.ts';
import { bodyFrom, viewOf } from '../../store/bodies.ts';
import type {
  Body,
  ByteRange,
  ObjectHead,
  ObjectInfo,
  PutOptions,
} from '../../store/object-store.ts';
import { createPieceReader, ONE_PIECE_BYTES, PIECE_BYTES } from '../content.ts';
import { toldSize } from '../operation.ts';
import type { Answer, Headers } from '../transport.ts';
import { asRecord } from '../words.ts';
import type { GoogleRequest } from './client.ts';
import type { CreateChecksum } from './crc32c.ts';

/** The most that a page of a listing may hold. */
const PAGE_OBJECTS = 1_000;
/** More than any frame takes: of a key's 1,024 bytes, JSON makes 6,144 at most. */
const FRAME_BYTES = 8_192;
/** base64 of four bytes. */
const CHECKSUM_PLACEHOLDER = 'AAAAAA==';
/** Of what an upload answers, only what is compared. */
const UPLOAD_FIELDS = 'fields=size%2Ccrc32c';

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
  read(key: string, range: ByteRange | undefined): Omit<GoogleRequest, 'receive'>;
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
  const metadata = (key: string, crc32c: string) =>
    JSON.stringify({
      name: key,
      contentType: 'application/octet-stream',
      crc32c,
      storageClass: settings.storageClass,
    });

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
    if (body.readInto === undefined) content.set(body.read(0, body.sizeBytes));
    else body.readInto(0, content);
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
          receive: undefined,
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
        receive: undefined,
      };
    },

    read: (key, range) => ({
      method: 'GET',
      path: `${object(key)}?alt=media`,
      headers: readHeaders(range),
      content: undefined,
    }),
    head: (key) => plain('GET', `${object(key)}?fields=size%2Cgeneration`),
    remove: (key) => plain('DELETE', object(key)),
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
  return { method, path, content: undefined, receive: undefined };
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
      if (from < to) {
        const into = target.subarray(from - start, to - start);
        if (part.readInto === undefined) into.set(part.read(from - partStart, to - partStart));
        else part.readInto(from - partStart, into);
      }
      partStart += part.sizeBytes;
    }
  };
  return bodyFrom(
    parts.reduce((sum, part) => sum + part.sizeBytes, 0),
    readInto,
  );
}

/** The answer to an upload tells what the server has stored.
 *  @throws StorageError INTEGRITY when that is something else, or nothing */
export function verifyStored(key: string, answer: Answer, sizeBytes: number, crc32c: string): void {
  const { size, crc32c: storedCrc32c } = parse(answer);
  const isSame =
    (size ?? storedCrc32c) !== undefined &&
    (size === undefined || Number(size) === sizeBytes) &&
    (storedCrc32c === undefined || storedCrc32c === crc32c);
  if (!isSame) {
    throw new StorageError(
      'INTEGRITY',
      `what Google Cloud Storage stored as "${key}" is not what was sent`,
      { key },
    );
  }
}

/** @throws StorageError UNAVAILABLE where the answer tells no size */
export function readHead(key: string, answer: Answer): ObjectHead {
  const { size, generation } = parse(answer);
  const isTold = typeof size === 'string' || typeof size === 'number';
  return {
    sizeBytes: toldSize(key, isTold ? Number(size) : undefined),
    version: typeof generation === 'string' ? generation : undefined,
  };
}

export function readGranted(answer: Answer): readonly string[] {
  const { permissions } = parse(answer);
  return Array.isArray(permissions) ? permissions.map(String) : [];
}

export function readPage(answer: Answer): {
  readonly objects: readonly ObjectInfo[];
  readonly next: string | undefined;
} {
  const { kind, items, nextPageToken } = parse(answer);
  // All that an empty listing says.
  if (kind !== 'storage#objects') throw notOfGoogle('the answer is no listing');
  const objects: ObjectInfo[] = [];
  for (const item of Array.isArray(items) ? items : []) {
    const { name, size, updated } = asRecord(item);
    if (typeof name === 'string' && typeof updated === 'string') {
      objects.push({ key: name, sizeBytes: Number(size), modified: new Date(updated) });
    }
  }
  return { objects, next: typeof nextPageToken === 'string' ? nextPageToken : undefined };
}

function parse(answer: Answer): Readonly<Record<string, unknown>> {
  const { buffer, byteOffset, length } = answer.body;
  const text = Buffer.from(buffer, byteOffset, length).toString('utf8');
  try {
    return asRecord(JSON.parse(text));
  } catch {
    throw notOfGoogle('the answer is no JSON');
  }
}

function notOfGoogle(words: string): StorageError {
  return new StorageError(
    'UNAVAILABLE',
    `${words}; does GoogleCloudStorage.Endpoint name a server of Google Cloud Storage?`,
  );
}
