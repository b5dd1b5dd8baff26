// SPDX-License-Identifier: GPL-3.0-or-later
// The connections to one server, by one way: how many there are, who waits for one, and when one is given up.

import { setImmediate } from 'node:timers/promises';
import { createAbortController } from '../store/abort.ts';
import type { Memory } from '../store/memory.ts';
import type { Open, Route } from './connect.ts';
import { Connection, type Owner } from './connection.ts';
import { type Carrier, type Exchange, type ExchangeRequest, TransportError } from './exchange.ts';

/** S3 and most gateways close idle connections after 20 s or later. A request on a connection that is being closed costs a retry. */
const KEEP_ALIVE_MS = 15_000;
/** What a server may promise instead. */
const MAX_KEEP_ALIVE_MS = 600_000;
const MAX_TICK_MS = 1_000;
/** A time limit is exceeded by at most this part of it, or by the longest tick. */
const TICKS_PER_LIMIT = 8;
/** Turns of the loop in which bytes may show up that a server sends unasked. The first turn may be that of the connection itself. */
const TURNS_TO_HEAR = 3;

export interface PoolOptions {
  readonly route: Route;
  readonly maxConnections: number;
  /** How long a server may be silent while it is asked. */
  readonly silenceMs: number;
  /** To send from. There are as many as connections that send at one time. */
  readonly buffers: Memory;
  readonly open: Open;
}

export class Pool implements Owner, Carrier {
  readonly buffers: Memory;
  ticks = 0;
  readonly #options: PoolOptions;
  readonly #tickMs: number;
  readonly #all = new Set<Connection>();
  /** The one that was used last is used first, so that the others can be closed. */
  readonly #idle: Connection[] = [];
  readonly #waiting: Exchange[] = [];
  readonly #closing = createAbortController();
  #connecting = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.buffers = options.buffers;
    this.#tickMs = Math.min(
      MAX_TICK_MS,
      Math.max(1, Math.ceil(options.silenceMs / TICKS_PER_LIMIT)),
    );
  }

  run(exchange: Exchange): void {
    const connection = this.#idle.pop();
    if (connection !== undefined) {
      connection.start(exchange);
      return;
    }
    exchange.moveTo(this);
    this.#waiting.push(exchange);
    this.#connect();
  }

  drop(exchange: Exchange): void {
    remove(this.#waiting, exchange);
  }

  close(): void {
    const error = new TransportError('TRANSPORT_CLOSED', 'the connections are closed', true);
    this.#closing.abort(error);
    for (const exchange of this.#waiting.splice(0)) exchange.fail(error);
    for (const connection of this.#all) connection.close(error);
  }

  release(connection: Connection): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      connection.start(next);
      return;
    }
    connection.rest();
    this.#idle.push(connection);
  }

  forget(connection: Connection): void {
    remove(this.#idle, connection);
    if (!this.#all.delete(connection)) return;
    if (this.#all.size === 0) {
      clearInterval(this.#timer);
      // Nothing is being sent, and may not be for a while.
      this.buffers.free();
    }
    this.#connect();
  }

  headOf({ method, path, headers, content }: ExchangeRequest): string {
    const { origin, host, proxy, isTls } = this.#options.route;
    // A proxy is told where plain requests go; behind a tunnel there is none.
    const isProxied = proxy !== undefined && !isTls;
    if (!PATH.test(path)) refuse('the path');
    let head = `${method} ${isProxied ? origin : ''}${path} HTTP/1.1\r\nconnection: keep-alive\r\n`;
    if (isProxied && proxy.authorization !== undefined) {
      head += `proxy-authorization: ${proxy.authorization}\r\n`;
    }
    let hasHost = false;
    for (const [name, value] of Object.entries(headers)) {
      if (!NAME.test(name) || !VALUE.test(value)) refuse(`the header field "${name}"`);
      const known = name.toLowerCase();
      if (known === 'content-length' || known === 'connection') continue;
      if (known === 'host') hasHost = true;
      head += `${name}: ${value}\r\n`;
    }
    if (!hasHost) head += `host: ${host}\r\n`;
    if (content !== undefined || method === 'PUT' || method === 'POST') {
      head += `content-length: ${content?.sizeBytes ?? 0}\r\n`;
    }
    return `${head}\r\n`;
  }

  /** Opens a connection for each exchange that waits, as far as there may be more. */
  #connect(): void {
    const room = this.#options.maxConnections - this.#all.size - this.#connecting;
    const wanted = Math.min(room, this.#waiting.length - this.#connecting);
    for (let count = 0; count < wanted; count++) void this.#open();
  }

  async #open(): Promise<void> {
    const { route, open } = this.#options;
    const { signal } = this.#closing;
    this.#connecting += 1;
    try {
      const connection = new Connection(await open(route, signal), this);
      for (let turn = 0; turn < TURNS_TO_HEAR; turn++) await setImmediate();
      if (signal.aborted) connection.close(signal.reason);
      if (connection.closedBy !== undefined) throw connection.closedBy;
      this.#connecting -= 1;
      this.#add(connection);
    } catch (thrown) {
      this.#connecting -= 1;
      this.#waiting[0]?.fail(thrown);
      this.#connect();
    }
  }

  #add(connection: Connection): void {
    if (this.#all.size === 0) {
      this.#timer = setInterval(() => {
        this.#tick();
      }, this.#tickMs).unref();
    }
    this.#all.add(connection);
    this.release(connection);
  }

  #tick(): void {
    const { silenceMs } = this.#options;
    this.ticks += 1;
    for (const connection of this.#all) {
      // Less than one tick more.
      const ms = (this.ticks - connection.activeAt) * this.#tickMs;
      if (connection.isBusy) {
        if (ms - this.#tickMs < silenceMs) continue;
        const words = `nothing came for ${silenceMs} ms`;
        connection.close(new TransportError('ANSWER_TIMEOUT', words, true));
      } else if (ms >= keepAliveMs(connection)) {
        connection.close(new Error('idle'));
      }
    }
  }
}

function keepAliveMs(connection: Connection): number {
  const hint = connection.keepAliveMs;
  return hint === Number.POSITIVE_INFINITY ? KEEP_ALIVE_MS : Math.min(hint, MAX_KEEP_ALIVE_MS);
}

function remove<T>(from: T[], it: T): void {
  const at = from.indexOf(it);
  if (at >= 0) from.splice(at, 1);
}

const PATH = /^[\x21-\x7e]+$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

function refuse(what: string): never {
  const words = `${what} holds what HTTP does not allow`;
  throw new TransportError('INVALID_REQUEST', words, false);
}
