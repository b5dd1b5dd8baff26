// SPDX-License-Identifier: GPL-3.0-or-later
// Stands between the plugin and a real object store: passes on, counts, and misbehaves when told to.

import {
  createServer,
  type IncomingMessage,
  request as requestUpstream,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Transform } from 'node:stream';

export interface ProxiedRequest {
  readonly method: string;
  /** Without the bucket; empty for requests about the bucket itself, and for uploads to Google in one request, which name it in their
   *  body. */
  readonly key: string;
  readonly query: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
}

/** The range that a read asks for, in the provider's own header. */
export function rangeOf({ headers }: ProxiedRequest): string | undefined {
  return headers['range'] ?? headers['x-ms-range'];
}

export type Fault =
  /** Answers itself, after it has read the request. */
  | { readonly kind: 'answer'; readonly status: number; readonly body?: string }
  /** Never answers. */
  | { readonly kind: 'hang' }
  /** Breaks the connection. */
  | { readonly kind: 'reset' }
  /** Passes on, but later. `isAlone`: and after others of the same object, since versitygw looks at If-Match before it has the content. */
  | { readonly kind: 'delay'; readonly ms: number; readonly isAlone?: true }
  /** Passes on with one bit of the request's body flipped. */
  | { readonly kind: 'corrupt' }
  /** Answers with another body than the server's. `announce` says which length its header claims. */
  | {
      readonly kind: 'alter';
      readonly announce: 'original' | 'altered';
      readonly change: (body: Buffer) => Buffer;
    };

/** Decides about one request; undefined lets it pass. */
export type FaultRule = (request: ProxiedRequest) => Fault | undefined;

export interface StoreProxy {
  readonly endpoint: string;
  /** All requests since the last `forget`, in the order of their arrival. */
  requests(): readonly ProxiedRequest[];
  forget(): void;
  /** Such as { PUT: 2, GET: 1 }; only what there was. */
  counts(): Readonly<Record<string, number>>;
  /** From now on each request goes by this rule; undefined takes it back. */
  setFault(rule: FaultRule | undefined): void;
  /** Nobody listens any more, and open connections break. */
  refuse(): Promise<void>;
  accept(): Promise<void>;
  close(): Promise<void>;
}

/** @param upstreamPort of 127.0.0.1
 *  @param keyOf what a request's URL says of the object's key */
export async function startStoreProxy(
  upstreamPort: number,
  keyOf: (url: URL) => string,
): Promise<StoreProxy> {
  let requests: ProxiedRequest[] = [];
  let rule: FaultRule | undefined;
  const sockets = new Set<Socket>();

  const describe = (request: IncomingMessage): ProxiedRequest => {
    const url = new URL(request.url ?? '', 'http://store');
    return {
      method: request.method ?? '',
      key: keyOf(url),
      query: url.search.slice(1),
      headers: request.headers as Record<string, string | undefined>,
    };
  };

  const underWay = new Map<string, Promise<void>>();
  const alone = (key: string, work: () => Promise<void>): Promise<void> => {
    const own = (underWay.get(key) ?? Promise.resolve()).catch(() => undefined).then(work);
    underWay.set(key, own);
    return own;
  };

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const described = describe(request);
    requests.push(described);
    const fault = rule?.(described);
    switch (fault?.kind) {
      case undefined:
        await forward(request, response, upstreamPort);
        return;
      case 'delay':
        await new Promise((resolve) => setTimeout(resolve, fault.ms));
        if (request.socket.destroyed) return;
        await (fault.isAlone === true
          ? alone(described.key, () => forward(request, response, upstreamPort))
          : forward(request, response, upstreamPort));
        return;
      case 'answer':
        for await (const _ of request);
        response.writeHead(fault.status, { 'content-type': 'application/xml' });
        response.end(fault.body ?? '');
        return;
      case 'reset':
        request.socket.resetAndDestroy();
        return;
      case 'hang':
        request.resume();
        return;
      case 'corrupt':
        await forward(request, response, upstreamPort, undefined, createFlipper(request));
        return;
      case 'alter':
        await forward(request, response, upstreamPort, fault);
        return;
      default:
        fault satisfies never;
    }
  };

  const server = createServer((request, response) => {
    handle(request, response).catch(() => {
      // One of both sides has broken off: let the other one know.
      request.socket.destroy();
    });
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  const listen = (port: number) =>
    new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => {
        resolve();
      });
      for (const socket of sockets) socket.destroy();
    });

  await listen(0);
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    requests: () => requests,
    forget: () => {
      requests = [];
    },
    counts: () => {
      const counts: Record<string, number> = {};
      for (const { method } of requests) counts[method] = (counts[method] ?? 0) + 1;
      return counts;
    },
    setFault: (next) => {
      rule = next;
    },
    refuse: close,
    accept: () => listen(port),
    close,
  };
}

/** Flips the lowest bit of the byte in the middle, where an upload is content whatever surrounds that. */
function createFlipper(request: IncomingMessage): Transform {
  const middle = Number(request.headers['content-length']) >> 1;
  let offset = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      const copy = Buffer.from(chunk);
      const at = middle - offset;
      if (at >= 0 && at < copy.length) copy.writeUInt8(copy.readUInt8(at) ^ 1, at);
      offset += copy.length;
      done(undefined, copy);
    },
  });
}

/** Passes the request on as it is, since its headers are signed, and the answer back. */
function forward(
  request: IncomingMessage,
  response: ServerResponse,
  port: number,
  alteration?: Extract<Fault, { kind: 'alter' }>,
  onTheWay?: Transform,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { method, url: path } = request;
    const headers = request.rawHeaders.filter((_, index, all) => {
      const name = all[index - (index % 2)] ?? '';
      return !/^(expect|connection)$/i.test(name); // for the next hop alone
    });
    const upstream = requestUpstream({ host: '127.0.0.1', port, method, path, headers });
    upstream.on('error', reject);
    upstream.on('response', (answer) => {
      const status = answer.statusCode ?? 502;
      answer.on('error', reject);
      if (alteration === undefined) {
        response.writeHead(status, answer.rawHeaders);
        answer.pipe(response);
        response.on('finish', resolve);
        return;
      }
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('end', () => {
        const original = Buffer.concat(chunks);
        const body = alteration.change(original);
        const { length } = alteration.announce === 'original' ? original : body;
        // Straight to the socket: Node would not let a server claim another length than it sends.
        const head = answer.rawHeaders.flatMap((text, index, all) =>
          index % 2 === 0 && !/^(content-length|connection)$/i.test(text)
            ? [`${text}: ${all[index + 1] ?? ''}`]
            : [],
        );
        const lines = [
          `HTTP/1.1 ${status} Altered`,
          ...head,
          `Content-Length: ${length}`,
          'Connection: close',
        ];
        request.socket.end(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`), body]));
        resolve();
      });
    });
    request.on('error', reject);
    if (onTheWay === undefined) request.pipe(upstream);
    else request.pipe(onTheWay).pipe(upstream);
    response.on('close', () => {
      upstream.destroy();
      if (!response.writableFinished) reject(new Error('the client has gone'));
    });
  });
}
