// SPDX-License-Identifier: GPL-3.0-or-later
// FUZZ_SECONDS=600 npx vitest run test/unit/http/answer-parser.test.ts fuzzes for longer, each time with other bytes; FUZZ_SEED repeats
// what was found.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fuzzAnswer, mutateAnswer, readAnswer } from '../../fuzz/answer.ts';
import { createRandom } from '../../fuzz/object.ts';

/** Lines end with CR and LF; `\r`, `\n` and `\0` are those bytes in themselves. */
function wire(text: string): Buffer {
  const special: Record<string, string> = { '\\r': '\r', '\\n': '\n', '\\t': '\t', '\\0': '\0' };
  const lines = text.replaceAll('\n', '\r\n');
  return Buffer.from(
    lines.replace(/\\[rnt0]/g, (name) => special[name] ?? ''),
    'utf8',
  );
}

const CHUNKED = 'HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n';
const LENGTH_3 = 'HTTP/1.1 200 OK\nContent-Length: 3\n\n';

type Expected = 'complete' | 'open' | 'rest' | 'refused' | 'surplus';
type Case = readonly [
  name: string,
  answer: string,
  expected: Expected,
  status?: number,
  body?: string,
];

/** The cases of test/response in nodejs/llhttp 9.4.2 (MIT, Copyright © 2018 Fedor Indutny), some of them shortened. What llhttp takes only
 *  in a lenient mode is refused here. "Stricter" marks what llhttp takes and this parser refuses. */
// biome-ignore format: a case is a line
const LLHTTP: readonly Case[] = [
  ['Proxy-Connection', 'HTTP/1.1 200 OK\nContent-Type: text/html; charset=UTF-8\nContent-Length: 11\nProxy-Connection: close\nDate: Thu, 31 Dec 2009 20:55:48 +0000\n\nhello world', 'complete', 200, 'hello world'],
  ['HTTP/1.0 with keep-alive and EOF-terminated 200', 'HTTP/1.0 200 OK\nConnection: keep-alive\n\nHTTP/1.0 200 OK', 'rest', 200, 'HTTP/1.0 200 OK'],
  ['HTTP/1.0 with keep-alive and 204', 'HTTP/1.0 204 No content\nConnection: keep-alive\n\nHTTP/1.0 200 OK', 'surplus', 204],
  ['EOF-terminated 200', 'HTTP/1.1 200 OK\n\nHTTP/1.1 200 OK', 'rest', 200, 'HTTP/1.1 200 OK'],
  ['204', 'HTTP/1.1 204 No content\n\nHTTP/1.1 200 OK', 'surplus', 204],
  ['data after "Connection: close" and 204', 'HTTP/1.1 204 No content\nConnection: close\n\nHTTP/1.1 200 OK', 'surplus', 204],
  ['data after "Connection: close" and a length', 'HTTP/1.1 200 No content\nContent-Length: 5\nConnection: close\n\n2ad731e3-4dcd-4f70-b871-0ad284b29ffc', 'surplus', 200, '2ad73'],
  ['stricter: 101 with a length', 'HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: h2c\nContent-Length: 4\n\nbodyproto', 'refused'],
  ['stricter: 101 with chunks', 'HTTP/1.1 101 Switching Protocols\nConnection: upgrade\nUpgrade: h2c\nTransfer-Encoding: chunked\n\n2\nbo\n2\ndy\n0\n\nproto', 'refused'],
  ['200 with Upgrade', 'HTTP/1.1 200 OK\nConnection: upgrade\nUpgrade: h2c\n\nbody', 'rest', 200, 'body'],
  ['200 with Upgrade and a length', 'HTTP/1.1 200 OK\nConnection: upgrade\nUpgrade: h2c\nContent-Length: 4\n\nbody', 'complete', 200, 'body'],
  ['200 with Upgrade and chunks', 'HTTP/1.1 200 OK\nConnection: upgrade\nUpgrade: h2c\nTransfer-Encoding: chunked\n\n2\nbo\n2\ndy\n0\n\n', 'complete', 200, 'body'],
  ['304 with a length', 'HTTP/1.1 304 Not Modified\nContent-Length: 10\n\nHTTP/1.1 200 OK\nContent-Length: 5\n\nhello', 'surplus', 304],
  ['304 with chunks', 'HTTP/1.1 304 Not Modified\nTransfer-Encoding: chunked\n\nHTTP/1.1 200 OK\n', 'surplus', 304],
  ['100 first, then 404', 'HTTP/1.1 100 Continue\n\nHTTP/1.1 404 Not Found\nContent-Type: text/plain; charset=utf-8\nContent-Length: 14\nServer: Python/3.10 aiohttp/4.0.0a2.dev0\n\n404: Not Found', 'complete', 404, '404: Not Found'],
  ['stricter: an empty line between 100 and 404', 'HTTP/1.1 100 Continue\n\n\nHTTP/1.1 404 Not Found\nContent-Length: 0\n\n', 'refused'],
  ['103 first, then 200', 'HTTP/1.1 103 Early Hints\nLink: </styles.css>; rel=preload; as=style\n\nHTTP/1.1 200 OK\nConnection: keep-alive\nKeep-Alive: timeout=5\nContent-Length: 16\n\nresponse content', 'complete', 200, 'response content'],
  ['a body without a length', 'HTTP/1.1 200 OK\nServer: Apache\nX-Powered-By: Servlet/2.5 JSP/2.1\nContent-Type: text/xml; charset=utf-8\nConnection: close\n\n<?xml version="1.0" encoding="UTF-8"?>', 'rest', 200, '<?xml version="1.0" encoding="UTF-8"?>'],
  ['Content-Length-X', 'HTTP/1.1 200 OK\nContent-Length-X: 0\nTransfer-Encoding: chunked\n\n2\nOK\n0\n\n', 'complete', 200, 'OK'],
  ['tabs around a length', 'HTTP/1.1 200 OK\nContent-Length:\\t42\\t\n\n', 'open', 200],
  ['an incomplete protocol', 'HTP/1.1 200 OK\n\n', 'refused'],
  ['an extra digit in the major version', 'HTTP/01.1 200 OK\n\n', 'refused'],
  ['another extra digit in the major version', 'HTTP/11.1 200 OK\n\n', 'refused'],
  ['an extra digit in the minor version', 'HTTP/1.01 200 OK\n\n', 'refused'],
  ['a tab after the version', 'HTTP/1.1\\t200 OK\n\n', 'refused'],
  ['CR before the answer', '\\rHTTP/1.1\\t200 OK\n\n', 'refused'],
  ['headers separated by CR', 'HTTP/1.1 200 OK\nFoo: 1\\rBar: 2\n\n', 'refused'],
  ['bare CR after the first line', 'HTTP/1.1 200 OK\\rContent-Length: 0\n\n', 'refused'],
  ['bare CR and CR after the first line', 'HTTP/1.1 200 OK\\r\\rContent-Length: 4\n\nEvil', 'refused'],
  ['an invalid version', 'HTTP/5.6 200 OK\n\n', 'refused'],
  ['a space after the first line', 'HTTP/1.1 200 OK\n Host: foo\n\n', 'refused'],
  ['an extra space before the status', 'HTTP/1.1  200 OK\n\n', 'refused'],
  ['an extra space after the status', 'HTTP/1.1 200  OK\nContent-Length: 0\n\n', 'complete', 200],
  ['a status of one digit', 'HTTP/1.1 2 OK\n\n', 'refused'],
  ['only LFs, no body', 'HTTP/1.1 200 OK\\nContent-Length: 0\\n\\n', 'refused'],
  ['only LFs', 'HTTP/1.1 200 OK\\nFoo: abc\\nBar: def\\n\\nBODY\\n', 'refused'],
  ['a length', `${LENGTH_3}abc`, 'complete', 200, 'abc'],
  ['a chunk', `${CHUNKED}a\n0123456789\n0\n\n`, 'complete', 200, '0123456789'],
  ['a chunk with an extension', `${CHUNKED}a;foo=bar\n0123456789\n0\n\n`, 'complete', 200, '0123456789'],
  ['several answers', `${LENGTH_3}AAAHTTP/1.1 201 Created\nContent-Length: 4\n\nBBBB`, 'surplus', 200, 'AAA'],
  ['a simple answer', 'HTTP/1.1 200 OK\nHeader1: Value1\nHeader2:\\t Value2\nContent-Length: 0\n\n', 'complete', 200],
  ['stricter: RTSP', 'RTSP/1.1 200 OK\n\n', 'refused'],
  ['stricter: ICE', 'ICE/1.1 200 OK\n\n', 'refused'],
  ['an invalid beginning', 'HTTPER/1.1 200 OK\n\n', 'refused'],
  ['an empty body', 'HTTP/1.1 200 OK\n\n', 'rest', 200],
  ['Google 301', 'HTTP/1.1 301 Moved Permanently\nLocation: http://www.google.com/\nX-$PrototypeBI-Version: 1.6.0.3\nContent-Length:  15  \n\n<HTML><HEAD><me', 'complete', 301, '<HTML><HEAD><me'],
  ['amazon.com', 'HTTP/1.1 301 MovedPermanently\nServer: Server\np3p: policyref="http://www.amazon.com/w3c/p3p.xml",CP="CAO DSP LAW "\nVary: Accept-Encoding,User-Agent\nTransfer-Encoding: chunked\n\n1\n\\n\n0\n\n', 'complete', 301, '\n'],
  ['no headers and no body', 'HTTP/1.1 404 Not Found\n\n', 'rest', 404],
  ['no reason', 'HTTP/1.1 301\n\n', 'rest', 301],
  ['an empty reason', 'HTTP/1.1 200 \n\n', 'rest', 200],
  ['no carriage return', 'HTTP/1.1 200 OK\\nConnection: close\\n\\nthese headers are from http://news.ycombinator.com/', 'refused'],
  ['an underscore in a name', 'HTTP/1.1 200 OK\nServer: DCLK-AdSvr\nContent-Length: 0\nDCLK_imp: v7;x;114750856;0-0;0;17820020;0/0;;~okv=;dcmt=text/xml;;~cs=o\n\n', 'complete', 200],
  ['an empty value', 'HTTP/1.0 301 Moved Permanently\nPragma: \nLocation: http://www.bonjourmadame.fr/\nContent-Length: 0\nConnection: keep-alive\n\n', 'complete', 301],
  ['spaces in a value', 'HTTP/1.1 200 OK\nExpires: Mon, 26 Jul 1997 05:00:00 GMT\n.et-Cookie: PlaxoCS=1274804622353690521; path=/; domain=.plaxo.com\n_onnection: Keep-Alive\nTransfer-Encoding: chunked\nConnection: close\n\n0\n\n', 'complete', 200],
  ['spaces in a name', 'HTTP/1.1 200 OK\nServer: Microsoft-IIS/6.0\nen-US Content-Type: text/xml\nContent-Length: 16\n\n<xml>hello</xml>', 'refused'],
  ['non-ASCII in the first line', 'HTTP/1.1 500 Oriëntatieprobleem\nContent-Length: 0\nConnection: close\n\n', 'complete', 500],
  ['stricter: version 0.9', 'HTTP/0.9 200 OK\n\n', 'refused'],
  ['no length', 'HTTP/1.1 200 OK\nContent-Type: text/plain\n\nhello world', 'rest', 200, 'hello world'],
  ['stricter: an empty line first', '\nHTTP/1.1 200 OK\nContent-Length: 0\n\n', 'refused'],
  ['a space behind the size of a chunk', `${CHUNKED}25  \nThis is the data in the first chunk\n`, 'refused'],
  ['stricter: chunked before another coding', 'HTTP/1.1 200 OK\nTransfer-Encoding: chunked, deflate\n\nWorld', 'refused'],
  ['stricter: chunked, then identity', 'HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\nWorld', 'refused'],
  ['stricter: chunkedchunked', 'HTTP/1.1 200 OK\nTransfer-Encoding: chunkedchunked\n\n2\nOK\n0\n\n', 'refused'],
  ['extensions', `${CHUNKED}5;ilovew3;somuchlove=aretheseparametersfor\nhello\n6;blahblah;blah\n world\n0\n\n`, 'complete', 200, 'hello world'],
  ['no semicolon before extensions', `${CHUNKED}2 erfrferferf\naa\n0 rrrr\n\n`, 'refused'],
  ['nothing after the semicolon', `${CHUNKED}2;\naa\n0\n\n`, 'refused'],
  ['quoted extensions', `${CHUNKED}5;ilovew3="I love; extensions";somuchlove="aretheseparametersfor";blah;foo=bar\nhello\n6;blahblah;blah\n world\n0\n\n`, 'complete', 200, 'hello world'],
  ['unbalanced quotes', `${CHUNKED}5;ilovew3="abc";somuchlove="def; ghi\nhello\n0\n\n`, 'refused'],
  ['a folded line after "chunked"', 'HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n  abc\n\n5\nWorld\n0\n\n', 'refused'],
];

// biome-ignore format: a case is a line
const OURS: readonly Case[] = [
  ['a length and chunks', 'HTTP/1.1 200 OK\nContent-Length: 3\nTransfer-Encoding: chunked\n\n3\nabc\n0\n\n', 'refused'],
  ['two lengths', 'HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 4\n\nabcd', 'refused'],
  ['one length twice', 'HTTP/1.1 200 OK\nContent-Length: 3\nContent-Length: 3\n\nabc', 'refused'],
  ['a list of lengths', 'HTTP/1.1 200 OK\nContent-Length: 3, 3\n\nabc', 'refused'],
  ['a negative length', 'HTTP/1.1 200 OK\nContent-Length: -3\n\nabc', 'refused'],
  ['a length with a sign', 'HTTP/1.1 200 OK\nContent-Length: +3\n\nabc', 'refused'],
  ['a hexadecimal length', 'HTTP/1.1 200 OK\nContent-Length: 0x3\n\nabc', 'refused'],
  ['an empty length', 'HTTP/1.1 200 OK\nContent-Length:\n\n', 'refused'],
  ['a huge length', 'HTTP/1.1 200 OK\nContent-Length: 18446744073709551619\n\nabc', 'refused'],
  ['a huge chunk', `${CHUNKED}10000000000000003\nabc\n0\n\n`, 'refused'],
  ['a negative chunk', `${CHUNKED}-3\nabc\n0\n\n`, 'refused'],
  ['a chunk that is longer than its size', `${CHUNKED}3\nabcd\n0\n\n`, 'refused'],
  ['a chunk that is shorter than its size', `${CHUNKED}5\nabc\n0\n\n`, 'refused'],
  ['chunks without an end', `${CHUNKED}3\nabc\n`, 'open', 200, 'abc'],
  ['trailers', `${CHUNKED}3\nabc\n0\nx-a: b\nx-c: d\n\n`, 'complete', 200, 'abc'],
  ['a malformed trailer', `${CHUNKED}3\nabc\n0\nx a: b\n\n`, 'refused'],
  ['gzip', 'HTTP/1.1 200 OK\nTransfer-Encoding: gzip\n\nabc', 'refused'],
  ['chunks in HTTP/1.0', 'HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n0\n\n', 'refused'],
  ['a space before the colon', 'HTTP/1.1 200 OK\nContent-Length : 3\n\nabc', 'refused'],
  ['no colon', 'HTTP/1.1 200 OK\nContent-Length 3\n\nabc', 'refused'],
  ['no name', 'HTTP/1.1 200 OK\n: 3\n\nabc', 'refused'],
  ['NUL in a value', 'HTTP/1.1 200 OK\nServer: a\\0b\nContent-Length: 3\n\nabc', 'refused'],
  ['NUL in a name', 'HTTP/1.1 200 OK\nSer\\0ver: a\nContent-Length: 3\n\nabc', 'refused'],
  ['NUL in the first line', 'HTTP/1.1 200 O\\0K\nContent-Length: 3\n\nabc', 'refused'],
  ['a folded line', 'HTTP/1.1 200 OK\nServer: a\n b\nContent-Length: 3\n\nabc', 'refused'],
  ['a status below 100', 'HTTP/1.1 099 OK\n\n', 'refused'],
  ['HTTP/2', 'HTTP/2 200\n\n', 'refused'],
  ['a name that each object has', 'HTTP/1.1 200 OK\nconstructor: a\n__proto__: b\nContent-Length: 3\n\nabc', 'complete', 200, 'abc'],
  ['half a head', 'HTTP/1.1 200 OK\nContent-Le', 'open'],
  ['nothing', '', 'open'],
];

for (const [name, text, expected, status = 0, body = ''] of [...LLHTTP, ...OURS]) {
  test(`${name}: ${expected}`, () => {
    const bytes = wire(text);
    const everywhere = Array.from({ length: bytes.length }, (_, index) => index);
    for (const cuts of [[], everywhere, ...everywhere.map((place) => [place])]) {
      const read = readAnswer(bytes, 'GET', cuts);
      expect(read.surplus > 0 ? 'surplus' : read.end).toBe(expected);
      if (expected !== 'refused') expect([read.status, read.body]).toEqual([status, body]);
    }
  });
}

test('a HEAD, 204 and 304 have no body, whatever the head says', () => {
  for (const [method, line] of [
    ['HEAD', '200 OK'],
    ['GET', '204 No Content'],
    ['GET', '304 Not Modified'],
  ] as const) {
    for (const field of ['Content-Length: 3', 'Transfer-Encoding: chunked']) {
      const read = readAnswer(wire(`HTTP/1.1 ${line}\n${field}\n\n`), method);
      expect(read).toMatchObject({ end: 'complete', surplus: 0, body: '' });
    }
  }
});

test('a tunnel begins behind the head of its success', () => {
  const opened = readAnswer(wire('HTTP/1.1 200 OK\nContent-Length: 3\n\n'), 'CONNECT');
  expect(opened).toMatchObject({ end: 'complete', surplus: 0 });
  expect(readAnswer(wire(`${LENGTH_3}abc`).subarray(0, -1), 'GET').end).toBe('open');
});

test('fields of one name are joined, and read as UTF-8', () => {
  const text = 'HTTP/1.1 200 OK\nVary: a\nvary:  b \nServer: Grüße\nContent-Length: 0\n\n';
  const { headers } = readAnswer(wire(text), 'GET');
  expect({ ...headers }).toEqual({ vary: 'a, b', server: 'Grüße', 'content-length': '0' });
});

test.each([
  ['HTTP/1.1 200 OK', Number.POSITIVE_INFINITY],
  ['HTTP/1.1 200 OK\nConnection: close', 0],
  ['HTTP/1.1 200 OK\nConnection: Keep-Alive , CLOSE', 0],
  ['HTTP/1.1 200 OK\nConnection: x-close', Number.POSITIVE_INFINITY],
  ['HTTP/1.1 200 OK\nKeep-Alive: timeout=5, max=100', 3_000],
  ['HTTP/1.1 200 OK\nKeep-Alive: max=100, timeout=30', 28_000],
  ['HTTP/1.1 200 OK\nKeep-Alive: timeout=1', 0],
  ['HTTP/1.0 200 OK', 0],
  ['HTTP/1.0 200 OK\nConnection: keep-alive', Number.POSITIVE_INFINITY],
])('how long a connection is kept: %j', (head, expected) => {
  const { keepAliveMs } = readAnswer(wire(`${head}\nContent-Length: 0\n\n`), 'GET');
  expect(keepAliveMs).toBe(expected);
});

describe('limits', () => {
  test.each([
    ['a head of 16 kB', `HTTP/1.1 200 OK\nx: ${'a'.repeat(16_384)}\n\n`],
    ['a first line without an end', `HTTP/1.1 200 ${'a'.repeat(20_000)}`],
    ['200 fields', `HTTP/1.1 200 OK\n${'a: b\n'.repeat(201)}\n`],
    ['extensions of 1 kB', `${CHUNKED}3;a=${'b'.repeat(1_024)}\nabc\n0\n\n`],
    ['trailers of 16 kB', `${CHUNKED}0\n${`a: ${'b'.repeat(1_000)}\n`.repeat(17)}\n`],
  ])('%s', (_name, text) => {
    const bytes = wire(text);
    expect(readAnswer(bytes, 'GET').end).toBe('refused');
    const everywhere = Array.from({ length: bytes.length }, (_, index) => index);
    expect(readAnswer(bytes, 'GET', everywhere).end).toBe('refused');
  });

  test('what is just within them is taken', () => {
    const filler = 'a'.repeat(16_384 - 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx: '.length);
    const bytes = wire(`HTTP/1.1 200 OK\nContent-Length: 0\nx: ${filler}\n\n`);
    expect(readAnswer(bytes, 'GET').end).toBe('complete');
    expect(readAnswer(bytes, 'GET', [10_000, bytes.length - 2]).end).toBe('complete');
  });
});

const METHODS = ['GET', 'HEAD', 'PUT'];
const answers = [...LLHTTP, ...OURS].map(([, text]) => wire(text));

test('wherever an answer is cut, it is the same answer', () => {
  const property = fc.property(
    fc.constantFrom(...answers),
    fc.constantFrom(...METHODS),
    fc.array(fc.nat(400), { maxLength: 8 }),
    (bytes, method, cuts) => {
      const within = cuts.map((cut) => Math.min(cut, bytes.length));
      fuzzAnswer(bytes, method, within);
    },
  );
  fc.assert(property, { numRuns: 2_000 });
});

const USUAL_SECONDS = 1;
const seconds = Number(process.env['FUZZ_SECONDS'] ?? USUAL_SECONDS);
const firstSeed = Number(
  process.env['FUZZ_SEED'] ?? (seconds === USUAL_SECONDS ? 1 : Date.now() % 2 ** 32),
);

test('altered answers are refused, or read as Node reads them', {
  timeout: (seconds + 10) * 1000,
}, () => {
  const untilMs = performance.now() + seconds * 1000;
  const ends = new Set<string>();
  for (let seed = firstSeed; performance.now() < untilMs || seed === firstSeed; seed += 1) {
    const random = createRandom(seed);
    const below = (limit: number) => Math.floor(random() * limit);
    const bytes = mutateAnswer(answers[below(answers.length)] ?? Buffer.alloc(0), random);
    const cuts = Array.from({ length: below(4) }, () => below(bytes.length + 1));
    try {
      ends.add(fuzzAnswer(bytes, METHODS[below(METHODS.length)] ?? '', cuts).end);
    } catch (error) {
      throw new Error(`FUZZ_SEED=${seed} FUZZ_SECONDS=0`, { cause: error });
    }
  }
  if (seconds > 0) expect([...ends].toSorted()).toEqual(['complete', 'open', 'refused', 'rest']);
});
