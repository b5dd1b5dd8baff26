// SPDX-License-Identifier: GPL-3.0-or-later
// Connections for undici. Every address of a host is tried within ConnectionTimeout, and interim answers (1xx) are passed over.

import { ADDRCONFIG } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { isIP, connect as openTcp, type Socket } from 'node:net';
import type { buildConnector, Dispatcher } from 'undici';
import buildTlsConnector from 'undici/lib/core/connect.js';
import { kParser } from 'undici/lib/core/symbols.js';

export type Connector = buildConnector.connector;
type Callback = buildConnector.Callback;

/** How long an address is tried alone. @see RFC 8305, section 5 */
const ATTEMPT_DELAY_MS = 250;
/** As undici sets them. */
const SOCKET_OPTIONS = {
  highWaterMark: 64 * 1024,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
} as const;

export interface Trust {
  readonly ca?: string;
  readonly allowPartialTrustChain?: true;
}

/** @param authorities in PEM; undefined: those that Node's build trusts */
export function trust(authorities: string | undefined): Trust {
  // An intermediate authority may be named, as with libcurl in the C++ plugins.
  return authorities === undefined ? {} : { ca: authorities, allowPartialTrustChain: true };
}

/** Without a proxy. @param timeoutMs for name server, TCP and TLS together */
export function createConnector(timeoutMs: number, tls: Trust): Connector {
  const startTls = buildTlsConnector({ ...tls, timeout: 0 });
  return within(timeoutMs, ({ signal, ...target }, callback) => {
    const isTls = target.protocol === 'https:';
    const port = Number(target.port) || (isTls ? 443 : 80);
    const open = async () => {
      const socket = await openSocket(await resolve(target.hostname), port, signal);
      signal.addEventListener('abort', () => socket.destroy(), { once: true });
      return socket;
    };
    open().then(
      (socket) => {
        if (isTls) startTls({ ...target, httpSocket: socket }, callback);
        else callback(null, socket);
      },
      (error: Error) => {
        callback(error, null);
      },
    );
  });
}

type Target = buildConnector.Options & { readonly signal: AbortSignal };

/** @param connect gets a signal that is aborted when the time is up */
export function within(
  timeoutMs: number,
  connect: (target: Target, callback: Callback) => void,
): Connector {
  return (target, callback) => {
    const giveUp = new AbortController();
    const timer = setTimeout(() => {
      giveUp.abort();
      const error = new Error(`no connection to ${target.hostname} within ${timeoutMs} ms`);
      callback(Object.assign(error, { code: 'UND_ERR_CONNECT_TIMEOUT' }), null);
    }, timeoutMs);
    const settle: Callback = (...[error, socket]) => {
      clearTimeout(timer);
      if (giveUp.signal.aborted) {
        socket?.destroy();
        return;
      }
      if (error !== null) {
        callback(error, null);
        return;
      }
      // After an alert of TLS the stream ends. undici would report the end instead of the alert.
      socket.once('error', (thrown) => socket.destroy(thrown));
      afterTurns(TURNS_TO_HEAR, () => {
        if (socket.readableLength > 0) {
          socket.destroy();
          const error = new Error(`${target.hostname} answered before anything was asked`);
          callback(Object.assign(error, { code: 'MISMATCHED_ANSWER' }), null);
          return;
        }
        callback(null, socket);
        watchAnswers(socket);
      });
    };
    connect({ ...target, signal: giveUp.signal }, settle);
  };
}

/** Turns of the loop in which bytes may show up that a server sends unasked. The first turn may be that of the connection itself. */
const TURNS_TO_HEAR = 3;

function afterTurns(turns: number, next: () => void): void {
  if (turns === 0) next();
  else setImmediate(afterTurns, turns - 1, next);
}

/** Tries the next address beside one that is slow to answer (RFC 8305). Node's own way gives each address up after 250 ms. */
export function openSocket(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
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
      const socket = openTcp({ ...SOCKET_OPTIONS, host: addresses[tried] ?? '', port });
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

/** The part of undici's parser (7.30, client-h1.js) that handles the end of each head. */
interface Parser {
  statusCode: number;
  headers: Buffer[];
  headersSize: number;
  readonly timeout: { refresh(): unknown } | null;
  readonly ptr: number;
  readonly llhttp: { llhttp_set_lenient_keep_alive(parser: number, isOn: 0 | 1): void };
  onHeadersComplete(status: number, isUpgrade: boolean, shouldKeepAlive: boolean): number;
}

/** The key is the answer's array of headers, which undici hands out unchanged. */
const sockets = new WeakMap<object, Socket>();

export function socketOf({ rawHeaders }: Dispatcher.DispatchController): Socket | undefined {
  return sockets.get(rawHeaders ?? {});
}

/** Whether bytes given to a connection still wait for the system. The handle knows at once; over TLS, the stream's own word comes a turn of
 *  the loop later, and the answer may come before. */
export function isSending(socket: Socket | undefined): boolean {
  const handle = (socket as { readonly _handle?: Handle | null } | undefined)?._handle;
  return ((handle?._parent ?? handle)?.writeQueueSize ?? 0) > 0;
}

/** Node's (20 to 24, net.js and _tls_wrap.js). The parent of a TLS handle is the handle of the TCP connection. */
interface Handle {
  readonly writeQueueSize?: number;
  readonly _parent?: Handle;
}

/** Passes interim answers over, as RFC 9110, section 15.2, demands. undici ends a connection at an unasked `100 Continue`, and a tunnel at
 *  any interim answer. */
function watchAnswers(socket: Socket): void {
  const parser = (socket as Socket & { readonly [kParser]?: Parser })[kParser];
  if (parser === undefined) return;
  const proceed = parser.onHeadersComplete.bind(parser);
  parser.onHeadersComplete = (status, isUpgrade, shouldKeepAlive) => {
    if (status >= 200) {
      sockets.set(parser.headers, socket);
      return proceed(status, isUpgrade, shouldKeepAlive);
    }
    // This one is final, and nobody asked for it: undici refuses it.
    if (status === 101) return proceed(status, true, shouldKeepAlive);
    parser.statusCode = status;
    parser.headers = [];
    parser.headersSize = 0;
    parser.timeout?.refresh();
    // An "HTTP/1.0 100 Continue", or one with `Connection: close`, would count as the last answer.
    parser.llhttp.llhttp_set_lenient_keep_alive(parser.ptr, 1);
    return NO_BODY;
  };
}

/** Tells llhttp that no body follows. */
const NO_BODY = 1;
