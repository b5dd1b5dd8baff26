// SPDX-License-Identifier: GPL-3.0-or-later
// One connection, for one exchange after the other. Bytes come in and go out by buffers that are used again.

import type { Socket } from 'node:net';
import type { Memory } from '../store/memory.ts';
import type { Body } from '../store/object-store.ts';
import { type AnswerHandler, AnswerParser } from './answer-parser.ts';
import { failure, isSending, type Wire } from './connect.ts';
import {
  type Carrier,
  type Exchange,
  type ExchangeRequest,
  type Headers,
  TransportError,
} from './exchange.ts';

/** After so many bytes the loop turns: as long as the system takes everything at once, nothing else would get a turn. */
const BYTES_PER_TURN = 1024 * 1024;

/** What a connection needs of its pool. */
export interface Owner {
  readonly buffers: Memory;
  /** Counts up with time. */
  readonly ticks: number;
  /** Request line and header fields. */
  headOf(request: ExchangeRequest): string;
  /** The connection can take the next exchange. */
  release(connection: Connection): void;
  forget(connection: Connection): void;
}

export class Connection implements AnswerHandler, Carrier {
  readonly #owner: Owner;
  readonly #socket: Socket;
  readonly #parser = new AnswerParser(this);
  #exchange: Exchange | undefined;
  /** Not sent yet. */
  #head: string | undefined;
  /** An answer came in this turn of the loop. */
  #hasJustHeard = false;
  #content: Body | undefined;
  /** How much of the content was given to the socket. */
  #sentBytes = 0;
  #bytesInTurn = 0;
  /** The system may still read it. */
  #buffer: Buffer | undefined;
  #socketError: Error | undefined;
  #closedBy: Error | undefined;
  #activeAt: number;

  constructor(wire: Wire, owner: Owner) {
    this.#owner = owner;
    this.#socket = wire.socket;
    this.#activeAt = owner.ticks;
    wire.listen((bytes) => {
      this.#receive(bytes);
    });
    this.#socket.on('error', (error) => {
      this.#socketError = error;
    });
    this.#socket.once('end', () => {
      this.#end();
    });
    this.#socket.once('close', () => {
      this.#closeByItself();
    });
  }

  get isBusy(): boolean {
    return this.#exchange !== undefined;
  }

  /** The owner's tick when something last happened. */
  get activeAt(): number {
    return this.#activeAt;
  }

  /** How long it may be kept while nothing is asked. */
  get keepAliveMs(): number {
    return this.#parser.keepAliveMs;
  }

  /** Why it is closed; undefined while it is not. */
  get closedBy(): Error | undefined {
    return this.#closedBy;
  }

  start(exchange: Exchange): void {
    const { method, content } = exchange.request;
    this.#exchange = exchange;
    this.#activeAt = this.#owner.ticks;
    this.#content = content;
    this.#sentBytes = 0;
    exchange.moveTo(this);
    this.#socket.ref();
    this.#parser.begin(method);
    try {
      this.#head = this.#owner.headOf(exchange.request);
      this.#sendWhenReady();
    } catch (thrown) {
      this.close(thrown);
    }
  }

  drop(exchange: Exchange): void {
    if (exchange === this.#exchange) this.close(DROPPED);
  }

  close(reason: unknown): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = reason instanceof Error ? reason : new Error(String(reason));
    const exchange = this.#exchange;
    this.#exchange = undefined;
    this.#content = undefined;
    this.#head = undefined;
    this.#owner.forget(this);
    this.#socket.destroy();
    exchange?.fail(reason);
  }

  onInterim(): void {
    this.#activeAt = this.#owner.ticks;
  }

  onHead(status: number, headers: Headers): void {
    this.#activeAt = this.#owner.ticks;
    this.#exchange?.onHead(status, headers);
  }

  onBody(bytes: Uint8Array): void {
    this.#activeAt = this.#owner.ticks;
    this.#exchange?.onBody(bytes);
  }

  #receive(bytes: Buffer): void {
    if (this.#closedBy !== undefined) return;
    try {
      const isAsked = this.#exchange !== undefined && this.#head === undefined;
      if (!isAsked) refuseSurplus('it answered before anything was asked');
      const usedBytes = this.#parser.feed(bytes);
      if (!this.#parser.isDone) return;
      if (usedBytes < bytes.length) refuseSurplus('more came than the answer to one request');
      this.#finish();
    } catch (thrown) {
      this.close(thrown);
    }
  }

  #end(): void {
    if (this.#exchange !== undefined && this.#parser.finish()) this.#finish();
    if (this.#exchange === undefined) this.#owner.forget(this);
    // An alert of TLS comes behind the end, and says more.
    setImmediate(() => {
      this.#closeByItself();
    });
  }

  #closeByItself(): void {
    this.close(this.#socketError ?? failure('CONNECTION_CLOSED', 'other side closed'));
  }

  #finish(): void {
    const exchange = this.#exchange;
    const isGiven = this.#sentBytes === (this.#content?.sizeBytes ?? 0);
    const isFine = exchange?.finish(isGiven && !isSending(this.#socket)) === true;
    this.#exchange = undefined;
    this.#content = undefined;
    if (!isFine || this.keepAliveMs === 0) {
      this.close(DROPPED);
      return;
    }
    this.#hasJustHeard = true;
    setImmediate(this.#onTurn);
    this.#owner.release(this);
  }

  readonly #onTurn = (): void => {
    this.#hasJustHeard = false;
    try {
      this.#sendWhenReady();
    } catch (thrown) {
      this.close(thrown);
    }
  };

  /** Nothing is asked for the time being, which keeps no process alive. */
  rest(): void {
    this.#activeAt = this.#owner.ticks;
    this.#socket.unref();
  }

  #sendWhenReady(): void {
    const head = this.#head;
    // The word that the last content has gone may come after its answer.
    if (head === undefined || this.#buffer !== undefined) return;
    // What came behind the answer must not be taken for the next one. Over TLS, each record is a call of its own.
    if (this.#hasJustHeard) return;
    this.#head = undefined;
    if (this.#content === undefined || this.#content.sizeBytes === 0) {
      this.#socket.write(head, 'latin1');
      return;
    }
    const buffer = this.#owner.buffers.take();
    this.#buffer = buffer;
    if (head.length > buffer.length / 2) throw new RangeError('the head is too long');
    this.#sendPiece(this.#content, buffer, buffer.write(head, 'latin1'));
  }

  /** @param start behind the head */
  #sendPiece(content: Body, buffer: Buffer, start: number): void {
    const end = Math.min(buffer.length, start + content.sizeBytes - this.#sentBytes);
    content.readInto(this.#sentBytes, buffer.subarray(start, end));
    this.#sentBytes += end - start;
    this.#bytesInTurn += end;
    this.#socket.write(buffer.subarray(0, end), this.#onWritten);
  }

  /** The system has taken the buffer's bytes, or never will. */
  readonly #onWritten = (error?: Error | null): void => {
    if (!error && this.#bytesInTurn >= BYTES_PER_TURN) {
      this.#bytesInTurn = 0;
      // The second one is behind a turn in which all connections were read, this one too: the server may have refused and hung up.
      setImmediate(setImmediate, () => {
        this.#onWritten();
      });
      return;
    }
    const buffer = this.#buffer;
    const content = this.#content;
    if (buffer === undefined) return;
    this.#activeAt = this.#owner.ticks;
    try {
      const isNext = this.#head !== undefined;
      if (!error && !isNext && content !== undefined && this.#sentBytes < content.sizeBytes) {
        this.#sendPiece(content, buffer, 0);
        return;
      }
      this.#buffer = undefined;
      this.#owner.buffers.giveBack(buffer);
      this.#sendWhenReady();
    } catch (thrown) {
      this.close(thrown);
    }
  };
}

/** Nobody waits for the answer any more. */
const DROPPED = new Error('dropped');

function refuseSurplus(words: string): never {
  // Nobody knows which request it belongs to.
  throw new TransportError('MISMATCHED_ANSWER', words, true);
}
