// SPDX-License-Identifier: GPL-3.0-or-later
// An HTTP(S) server that behaves as told: by default a small S3 in memory, and before that, in order, whatever faults a test put
// in front. It records every request, so that tests can count them.

import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Certificate } from './certificate.ts';

export interface RecordedRequest {
  readonly method: string;
  /** As it came over the wire. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** Complete once the request was read; faults that do not read it leave it empty. */
  readonly body: () => Buffer;
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly socket: Socket;
  readonly recorded: RecordedRequest;
  /** Reads the request to its end. */
  readonly readBody: () => Promise<Buffer>;
  /** Hands over to the S3 in memory. */
  readonly proceed: () => Promise<void>;
}

export type Step = (exchange: Exchange) => void | Promise<void>;

export interface ScriptedServer {
  readonly endpoint: string;
  readonly port: number;
  /** All requests so far, those ended by faults included. */
  readonly requests: readonly RecordedRequest[];
  /** The objects of the S3 in memory, by path ("/bucket/key"). */
  readonly objects: Map<string, StoredObject>;
  /** Uploads under way in the server in memory, by their id: their parts by number. */
  readonly uploads: Map<string, Map<number, Buffer>>;
  /** Sockets that are open now. */
  openSockets(): number;
  /** Multipart uploads begun and neither completed nor aborted. */
  openUploads(): number;
  /** The next requests meet these steps, one each; the ones after that the S3 in memory. */
  script(...steps: readonly Step[]): void;
  /** Every request meets this step, once the script is used up; undefined takes it back. */
  always(step: Step | undefined): void;
  close(): Promise<void>;
}

export interface StoredObject {
  readonly bytes: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

export async function startScriptedServer(
  options: {
    readonly certificate?: Certificate;
    /** The server in memory; an S3 by default. */
    readonly answer?: AnswerFromMemory;
  } = {},
): Promise<ScriptedServer> {
  const answer = options.answer ?? answerS3;
  const requests: RecordedRequest[] = [];
  const objects = new Map<string, StoredObject>();
  const uploads = new Map<string, Map<number, Buffer>>();
  const sockets = new Set<Socket>();
  let steps: Step[] = [];
  let fallback: Step | undefined;

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = Buffer.alloc(0);
    const recorded: RecordedRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers as Record<string, string | undefined>,
      body: () => body,
    };
    requests.push(recorded);
    const readBody = async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      body = Buffer.concat(chunks);
      return body;
    };
    const exchange: Exchange = {
      request,
      response,
      socket: request.socket,
      recorded,
      readBody,
      proceed: async () => {
        answer({ objects, uploads }, recorded, await readBody(), response);
      },
    };
    const step = steps.shift() ?? fallback ?? ((it: Exchange) => it.proceed());
    try {
      await step(exchange);
    } catch {
      // The client broke off, which is what many tests are about.
      request.socket.destroy();
    }
  };
  const listener = (request: IncomingMessage, response: ServerResponse) => {
    void handle(request, response);
  };
  const server =
    options.certificate === undefined
      ? createHttpServer(listener)
      : createHttpsServer({ ...options.certificate }, listener);
  const track = (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    socket.on('error', () => undefined);
  };
  server.on('connection', track);
  // Node's own answer to what is not HTTP, without its exception for sockets that are gone.
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    else socket.destroy();
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;

  return {
    endpoint: `${options.certificate === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    requests,
    objects,
    uploads,
    openSockets: () => sockets.size,
    openUploads: () => uploads.size,
    script: (...next) => {
      steps = [...steps, ...next];
    },
    always: (step) => {
      fallback = step;
    },
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => {
          resolve();
        });
      }),
  };
}

export interface Memory {
  readonly objects: Map<string, StoredObject>;
  /** Uploads under way, by their id: their parts by number. */
  readonly uploads: Map<string, Map<number, Buffer>>;
}

export type AnswerFromMemory = (
  memory: Memory,
  request: RecordedRequest,
  body: Buffer,
  response: ServerResponse,
) => void;

/** PUT, GET, HEAD, DELETE and multipart uploads, without signatures. */
function answerS3(
  { objects, uploads }: Memory,
  request: RecordedRequest,
  body: Buffer,
  response: ServerResponse,
): void {
  const url = new URL(request.url, 'http://server');
  const key = decodeURIComponent(url.pathname);
  const uploadId = url.searchParams.get('uploadId');
  response.setHeader('x-amz-request-id', 'REQUEST0ID');
  const crc32 = request.headers['x-amz-checksum-crc32'];
  const checksum: Record<string, string> =
    crc32 === undefined ? {} : { 'x-amz-checksum-crc32': crc32 };

  switch (request.method) {
    case 'PUT': {
      if (uploadId !== null) {
        const parts = uploads.get(uploadId);
        if (parts === undefined) {
          answerError(response, 404, 'NoSuchUpload');
          return;
        }
        parts.set(Number(url.searchParams.get('partNumber')), body);
      } else {
        objects.set(key, { bytes: body, headers: checksum });
      }
      response.writeHead(200, { etag: '"etag"', 'content-length': '0' }).end();
      return;
    }
    case 'POST': {
      if (uploadId === null) {
        const id = `upload-${uploads.size}-${Date.now()}`;
        uploads.set(id, new Map());
        const xml = `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`;
        response.writeHead(200, { 'content-type': 'application/xml' }).end(xml);
        return;
      }
      const parts = uploads.get(uploadId);
      if (parts === undefined) {
        answerError(response, 404, 'NoSuchUpload');
        return;
      }
      uploads.delete(uploadId);
      const ordered = [...parts].sort(([a], [b]) => a - b).map(([, part]) => part);
      objects.set(key, { bytes: Buffer.concat(ordered), headers: {} });
      const xml = `<CompleteMultipartUploadResult><ETag>"etag-${parts.size}"</ETag></CompleteMultipartUploadResult>`;
      response.writeHead(200, { 'content-type': 'application/xml' }).end(xml);
      return;
    }
    case 'GET':
    case 'HEAD': {
      const object = objects.get(key);
      if (object === undefined) {
        answerError(response, 404, 'NoSuchKey');
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
        answerError(response, 416, 'InvalidRange');
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
      answerError(response, 405, 'MethodNotAllowed');
  }
}

/** An error as S3 writes it. */
export function answerError(
  response: ServerResponse,
  status: number,
  code: string,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly xml?: string } = {},
): void {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>The message of ${code}</Message>${
    options.xml ?? ''
  }<RequestId>REQUEST0ID</RequestId></Error>`;
  response.writeHead(status, {
    'x-amz-request-id': 'REQUEST0ID',
    'content-type': 'application/xml',
    'content-length': String(Buffer.byteLength(xml)),
    ...options.headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : xml);
}

/** Reads the request, then answers with an error. */
export function failWith(
  status: number,
  code: string,
  options: { readonly headers?: Readonly<Record<string, string>>; readonly xml?: string } = {},
): Step {
  return async ({ readBody, response }) => {
    await readBody();
    answerError(response, status, code, options);
  };
}

/** A TCP reset after so many milliseconds, without any answer. */
export function reset(): Step {
  return ({ socket }) => {
    socket.resetAndDestroy();
  };
}

/** Takes the request and never answers. */
export function hang(): Step {
  return async ({ readBody }) => {
    await readBody();
  };
}

/** Answers a GET by hand: head, then bytes, then whatever `after` does to the connection. */
export function answerRaw(
  head: Readonly<Record<string, string | number>>,
  bytes: Uint8Array,
  after: (socket: Socket) => void,
  status = '200 OK',
): Step {
  return async ({ readBody, socket }) => {
    await readBody();
    const lines = Object.entries(head).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n`);
    socket.write(bytes, () => {
      after(socket);
    });
  };
}
