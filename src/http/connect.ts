// SPDX-License-Identifier: GPL-3.0-or-later
// Connections for undici: every address of a host gets its chance within ConnectionTimeout, and answers that are not the last word
// are passed over.

import { ADDRCONFIG } from 'node:dns';
import { lookup } from 'node:dns/promises';
import { isIP, connect as openTcp, type Socket } from 'node:net';
import type { buildConnector, Dispatcher } from 'undici';
import buildTlsConnector from 'undici/lib/core/connect.js';
import { kParser } from 'undici/lib/core/symbols.js';

export type Connector = buildConnector.connector;
type Callback = buildConnector.Callback;

/** RFC 8305, section 5: how long an address is tried alone. */
const ATTEMPT_DELAY_MS = 250;
/** As undici sets them. */
const SOCKET_OPTIONS = {
  highWaterMark: 64 * 1024,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
} as const;

/** Whom connections over TLS trust. */
export interface Trust {
  readonly ca?: string;
  readonly allowPartialTrustChain?: true;
}

/** @param authorities in PEM; undefined: those that Node's build trusts */
export function trust(authorities: string | undefined): Trust {
  // Who names an intermediate authority trusts it, as libcurl does in the C++ plugins.
  return authorities === undefined ? {} : { ca: authorities, allowPartialTrustChain: true };
}

/** Straight to a host. @param timeoutMs for all that it takes: name server, TCP and TLS */
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

/** @param connect gets a signal that ends what nobody waits for any more */
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
      // After an alert of TLS comes the end of the stream, and undici would tell of that alone.
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

/** Each looks for what has come. The first may be the one that told of the connection; who greets at once needs one more. */
const TURNS_TO_HEAR = 3;

function afterTurns(turns: number, next: () => void): void {
  if (turns === 0) next();
  else setImmediate(afterTurns, turns - 1, next);
}

/** By RFC 8305: the next address is tried beside one that is slow to answer. Node's own way gives each 250 ms and then gives it up. */
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

/** @returns IPv6 and IPv4 in turn, beginning with what the system prefers */
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

/** That one address has no route says less than what another one answered. */
function mostTelling(errors: readonly Error[]): Error {
  const isAnswer = (error: Error) => 'code' in error && !NO_ROUTE.test(String(error.code));
  return errors.find(isAnswer) ?? errors[0] ?? new Error('no address');
}

const NO_ROUTE = /^(ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EAFNOSUPPORT)$/;

/** What undici's parser (7.30, client-h1.js) is asked at the end of each head. */
interface Parser {
  statusCode: number;
  headers: Buffer[];
  headersSize: number;
  readonly timeout: { refresh(): unknown } | null;
  readonly ptr: number;
  readonly llhttp: { llhttp_set_lenient_keep_alive(parser: number, isOn: 0 | 1): void };
  onHeadersComplete(status: number, isUpgrade: boolean, shouldKeepAlive: boolean): number;
}

/** By the headers of the answer that comes there, as undici hands them to whoever asked. */
const sockets = new WeakMap<object, Socket>();

/** The connection of the answer that begins. */
export function socketOf({ rawHeaders }: Dispatcher.DispatchController): Socket | undefined {
  return sockets.get(rawHeaders ?? {});
}

/** Whether some of what a connection was given has not gone to the system yet. By its handle, since over TLS a write is only said to be
 *  done a turn of the loop after it is, and the answer may be faster. */
export function isSending(socket: Socket | undefined): boolean {
  const handle = (socket as { readonly _handle?: Handle | null } | undefined)?._handle;
  return ((handle?._parent ?? handle)?.writeQueueSize ?? 0) > 0;
}

/** Node's (20 to 24, net.js and _tls_wrap.js): of TLS, its parent is the one of the connection beneath. */
interface Handle {
  readonly writeQueueSize?: number;
  readonly _parent?: Handle;
}

/** A `100 Continue` that nobody asked for ends the connection in undici, and any answer before the last one a tunnel. RFC 9110,
 *  section 15.2: pass them over. */
function watchAnswers(socket: Socket): void {
  const parser = (socket as Socket & { readonly [kParser]?: Parser })[kParser];
  if (parser === undefined) return;
  const proceed = parser.onHeadersComplete.bind(parser);
  parser.onHeadersComplete = (status, isUpgrade, shouldKeepAlive) => {
    if (status >= 200) {
      sockets.set(parser.headers, socket);
      return proceed(status, isUpgrade, shouldKeepAlive);
    }
    // The last word too, and none that anybody asked for: undici refuses it.
    if (status === 101) return proceed(status, true, shouldKeepAlive);
    parser.statusCode = status;
    parser.headers = [];
    parser.headersSize = 0;
    parser.timeout?.refresh();
    // As "HTTP/1.0 100 Continue" or with `Connection: close` it seems to be the last one.
    parser.llhttp.llhttp_set_lenient_keep_alive(parser.ptr, 1);
    return NO_BODY;
  };
}

/** llhttp's word for it. */
const NO_BODY = 1;
