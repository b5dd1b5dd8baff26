// SPDX-License-Identifier: GPL-3.0-or-later
// Google Cloud Storage's JSON API in memory, for the scripted server: uploads in one request and resumable ones, reads, removals, and
// tokens for whoever asks. It verifies checksums as Google does.

import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { loadCrc32c } from '../../src/checksums/wasm-checksums.ts';
import type { AnswerFromMemory, Memory, RecordedRequest, Step } from './scripted-server.ts';

export const TEST_TOKEN = 'test-token-that-no-log-may-show';
export const TEST_REQUEST_ID = 'UPLOAD0ID';

/** That of what the plugin stores. */
const OBJECT_TYPE = 'application/octet-stream';

const createChecksum = await loadCrc32c();

export function crc32cOf(bytes: Uint8Array): string {
  const checksum = createChecksum();
  checksum.update(bytes);
  return checksum.toBase64();
}

/** Whether answers have Google's headers and are complete. */
type Style = 'google' | 'plain';

export const answerGoogle = createAnswer('google');

/** The API without any header of Google's own, as storage-testbench and gcp-storage-emulator speak it between them: sessions and removals
 *  are answered by an empty "page", the address of a session has no host, what is not there has no words, zeros are left out. */
export const answerPlainly = createAnswer('plain');

function createAnswer(style: Style): AnswerFromMemory {
  return (memory, request, body, response) => {
    const url = new URL(request.url, 'http://server');
    const [, bucket = '', key = ''] = /\/b\/([^/]+)\/o(?:\/(.+))?$/.exec(url.pathname) ?? [];
    const path = `/${bucket}/${decodeURIComponent(key)}`;
    if (style === 'google') response.setHeader('x-guploader-uploadid', randomUUID());
    if (url.pathname === '/token') {
      const token = { access_token: TEST_TOKEN, expires_in: 3600, token_type: 'Bearer' };
      answerJson(response, 200, token);
    } else if (url.pathname.endsWith('/iam/testPermissions')) {
      answerJson(response, 200, { permissions: url.searchParams.getAll('permissions') });
    } else if (url.pathname.startsWith('/upload/')) {
      answerUpload(style, memory, bucket, url, request, body, response);
    } else if (request.method === 'DELETE') {
      if (!memory.objects.delete(path)) answerMissing(style, path, response);
      else if (style === 'google') response.writeHead(204).end();
      else answerNothing(response);
    } else {
      answerRead(style, memory, path, url, request, response);
    }
  };
}

function answerMissing(style: Style, path: string, response: ServerResponse): void {
  if (style === 'plain') response.writeHead(404).end();
  else answerGoogleError(response, 404, `No such object: ${path.slice(1)}`, 'notFound');
}

/** As Flask does, where no type is said. */
function answerNothing(response: ServerResponse): void {
  response
    .writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-length': '0' })
    .end();
}

function describeObject(style: Style, name: string, bytes: Buffer) {
  const size = String(bytes.length);
  const described = { kind: 'storage#object', name, crc32c: crc32cOf(bytes) };
  if (style === 'plain') return bytes.length === 0 ? described : { ...described, size };
  return { ...described, size, generation: '1' };
}

function answerUpload(
  style: Style,
  { objects, uploads }: Memory,
  bucket: string,
  url: URL,
  request: RecordedRequest,
  body: Buffer,
  response: ServerResponse,
): void {
  const store = (metadata: Metadata, bytes: Buffer) => {
    const crc32c = crc32cOf(bytes);
    if (metadata.crc32c !== undefined && metadata.crc32c !== crc32c) {
      const message = `Provided CRC32C "${metadata.crc32c}" doesn't match calculated CRC32C "${crc32c}".`;
      answerGoogleError(response, 400, message, 'invalid');
      return;
    }
    const { contentDisposition } = metadata;
    const headers = {
      'x-goog-hash': `crc32c=${crc32c}`,
      ...(contentDisposition === undefined ? {} : { 'content-disposition': contentDisposition }),
    };
    objects.set(`/${bucket}/${metadata.name}`, { bytes, headers });
    answerJson(response, 200, describeObject(style, metadata.name, bytes));
  };
  const id = url.searchParams.get('upload_id');
  if (id === null && url.searchParams.get('uploadType') === 'multipart') {
    const { metadata, bytes } = parseMultipart(body);
    store(metadata, bytes);
    return;
  }
  if (id === null) {
    const newId = `${Buffer.from(body).toString('base64url')}.${uploads.size}`;
    uploads.set(newId, new Map([[0, Buffer.alloc(0)]]));
    const session = `/upload/storage/v1/b/${bucket}/o?upload_id=${newId}`;
    const host = request.headers['host'] ?? '';
    response.setHeader('location', style === 'plain' ? session : `http://${host}${session}`);
    if (style === 'plain') answerNothing(response);
    else answerJson(response, 200, {});
    return;
  }
  const received = uploads.get(id)?.get(0);
  if (received === undefined) {
    answerGoogleError(response, 410, 'Gone', 'notFound');
    return;
  }
  if (request.method === 'DELETE') {
    uploads.delete(id);
    response.writeHead(499).end();
    return;
  }
  const range = /^bytes (?:\*|(\d+)-(\d+))\/(\d+)$/.exec(request.headers['content-range'] ?? '');
  const total = Number(range?.[3]);
  const bytes =
    range?.[1] === undefined
      ? received
      : Buffer.concat([received.subarray(0, Number(range[1])), body]);
  uploads.get(id)?.set(0, bytes);
  if (bytes.length < total) {
    const unit = style === 'plain' ? 'bytes ' : 'bytes=';
    const head = bytes.length === 0 ? {} : { range: `${unit}0-${bytes.length - 1}` };
    response.writeHead(308, head).end();
    return;
  }
  uploads.delete(id);
  const [encoded = ''] = id.split('.');
  store(JSON.parse(Buffer.from(encoded, 'base64url').toString()) as Metadata, bytes);
}

interface Metadata {
  readonly name: string;
  readonly crc32c?: string;
  readonly storageClass?: string;
  readonly contentDisposition?: string;
}

export function parseMultipart(body: Buffer): {
  readonly metadata: Metadata;
  readonly bytes: Buffer;
} {
  const boundary = body.subarray(0, body.indexOf('\r\n'));
  const jsonStart = body.indexOf('\r\n\r\n') + 4;
  const second = body.indexOf(boundary, jsonStart);
  const contentStart = body.indexOf('\r\n\r\n', second) + 4;
  const end = body.lastIndexOf(boundary);
  return {
    metadata: JSON.parse(body.subarray(jsonStart, second).toString()) as Metadata,
    bytes: body.subarray(contentStart, end - 2),
  };
}

function answerRead(
  style: Style,
  { objects }: Memory,
  path: string,
  url: URL,
  request: RecordedRequest,
  response: ServerResponse,
): void {
  const object = objects.get(path);
  if (object === undefined) {
    answerMissing(style, path, response);
    return;
  }
  const { bytes } = object;
  const headers = style === 'google' ? object.headers : { 'content-type': OBJECT_TYPE };
  if (url.searchParams.get('alt') !== 'media') {
    answerJson(response, 200, describeObject(style, path.split('/').slice(2).join('/'), bytes));
    return;
  }
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers['range'] ?? '');
  if (range === null) {
    response.writeHead(200, { ...headers, 'content-length': String(bytes.length) }).end(bytes);
    return;
  }
  const first = Number(range[1]);
  const last = Math.min(Number(range[2]), bytes.length - 1);
  if (first >= bytes.length) {
    answerGoogleError(
      response,
      416,
      'Request range not satisfiable',
      'requestedRangeNotSatisfiable',
    );
    return;
  }
  response.writeHead(206, {
    ...headers,
    'content-range': `bytes ${first}-${last}/${bytes.length}`,
    'content-length': String(last - first + 1),
  });
  response.end(bytes.subarray(first, last + 1));
}

export function answerJson(response: ServerResponse, status: number, value: unknown): void {
  const json = JSON.stringify(value);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(json)),
  });
  response.end(json);
}

/** An error as the JSON API writes it. */
export function answerGoogleError(
  response: ServerResponse,
  status: number,
  message: string,
  reason: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const error = { code: status, message, errors: [{ message, domain: 'global', reason }] };
  response.setHeader('x-guploader-uploadid', TEST_REQUEST_ID);
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  answerJson(response, status, { error });
}

/** Reads the request, then answers with an error. */
export function failGoogle(
  status: number,
  message: string,
  reason = 'someReason',
  headers: Readonly<Record<string, string>> = {},
): Step {
  return async ({ readBody, response }) => {
    await readBody();
    answerGoogleError(response, status, message, reason, headers);
  };
}

/** An error of a token server. @see RFC 6749, section 5.2 */
export function failToken(
  error: string,
  description: string,
  options: { readonly status?: number; readonly headers?: Readonly<Record<string, string>> } = {},
): Step {
  return async ({ readBody, response }) => {
    await readBody();
    for (const [name, value] of Object.entries(options.headers ?? {})) {
      response.setHeader(name, value);
    }
    answerJson(response, options.status ?? 400, { error, error_description: description });
  };
}
