// SPDX-License-Identifier: GPL-3.0-or-later
// The fuzz target of the parser of HTTP answers: whatever the bytes are and wherever they are cut, what it takes for an answer is what
// Node's own parser takes for one, and everything else is refused by name.

import { createRequire } from 'node:module';
import { AnswerParser, ProtocolError } from '../../src/http/answer-parser.ts';

export interface Read {
  /** Open: more must come. Rest: the body goes on up to the end of the connection. */
  readonly end: 'complete' | 'open' | 'rest' | 'refused';
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** Bytes that came behind the answer. */
  readonly surplus: number;
  /** How long the connection may be kept. */
  readonly keepAliveMs: number;
}

/** @param cuts where the bytes are cut */
export function readAnswer(bytes: Buffer, method: string, cuts: readonly number[] = []): Read {
  let [status, body] = [0, ''];
  let headers: Readonly<Record<string, string>> = {};
  let surplus = 0;
  const parser = new AnswerParser({
    onInterim: () => undefined,
    onHead: (...head) => {
      if (status !== 0) throw new Error('a second head');
      [status, headers] = head;
    },
    onBody: (piece) => {
      if (status === 0 || piece.length === 0)
        throw new Error('a body without a head, or an empty piece');
      body += Buffer.from(piece).toString('latin1');
    },
  });
  parser.begin(method);
  const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
  let isRefused = false;
  try {
    for (const [index, place] of places.entries()) {
      const piece = bytes.subarray(place, places[index + 1]);
      surplus += piece.length - parser.feed(piece);
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    isRefused = true;
  }
  const wasDone = parser.isDone;
  const end = isRefused ? 'refused' : wasDone ? 'complete' : parser.finish() ? 'rest' : 'open';
  return { end, status, headers, body, surplus, keepAliveMs: parser.keepAliveMs };
}

interface NodeParser {
  initialize(type: number, resource: object): void;
  execute(bytes: Buffer): number | Error;
  [event: number]: (...args: readonly unknown[]) => number | undefined;
}

interface NodeParserClass {
  new (): NodeParser;
  readonly RESPONSE: number;
  readonly kOnHeadersComplete: number;
  readonly kOnBody: number;
  readonly kOnMessageComplete: number;
}

// Of no public module.
const { HTTPParser } = createRequire(import.meta.url)('node:_http_common') as {
  readonly HTTPParser: NodeParserClass;
};

/** The final answer by llhttp, as Node has it. */
function readByNode(bytes: Buffer, method: string): { status: number; body: string } | undefined {
  const parser = new HTTPParser();
  let [status, body] = [0, ''];
  let isComplete = false;
  parser.initialize(HTTPParser.RESPONSE, {});
  parser[HTTPParser.kOnHeadersComplete] = (...args) => {
    if (!isComplete) status = Number(args[5]);
    return method === 'HEAD' ? 1 : 0;
  };
  parser[HTTPParser.kOnBody] = (...args) => {
    if (!isComplete) body += Buffer.from(args[0] as Buffer).toString('latin1');
    return undefined;
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    isComplete ||= status >= 200;
    return undefined;
  };
  parser.execute(bytes);
  return isComplete ? { status, body } : undefined;
}

/** @throws for a defect */
export function fuzzAnswer(bytes: Buffer, method: string, cuts: readonly number[]): Read {
  const whole = readAnswer(bytes, method);
  const pieces = readAnswer(bytes, method, cuts);
  const { surplus: _, ...told } = whole;
  const { surplus: __, ...toldInPieces } = pieces;
  // What is refused may be refused before or behind a part of the body.
  const isSame =
    whole.end === 'refused'
      ? pieces.end === 'refused'
      : JSON.stringify(told) === JSON.stringify(toldInPieces);
  if (!isSame) throw new Error(`cut at ${cuts.join()}: ${JSON.stringify([whole, pieces])}`);
  // Node 20 takes no tab beside a length, which is none of an answer's ambiguities.
  if (whole.end !== 'complete' || bytes.includes('\t')) return whole;
  const byNode = readByNode(bytes, method);
  if (byNode?.status !== whole.status || byNode.body !== whole.body) {
    throw new Error(`Node reads another answer: ${JSON.stringify([whole, byNode])}`);
  }
  return whole;
}

const PARTS = [
  '\r\n',
  '\n',
  '\r',
  '\0',
  ' ',
  '\t',
  ':',
  ';a=b',
  '0\r\n\r\n',
  '-1',
  '+5',
  '0x5',
  'ffffffffffffffff',
  'HTTP/1.1 200 OK\r\n',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: gzip, chunked\r\n',
  'Connection: close\r\n',
  ' folded\r\n',
];

/** @param random 0 to below 1 @returns the answer with one to three alterations */
export function mutateAnswer(answer: Buffer, random: () => number): Buffer {
  let bytes = answer;
  const below = (limit: number) => Math.floor(random() * limit);
  for (let left = 1 + below(3); left > 0; left -= 1) {
    const at = below(bytes.length + 1);
    const part = Buffer.from(PARTS[below(PARTS.length)] ?? '', 'latin1');
    const skipped = below(3) === 0 ? 1 + below(4) : 0;
    const put = below(4) === 0 ? Buffer.from([below(256)]) : part;
    bytes = Buffer.concat([
      bytes.subarray(0, at),
      below(4) === 0 ? Buffer.alloc(0) : put,
      bytes.subarray(at + skipped),
    ]);
  }
  return bytes;
}
