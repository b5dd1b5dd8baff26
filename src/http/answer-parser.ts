// SPDX-License-Identifier: GPL-3.0-or-later
// HTTP/1.1 answers from bytes, without I/O. As strict as llhttp, and stricter where two readings are possible: who stands between might
// take the other one.
// @see RFC 9112; test/unit/http/answer-parser.test.ts for llhttp's own vectors

import type { Headers } from './exchange.ts';

/** As Node's own parser. */
const MAX_HEAD_BYTES = 16 * 1024;
const MAX_FIELDS = 200;
/** A chunk's size with its extensions, which nobody needs. */
const MAX_CHUNK_LINE_BYTES = 1024;

export interface AnswerHandler {
  /** An answer before the final one (1xx), which means nothing but that the server is alive. */
  onInterim(): void;
  onHead(status: number, headers: Headers): void;
  /** @param bytes valid during the call only */
  onBody(bytes: Uint8Array): void;
}

/** What came is no HTTP/1.1, or may be read in two ways. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code = 'NOT_HTTP';
}

type State =
  | 'head'
  | 'body'
  /** Up to the end of the connection. */
  | 'rest'
  | 'chunk size'
  | 'chunk'
  | 'chunk end'
  | 'trailers'
  | 'done';

export class AnswerParser {
  readonly #handler: AnswerHandler;
  #method = '';
  #state: State = 'done';
  /** What came of a head or line that is not complete. */
  #text = '';
  /** Of the body or chunk. */
  #left = 0;
  #trailerBytes = 0;
  #keepAliveMs = Number.POSITIVE_INFINITY;

  constructor(handler: AnswerHandler) {
    this.#handler = handler;
  }

  /** Expects the answer to a request. @param method also CONNECT, whose success ends with its head */
  begin(method: string): void {
    this.#method = method;
    this.#state = 'head';
    this.#text = '';
    this.#trailerBytes = 0;
  }

  get isDone(): boolean {
    return this.#state === 'done';
  }

  /** How long the connection may be kept for other requests: 0 for not at all, Infinity where the server says nothing. */
  get keepAliveMs(): number {
    return this.#keepAliveMs;
  }

  /** @returns how many of the bytes belong to the answer; the others came behind it
   *  @throws ProtocolError; what the handler throws */
  feed(bytes: Buffer): number {
    let at = 0;
    while (at < bytes.length && this.#state !== 'done') at = this.#step(bytes, at);
    return at;
  }

  /** The connection has ended. @returns whether the answer is complete */
  finish(): boolean {
    if (this.#state === 'rest') this.#state = 'done';
    return this.#state === 'done';
  }

  /** @returns the position behind what was used */
  #step(bytes: Buffer, at: number): number {
    switch (this.#state) {
      case 'head': {
        const end = this.#take(bytes, at, '\r\n\r\n', MAX_HEAD_BYTES);
        if (end !== undefined) this.#readHead();
        else if (!isBeginning(this.#text)) refuse('it does not begin with "HTTP/1."');
        return end ?? bytes.length;
      }
      case 'body':
      case 'chunk':
        return this.#pass(bytes, at);
      case 'rest':
        this.#handler.onBody(at === 0 ? bytes : bytes.subarray(at));
        return bytes.length;
      case 'chunk size': {
        const end = this.#take(bytes, at, '\r\n', MAX_CHUNK_LINE_BYTES);
        if (end !== undefined) this.#readChunkSize();
        return end ?? bytes.length;
      }
      case 'chunk end': {
        const end = this.#take(bytes, at, '\r\n', 0);
        if (end !== undefined) this.#become('chunk size');
        return end ?? bytes.length;
      }
      case 'trailers': {
        const end = this.#take(bytes, at, '\r\n', MAX_HEAD_BYTES - this.#trailerBytes);
        if (end !== undefined) this.#readTrailer();
        return end ?? bytes.length;
      }
      case 'done':
        return at;
      default:
        return this.#state satisfies never;
    }
  }

  #become(state: State): void {
    this.#state = state;
    this.#text = '';
  }

  #pass(bytes: Buffer, at: number): number {
    const end = Math.min(bytes.length, at + this.#left);
    this.#left -= end - at;
    const isLast = this.#left === 0;
    if (isLast) this.#become(this.#state === 'chunk' ? 'chunk end' : 'done');
    this.#handler.onBody(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end));
    return end;
  }

  /** Completes `#text` with what comes before the mark.
   *  @returns the position behind the mark; undefined if it has not come yet */
  #take(bytes: Buffer, at: number, mark: string, maxBytes: number): number | undefined {
    const known = this.#text.length;
    const wanted = maxBytes + mark.length - known;
    // Nearly always all of it is there, and what comes behind it need not become text.
    const found = known === 0 ? bytes.indexOf(mark, at, 'latin1') : -1;
    const upTo = found < 0 ? at + wanted : Math.min(found + mark.length, at + wanted);
    this.#text += bytes.toString('latin1', at, Math.min(bytes.length, upTo));
    const end = this.#text.indexOf(mark, Math.max(0, known - mark.length + 1));
    if (end >= 0) {
      this.#text = this.#text.slice(0, end);
      return at + end + mark.length - known;
    }
    BROKEN_LINE.lastIndex = Math.max(0, known - 1);
    if (BROKEN_LINE.test(this.#text)) refuse('a line does not end with CR and LF');
    if (bytes.length - at >= wanted) refuse(`more than ${maxBytes} bytes without an end`);
    return undefined;
  }

  #readHead(): void {
    const [statusLine = '', ...lines] = this.#text.split('\r\n');
    const [, minor, digits] = STATUS_LINE.exec(statusLine) ?? refuse('its first line is malformed');
    if (lines.length > MAX_FIELDS) refuse(`it has more than ${MAX_FIELDS} header fields`);
    const headers = readFields(lines);
    const status = Number(digits);
    const {
      'content-length': length,
      'transfer-encoding': coding,
      connection = '',
      'keep-alive': hint = '',
    } = headers;
    if (length !== undefined && !/^\d{1,15}$/.test(length))
      refuse('its Content-Length is no length');
    if (coding !== undefined) {
      if (coding.toLowerCase() !== 'chunked' || minor === '0')
        refuse('it has a Transfer-Encoding other than "chunked"');
      if (length !== undefined) refuse('it has a Content-Length and a Transfer-Encoding');
    }
    if (status === 101) refuse('it changes to another protocol, unasked');
    this.#text = '';
    if (status < 200) {
      this.#handler.onInterim();
      return;
    }
    const isEmpty =
      this.#method === 'HEAD' ||
      status === 204 ||
      status === 304 ||
      (this.#method === 'CONNECT' && status < 300);
    const isRest = !isEmpty && length === undefined && coding === undefined;
    this.#left = Number(length ?? 0);
    this.#keepAliveMs =
      isRest || !isPersistent(minor === '0', connection) ? 0 : readKeepAliveMs(hint);
    if (isRest) this.#state = 'rest';
    else if (isEmpty || length === '0') this.#state = 'done';
    else if (coding !== undefined) this.#state = 'chunk size';
    else this.#state = this.#left === 0 ? 'done' : 'body';
    this.#handler.onHead(status, headers);
  }

  #readChunkSize(): void {
    const [, digits = ''] =
      CHUNK_SIZE.exec(this.#text) ?? refuse('the size of a chunk is malformed');
    this.#left = Number.parseInt(digits, 16);
    this.#become(this.#left === 0 ? 'trailers' : 'chunk');
  }

  /** Trailers are checked, and otherwise of no use here. */
  #readTrailer(): void {
    if (this.#text === '') {
      this.#become('done');
      return;
    }
    readFields([this.#text]);
    this.#trailerBytes += this.#text.length + 2;
    this.#text = '';
  }
}

const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Servers write UTF-8 there. */
const BEYOND_ASCII = /[\x80-\xff]/;
const BROKEN_LINE = /\r(?!\n|$)|(?<!\r)\n|\0/g;
/** With extensions, as `;name=value` or `;name="value"`. */
const CHUNK_SIZE =
  /^([0-9a-f]{1,13})(?:;[!#$%&'*+\-.^_`|~0-9a-z]+(?:=(?:[!#$%&'*+\-.^_`|~0-9a-z]+|"[\t\x20-\x21\x23-\x5b\x5d-\x7e\x80-\xff]*"))?)*$/i;
const BEGINNING = 'HTTP/1.';
/** A request must not meet the server's own end of the connection. */
const KEEP_ALIVE_MARGIN_MS = 2_000;

function isBeginning(text: string): boolean {
  return text.startsWith(BEGINNING) || BEGINNING.startsWith(text);
}

/** Fields of one name are joined by ", ". */
function readFields(lines: readonly string[]): Headers {
  // A name may be that of something every other object has, such as "constructor".
  const headers = Object.create(null) as Record<string, string>;
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(0, colon)).toLowerCase();
    const value = readValue(line, colon + 1);
    if (!NAME.test(name) || !VALUE.test(value)) refuse('a header field is malformed');
    const known = headers[name];
    if (known !== undefined && name === 'content-length') refuse('it has two Content-Lengths');
    const words = BEYOND_ASCII.test(value) ? Buffer.from(value, 'latin1').toString() : value;
    headers[name] = known === undefined ? words : `${known}, ${words}`;
  }
  return headers;
}

/** Without the white space around it. (`trim` would take more for white space.) */
function readValue(line: string, from: number): string {
  let start = from;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start += 1;
  while (start < end && isBlank(line.charCodeAt(end - 1))) end -= 1;
  return line.slice(start, end);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function isPersistent(isOld: boolean, connection: string): boolean {
  if (connection === '') return !isOld;
  const options = connection
    .toLowerCase()
    .split(',')
    .map((option) => option.trim());
  return !options.includes('close') && (!isOld || options.includes('keep-alive'));
}

function readKeepAliveMs(hint: string): number {
  const [, seconds] = /(?:^|[ ,])timeout=(\d{1,6})/i.exec(hint) ?? [];
  if (seconds === undefined) return Number.POSITIVE_INFINITY;
  return Math.max(0, Number(seconds) * 1_000 - KEEP_ALIVE_MARGIN_MS);
}

function refuse(what: string): never {
  throw new ProtocolError(`the answer is not in the HTTP/1.1 protocol: ${what}`);
}
