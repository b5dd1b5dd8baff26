// SPDX-License-Identifier: GPL-3.0-or-later
// S3 in memory, for the scripted server: writes whole and in parts, reads, removals. It verifies no signatures; versitygw does.

import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { crc32 as checksumOf, encodeCrc32 } from '../../src/checksums/checksums.ts';
import type { AnswerFromMemory, RecordedRequest, Step } from './scripted-server.ts';

export const TEST_REQUEST_ID = 'REQUEST0ID';

type Metadata = Readonly<Record<string, string>>;

/** Of the uploads of each server, which it is told when they begin. */
const metadata = new WeakMap<object, Readonly<Record<string, Metadata>>>();

function metadataIn({ headers }: RecordedRequest): Metadata {
  const entries = Object.entries(headers).filter(
    (entry): entry is [string, string] =>
      entry[0].startsWith('x-amz-meta-') && entry[1] !== undefined,
  );
  return Object.fromEntries(entries);
}

/** Like many servers, it keeps no checksum of what comes in parts. */
export const answerS3: AnswerFromMemory = ({ objects, uploads }, request, body, response) => {
  const url = new URL(request.url, 'http://server');
  const key = decodeURIComponent(url.pathname);
  const uploadId = url.searchParams.get('uploadId');
  response.setHeader('x-amz-request-id', randomUUID());
  const crc32 = request.headers['x-amz-checksum-crc32'];
  const headers: Record<string, string> = {
    etag: '"etag"',
    'last-modified': 'Tue, 24 Nov 2026 08:00:00 GMT',
    ...metadataIn(request),
    ...(crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 }),
  };

  switch (request.method) {
    case 'PUT': {
      if (uploadId !== null) {
        const parts = uploads.get(uploadId);
        if (parts === undefined) {
          answerS3Error(response, 404, 'NoSuchUpload');
          return;
        }
        parts.set(Number(url.searchParams.get('partNumber')), body);
      } else if (crc32 !== undefined && crc32 !== encodeCrc32(checksumOf(body, 0))) {
        answerS3Error(response, 400, 'BadDigest');
        return;
      } else {
        objects.set(key, { bytes: body, headers });
      }
      response.writeHead(200, {
        etag: '"etag"',
        'content-length': '0',
        ...(crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 }),
      });
      response.end();
      return;
    }
    case 'POST': {
      if (uploadId === null) {
        const id = `upload-${uploads.size}-${Date.now()}`;
        uploads.set(id, new Map());
        metadata.set(uploads, { ...metadata.get(uploads), [id]: metadataIn(request) });
        const xml = `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`;
        response.writeHead(200, { 'content-type': 'application/xml' }).end(xml);
        return;
      }
      const parts = uploads.get(uploadId);
      if (parts === undefined) {
        answerS3Error(response, 404, 'NoSuchUpload');
        return;
      }
      uploads.delete(uploadId);
      const ordered = [...parts].sort(([a], [b]) => a - b).map(([, part]) => part);
      const etag = `"etag-${parts.size}"`;
      const headers = { etag, ...metadata.get(uploads)?.[uploadId] };
      objects.set(key, { bytes: Buffer.concat(ordered), headers });
      const xml = `<CompleteMultipartUploadResult><ETag>${etag}</ETag></CompleteMultipartUploadResult>`;
      response.writeHead(200, { 'content-type': 'application/xml' }).end(xml);
      return;
    }
    case 'GET':
    case 'HEAD': {
      const object = objects.get(key);
      if (object === undefined) {
        answerS3Error(response, 404, 'NoSuchKey', {
          xml: `<Key>${key.slice(key.indexOf('/', 1) + 1)}</Key>`,
        });
        return;
      }
      const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers['range'] ?? '');
      if (range === null) {
        response.writeHead(200, {
          ...object.headers,
          'content-length': String(object.bytes.length),
        });
        response.end(request.method === 'HEAD' ? undefined : object.bytes);
        return;
      }
      const first = Number(range[1]);
      const last = Math.min(Number(range[2]), object.bytes.length - 1);
      if (first >= object.bytes.length) {
        answerS3Error(response, 416, 'InvalidRange');
        return;
      }
      response.writeHead(206, {
        ...object.headers,
        'content-range': `bytes ${first}-${last}/${object.bytes.length}`,
        'content-length': String(last - first + 1),
      });
      response.end(object.bytes.subarray(first, last + 1));
      return;
    }
    case 'DELETE':
      if (uploadId !== null) uploads.delete(uploadId);
      else objects.delete(key);
      response.writeHead(204).end();
      return;
    default:
      answerS3Error(response, 405, 'MethodNotAllowed');
  }
};

export interface S3ErrorOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly xml?: string;
  /** The server's words. */
  readonly message?: string;
}

/** An error as S3 writes it. */
export function answerS3Error(
  response: ServerResponse,
  status: number,
  code: string,
  options: S3ErrorOptions = {},
): void {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${options.message ?? `The message of ${code}`}</Message>${
    options.xml ?? ''
  }<RequestId>${TEST_REQUEST_ID}</RequestId></Error>`;
  response.writeHead(status, {
    'x-amz-request-id': TEST_REQUEST_ID,
    'content-type': 'application/xml',
    'content-length': String(Buffer.byteLength(xml)),
    ...options.headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : xml);
}

/** Reads the request, then answers with an error. */
export function failS3(status: number, code: string, options: S3ErrorOptions = {}): Step {
  return async ({ readBody, response }) => {
    await readBody();
    answerS3Error(response, status, code, options);
  };
}
