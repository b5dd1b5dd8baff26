// SPDX-License-Identifier: GPL-3.0-or-later
// A proxy as HttpProxy names one: plain requests and tunnels.

import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';

export interface ForwardProxy {
  readonly port: number;
  /** Methods, in their order. */
  readonly seen: readonly string[];
  /** Hosts that tunnels were asked for. */
  readonly tunnels: readonly string[];
  readonly authorizations: ReadonlySet<string | undefined>;
  close(): Promise<void>;
}

export async function startProxy(
  options: {
    readonly refuse?: boolean;
    /** Where all requests end, whatever they ask for: a port of 127.0.0.1. */
    readonly targetPort?: number;
    /** What it says before it answers, such as "HTTP/1.1 100 Continue". */
    readonly interim?: string;
  } = {},
): Promise<ForwardProxy> {
  const seen: string[] = [];
  const tunnels: string[] = [];
  const authorizations = new Set<string | undefined>();
  const open = (host: string | undefined, port: number) =>
    options.targetPort === undefined
      ? connect(port, host)
      : connect(options.targetPort, '127.0.0.1');
  const server: Server = createServer((request, response) => {
    seen.push(request.method ?? '');
    authorizations.add(request.headers['proxy-authorization']);
    if (options.refuse === true) {
      response.writeHead(407).end();
      return;
    }
    const url = new URL(request.url ?? '');
    const target = open(url.hostname, Number(url.port));
    const headers = Object.entries(request.headers).filter(([name]) => !name.startsWith('proxy-'));
    const head = headers.map(([name, value]) => `${name}: ${String(value)}\r\n`).join('');
    target.write(
      `${request.method} ${url.pathname}${url.search} HTTP/1.1\r\n${head}connection: close\r\n\r\n`,
    );
    if (options.interim !== undefined) request.socket.write(options.interim);
    request.pipe(target, { end: false });
    target.pipe(request.socket);
    target.on('error', () => request.socket.destroy());
  });
  server.on('connect', (request, socket, head) => {
    seen.push('CONNECT');
    authorizations.add(request.headers['proxy-authorization']);
    if (options.refuse === true) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n');
      return;
    }
    const [host, port] = (request.url ?? '').split(':');
    tunnels.push(host ?? '');
    const target = open(host, Number(port));
    if (options.interim !== undefined) socket.write(options.interim);
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    target.write(head);
    target.pipe(socket);
    socket.pipe(target);
    target.on('error', () => socket.destroy());
    socket.on('error', () => target.destroy());
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    seen,
    tunnels,
    authorizations,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  };
}
