// SPDX-License-Identifier: GPL-3.0-or-later
// Opens connections: every address of a host, proxies, TLS, all of it within ConnectionTimeout.

import { ADDRCONFIG } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { isIP, type OnReadOpts, connect as openTcp, type Socket } from 'node:net';
import {
  type ConnectionOptions,
  createSecureContext,
  connect as openTls,
  type SecureContext,
  type TLSSocket,
} from 'node:tls';
import { errorCode } from '../errors.ts';
import { AnswerParser } from './answer-parser.ts';
import { isPermanent, needsLogin, TransportError } from './exchange.ts';
import { CERTIFICATE } from './network-errors.ts';

/** How long an address is tried alone. @see RFC 8305, section 5 */
const ATTEMPT_DELAY_MS = 250;
/** A firewall forgets a connection that is silent for some minutes. */
const TCP_KEEP_ALIVE_MS = 60_000;

/** Where a server is, and by which way. */
export interface Route {
  /** Of the server, as a URL has them. */
  readonly origin: string;
  readonly host: string;
  readonly server: Address;
  readonly isTls: boolean;
  readonly proxy: ProxyRoute | undefined;
}

export interface ProxyRoute {
  readonly server: Address;
  readonly isTls: boolean;
  /** For the header Proxy-Authorization. */
  readonly authorization: string | undefined;
}

export interface Address {
  /** A name or an IP address. */
  readonly host: string;
  readonly port: number;
}

/** A connection that is ready for requests. */
export interface Wire {
  readonly socket: Socket;
  /** @param receive gets what comes from now on; each piece is valid during the call only */
  listen(receive: (bytes: Buffer) => void): void;
}

export interface OpenOptions {
  /** For name server, TCP, the proxy's tunnel and TLS together. */
  readonly timeoutMs: number;
  /** In PEM; undefined: those that Node's build trusts. */
  readonly authorities: string | undefined;
  /** Of all connections: each piece is used before the next one is read. */
  readonly receiveBuffer: Buffer;
}

export type Open = (route: Route, signal: AbortSignal) => Promise<Wire>;

export function createOpen({ timeoutMs, authorities, receiveBuffer }: OpenOptions): Open {
  let context: SecureContext | undefined;
  /** By server, so that the next connection needs no new key exchange. */
  const sessions = new Map<string, Buffer>();

  function secure(server: Address): ConnectionOptions {
    // An intermediate authority may be named, as with libcurl in the C++ plugins.
    context ??= createSecureContext(
      authorities === undefined ? {} : { ca: authorities, allowPartialTrustChain: true },
    );
    const session = sessions.get(`${server.host}:${server.port}`);
    return {
      secureContext: context,
      // For the certificate. Behind a tunnel, Node would take "localhost" where there is no name.
      host: server.host,
      servername: isIP(server.host) === 0 ? server.host : '',
      ALPNProtocols: ['http/1.1'],
      ...(session === undefined ? {} : { session }),
    };
  }

  async function open(server: Address, isTls: boolean, signal: AbortSignal): Promise<Wire> {
    const wire = new ReadWire(receiveBuffer);
    const { onread } = wire;
    const options = isTls ? secure(server) : undefined;
    const addresses = await resolve(server.host);
    wire.socket = await openSocket(addresses, server.port, signal, (host, port) => {
      const target = { host, port, onread };
      return options === undefined ? openTcp(target) : openTls({ ...options, ...target });
    });
    wire.socket.setNoDelay(true);
    wire.socket.setKeepAlive(true, TCP_KEEP_ALIVE_MS);
    if (isTls) await handshake(wire.socket as TLSSocket, server, signal);
    else destroyOnAbort(wire.socket, signal);
    return wire;
  }

  async function handshake(socket: TLSSocket, server: Address, signal: AbortSignal): Promise<void> {
    destroyOnAbort(socket, signal);
    socket.on('session', (session) => {
      sessions.set(`${server.host}:${server.port}`, session);
    });
    await new Promise<void>((fulfil, reject) => {
      socket.once('secureConnect', fulfil);
      socket.once('error', reject);
    });
  }

  async function tunnel(route: Route, proxy: ProxyRoute, signal: AbortSignal): Promise<Wire> {
    const outer = await openProxy(proxy, signal);
    await askForTunnel(outer, route.server, proxy.authorization);
    // Node takes no `onread` where a socket is given.
    const socket = openTls({ ...secure(route.server), socket: outer.socket });
    await handshake(socket, route.server, signal);
    return {
      socket,
      listen: (receive) => socket.on('data', receive),
    };
  }

  async function openProxy({ server, isTls }: ProxyRoute, signal: AbortSignal): Promise<Wire> {
    try {
      return await open(server, isTls, signal);
    } catch (thrown) {
      // Else it would read as if it were the store's.
      const code = errorCode(thrown) ?? '';
      const isCertificate = CERTIFICATE.test(code);
      if (!isCertificate && !isPermanent(code)) throw thrown;
      const { message } = thrown as Error;
      throw new TransportError(
        isCertificate ? 'PROXY_CERTIFICATE' : 'PROXY_TLS',
        isCertificate ? `${message}, ${code}` : message,
        false,
        thrown,
      );
    }
  }

  return (route, signal) =>
    within(timeoutMs, route.server.host, signal, (limit) => {
      const { proxy, server, isTls } = route;
      if (proxy === undefined) return open(server, isTls, limit);
      return isTls ? tunnel(route, proxy, limit) : openProxy(proxy, limit);
    });
}

/** Reads into one buffer, where Node would allocate 64 kB for each read. */
class ReadWire implements Wire {
  socket!: Socket;
  readonly onread: OnReadOpts;
  #receive: ((bytes: Buffer) => void) | undefined;

  constructor(buffer: Buffer) {
    this.onread = {
      buffer,
      callback: (length) => {
        this.#receive?.(length === buffer.length ? buffer : buffer.subarray(0, length));
        return true;
      },
    };
  }

  listen(receive: (bytes: Buffer) => void): void {
    this.#receive = receive;
  }
}

function destroyOnAbort(socket: Socket, signal: AbortSignal): void {
  signal.addEventListener('abort', () => socket.destroy(), { once: true });
}

/** @param open gets a signal that is aborted when the time is up, the outer one is, or it has failed: what it began must end */
async function within<T>(
  timeoutMs: number,
  host: string,
  outer: AbortSignal,
  open: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const timer = setTimeout(() => {
    limit.abort(failure('CONNECT_TIMEOUT', `no connection to ${host} within ${timeoutMs} ms`));
  }, timeoutMs);
  const onAbort = () => {
    limit.abort(outer.reason);
  };
  outer.addEventListener('abort', onAbort);
  try {
    return await new Promise<T>((fulfil, reject) => {
      limit.signal.addEventListener('abort', () => {
        reject(limit.signal.reason as Error);
      });
      open(limit.signal).then(fulfil, (thrown: unknown) => {
        limit.abort(thrown);
      });
    });
  } finally {
    clearTimeout(timer);
    outer.removeEventListener('abort', onAbort);
  }
}

async function askForTunnel(
  wire: Wire,
  { host, port }: Address,
  authorization: string | undefined,
): Promise<void> {
  const to = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  const status = await new Promise<number>((fulfil, reject) => {
    const parser = new AnswerParser({
      onInterim: () => undefined,
      onHead: fulfil,
      onBody: () => undefined,
    });
    parser.begin('CONNECT');
    wire.listen((bytes) => {
      try {
        parser.feed(bytes);
      } catch (thrown) {
        reject(thrown as Error);
      }
    });
    wire.socket.once('error', reject);
    wire.socket.once('close', () => {
      reject(failure('CONNECTION_CLOSED', 'the proxy closed the connection'));
    });
    const login = authorization === undefined ? '' : `proxy-authorization: ${authorization}\r\n`;
    wire.socket.write(`CONNECT ${to} HTTP/1.1\r\nhost: ${to}\r\n${login}\r\n`, 'latin1');
  });
  if (status === 200) return;
  if (status === 407) throw needsLogin();
  throw new TransportError('PROXY_REFUSED', `status ${status} to CONNECT`, true);
}

/** Tries the next address beside one that is slow to answer (RFC 8305). Node's own way gives each address up after 250 ms. */
export function openSocket(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
  open: (address: string, port: number) => Socket = (host, at) => openTcp({ host, port: at }),
): Promise<Socket> {
  return new Promise((fulfil, reject) => {
    const pending = new Set<Socket>();
    const errors: Error[] = [];
    let tried = 0;
    let timer: NodeJS.Timeout | undefined;
    let isOver = false;
    const stop = () => {
      isOver = true;
      clearTimeout(timer);
      for (const socket of pending) socket.destroy();
    };
    const tryNext = () => {
      clearTimeout(timer);
      const socket = open(addresses[tried] ?? '', port);
      tried += 1;
      pending.add(socket);
      if (tried < addresses.length) timer = setTimeout(tryNext, ATTEMPT_DELAY_MS);
      socket.once('connect', () => {
        pending.delete(socket);
        stop();
        fulfil(socket);
      });
      socket.once('error', (error) => {
        if (isOver) return;
        pending.delete(socket);
        errors.push(error);
        if (tried < addresses.length) tryNext();
        else if (pending.size === 0) reject(mostTelling(errors));
      });
    };
    const onAbort = () => {
      if (isOver) return;
      stop();
      reject(new Error('aborted'));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    else tryNext();
  });
}

/** @returns IPv6 and IPv4 addresses in turn, the system's preferred kind first */
async function resolve(host: string): Promise<readonly string[]> {
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true, hints: ADDRCONFIG });
  const first = found.filter(({ family }) => family === found[0]?.family);
  const others = found.filter(({ family }) => family !== found[0]?.family);
  const longest = Math.max(first.length, others.length);
  return Array.from({ length: longest }, (_, index) => [first[index], others[index]])
    .flat()
    .filter((entry) => entry !== undefined)
    .map(({ address }) => address);
}

/** An answer of one address says more than the missing route to another. */
function mostTelling(errors: readonly Error[]): Error {
  const isAnswer = (error: Error) => 'code' in error && !NO_ROUTE.test(String(error.code));
  return errors.find(isAnswer) ?? errors[0] ?? new Error('no address');
}

const NO_ROUTE = /^(ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT)$/;

/** Whether bytes given to a connection still wait for the system. The handle knows at once; over TLS, the stream's own word comes a turn of
 *  the loop later, and the answer may come before. */
export function isSending(socket: Socket): boolean {
  let handle = (socket as { readonly _handle?: Handle | null })._handle;
  // Through a proxy with TLS, there are two of TLS.
  while (handle?._parent) handle = handle._parent;
  return (handle?.writeQueueSize ?? 0) > 0;
}

/** Node's (20 to 24, net.js and _tls_wrap.js). The parent of a TLS handle is what it writes to. */
interface Handle {
  readonly writeQueueSize?: number;
  readonly _parent?: Handle | null;
}

export function failure(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
