// SPDX-License-Identifier: GPL-3.0-or-later
// An HTTP(S) server that behaves as told: a provider's server in memory, and before that, in order, whatever faults a test put in
// front. It records every request, so that tests can count them.

import {
  createServer as createHttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { TlsOptions } from 'node:tls';
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
  /** Hands over to the server in memory. @param url of another request, whose answer is given then */
  readonly proceed: (url?: string) => Promise<void>;
}

export type Step = (exchange: Exchange) => void | Promise<void>;

export interface ScriptedServer {
  readonly endpoint: string;
  readonly port: number;
  /** All requests so far, those ended by faults included. */
  readonly requests: readonly RecordedRequest[];
  /** The objects of the server in memory, by path ("/bucket/key"). */
  readonly objects: Map<string, StoredObject>;
  /** Uploads under way in the server in memory, by their id: their parts by number. */
  readonly uploads: Map<string, Map<number, Buffer>>;
  /** Sockets that are open now. */
  openSockets(): number;
  /** Uploads in parts begun and neither completed nor aborted. */
  openUploads(): number;
  /** The next requests meet these steps, one each; the ones after that the server in memory. */
  script(...steps: readonly Step[]): void;
  /** Each connection is told this before it has asked anything. */
  greet(words: string | undefined): void;
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
    readonly certificate?: Certificate | TlsOptions;
    /** The server in memory; where a test scripts all, none is needed. */
    readonly answer?: AnswerFromMemory;
  } = {},
): Promise<ScriptedServer> {
  const answer = options.answer ?? answerNothing;
  const requests: RecordedRequest[] = [];
  const objects = new Map<string, StoredObject>();
  const uploads = new Map<string, Map<number, Buffer>>();
  const sockets = new Set<Socket>();
  let steps: Step[] = [];
  let fallback: Step | undefined;
  let greeting: string | undefined;

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
      if (chunks.length > 0) body = Buffer.concat(chunks);
      return body;
    };
    const exchange: Exchange = {
      request,
      response,
      socket: request.socket,
      recorded,
      readBody,
      proceed: async (url = recorded.url) => {
        answer({ objects, uploads }, { ...recorded, url }, await readBody(), response);
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
  server.on(
    options.certificate === undefined ? 'connection' : 'secureConnection',
    (socket: Socket) => {
      if (greeting !== undefined) socket.write(greeting);
    },
  );
  // Node's own answer to what is not HTTP, without its exception for sockets that are gone. What fails in TLS gets TLS's own.
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (socket.writable && error.code?.startsWith('HPE_') === true)
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
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
    greet: (words) => {
      greeting = words;
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

const answerNothing: AnswerFromMemory = (_memory, _request, _body, response) => {
  response.writeHead(404).end();
};

/** By connection, what was said last. */
const lastAnswers = new WeakMap<Socket, Buffer>();

/** What stands between and gives each answer twice.
 *  @param when the other one comes: in the same segment, a moment later, or when the next request has come */
export function twice(when: 'at once' | 'soon' | 'next'): Step {
  return async ({ proceed, readBody, response, socket }) => {
    await readBody();
    const last = lastAnswers.get(socket);
    if (when === 'next' && last !== undefined) socket.write(last);
    const said: Buffer[] = [];
    const write = socket.write.bind(socket);
    socket.write = ((chunk: string | Buffer, ...rest: never[]) => {
      said.push(Buffer.from(chunk as string, rest[0] === 'latin1' ? 'latin1' : 'utf8'));
      return write(chunk, ...rest);
    }) as typeof socket.write;
    socket.cork();
    response.once('finish', () => {
      socket.write = write;
      const answer = Buffer.concat(said);
      lastAnswers.set(socket, answer);
      if (when === 'at once') socket.write(answer);
      process.nextTick(() => {
        socket.uncork();
      });
      if (when === 'soon') setTimeout(() => socket.write(answer), 20);
    });
    await proceed();
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

/** By which each of the providers knows its own server. */
export const STORE_HEADERS = { etag: '"etag"', 'x-ms-request-id': 'REQUEST0ID' };

/** A page that a web filter gives in place of the server's answer. */
export const BLOCKED = 'Blocked by your administrator';
export function answerPage(status = 200): Step {
  return async ({ readBody, response }) => {
    await readBody();
    response.writeHead(status, {
      'content-type': 'text/html; charset=utf-8',
      'content-length': BLOCKED.length,
      server: 'some-filter/1.0',
      via: '1.1 some-proxy',
    });
    response.end(response.req.method === 'HEAD' ? undefined : BLOCKED);
  };
}

/** Elsewhere, says a gateway. */
export function redirect(status: number, location: string | undefined): Step {
  return async ({ readBody, response }) => {
    await readBody();
    const headers = location === undefined ? {} : { location };
    response
      .writeHead(status, { 'content-type': 'text/html', ...headers })
      .end('<html>moved</html>');
  };
}

/** "OK", says somebody who is not the server. */
export function answerEmpty(): Step {
  return async ({ readBody, response }) => {
    await readBody();
    response.writeHead(200, { 'content-length': 0 }).end();
  };
}

/** Answers a GET by hand, as the server would: head, then bytes, then whatever `after` does to the connection. */
export function answerRaw(
  head: Readonly<Record<string, string | number>>,
  bytes: Uint8Array,
  after: (socket: Socket) => void,
  status = '200 OK',
): Step {
  return async ({ readBody, socket }) => {
    await readBody();
    const lines = Object.entries({ ...STORE_HEADERS, ...head }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    socket.write(`HTTP/1.1 ${status}\r\n${lines.join('')}\r\n`);
    socket.write(bytes, () => {
      after(socket);
    });
  };
}
