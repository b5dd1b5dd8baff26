// SPDX-License-Identifier: GPL-3.0-or-later
// What every provider owes its user when the server, or the way to it, misbehaves: what passes is not noticed, what stays is told
// in time, and nothing is handed over as good that was not verified. A target says how its server speaks.

import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { NetworkSettings } from '../../src/config/settings.ts';
import { StorageError, type StorageErrorCode } from '../../src/errors.ts';
import { withLimit } from '../../src/store/limit.ts';
import type { ByteRange, ObjectStore } from '../../src/store/object-store.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';
import {
  answerEmpty,
  answerPage,
  answerRaw,
  BLOCKED,
  hang,
  reset,
  STORE_HEADERS,
  type Step,
  twice,
} from '../support/scripted-server.ts';
import { type Bench, SMALL } from './bench.ts';

const MIB = 1024 * 1024;

/** A kind of failure, and how the server tells it. */
type NamedStep = readonly [name: string, step: Step];
/** What the server says, what becomes of it, and what the user reads. */
export type Explained = readonly [
  name: string,
  step: Step,
  code: StorageErrorCode,
  message: RegExp,
];

export interface FaultTarget {
  /** For the block of tests that calls it: stores that repeat 3 times unless told otherwise. */
  useBench(): Bench<Partial<NetworkSettings>>;
  /** What the server sees of a write, a read, a range and a removal of "key", without queries. */
  readonly requests: readonly string[];
  /** An answer of the server's with its own words for "internal error". */
  readonly internalError: Step;
  readonly internalErrorWord: RegExp;
  readonly requestId: string;
  readonly throttled: (retryAfterS: number) => Step;
  /** Permission denied, told before the request was read; the connection ends. */
  readonly earlyDenial: Step;
  /** Names what is not permitted. */
  readonly writeDenied: RegExp;
  /** Its answer to a write in one request. */
  readonly success: { readonly status: number; readonly body: string };
  /** The content did not arrive as it was sent. */
  readonly contentMismatch: Step;
  readonly missingBucket: Step;
  readonly missingBucketMessage: RegExp;
  /** Further failures that pass. */
  readonly passing: readonly NamedStep[];
  /** Headers by which a read of the whole verifies the bytes. */
  checksumOf(bytes: Uint8Array): Readonly<Record<string, string>>;
  /** What a read makes of the server's words; each names the request. */
  readonly explained: readonly Explained[];
  /** What an answer to another read always ends in: where only the object's name tells, it may also be a copy. */
  readonly mixedUp: StorageErrorCode;
  /** What must not be in any error, for those of `explained` that carry it. */
  readonly hidden: RegExp;
  /** How a read explains that a page of somebody else's answers. */
  readonly strangerMessage: RegExp;
  /** The setting that says where the server is. */
  readonly addressSetting: string;
  /** A page of a listing in the server's words. @param next the marker of the page after it; undefined: there is none */
  listing(keys: readonly string[], next: string | undefined): string;
}

function raise(): never {
  throw new Error('nothing is stored');
}

export function storeFaults(target: FaultTarget): void {
  describe('faults', () => {
    const bench = target.useBench();
    const { open, put, get } = bench;

    /** Answers a read by hand. */
    const answerRead = (
      bytes: Uint8Array,
      head: Readonly<Record<string, string | number>> = {},
      end: 'keep' | 'end' | 'reset' = 'keep',
    ): Step =>
      answerRaw({ 'content-length': bytes.length, ...head }, bytes, (socket) => {
        if (end === 'end') socket.end();
        if (end === 'reset') socket.resetAndDestroy();
      });
    const answerRange = (bytes: Uint8Array, contentRange: string, head = {}): Step =>
      answerRaw(
        { 'content-length': bytes.length, 'content-range': contentRange, ...head },
        bytes,
        () => undefined,
        '206 Partial Content',
      );
    const altered = Buffer.concat([SMALL.subarray(1), Buffer.from([0])]);
    const short = { 'content-length': SMALL.length };
    const checksum = target.checksumOf(SMALL);
    const wrongChecksum = target.checksumOf(new Uint8Array());

    async function expectAllWork(store: ObjectStore, fault: Step): Promise<void> {
      const { server } = bench;
      server.script(fault);
      await put(store);
      server.script(fault);
      expectSameBytes((await get(store)).bytes(), SMALL);
      server.script(fault);
      await store.delete('key', { signal: never() });
      expect(server.objects.size).toBe(0);
    }

    test('without any, each operation is one request', async () => {
      const store = open();
      await put(store);
      await get(store);
      await get(store, { start: 10, end: 20 });
      await store.delete('key', { signal: never() });
      const seen = bench.server.requests.map(({ method, url }) => `${method} ${url.split('?')[0]}`);
      expect(seen).toEqual(target.requests);
      // It would cost a connection each.
      expect(bench.server.requests.every(({ headers }) => headers['expect'] === undefined)).toBe(
        true,
      );
    });

    describe('that pass', () => {
      const garbage = Buffer.from('<<garbage');
      test.each<NamedStep>([
        ['500', target.internalError],
        ['429 with Retry-After', target.throttled(1)],
        ['a reset before the answer', reset()],
        ["somebody else's page", answerPage()],
        [
          'an answer that is nothing of the protocol',
          answerRaw({ 'content-length': 9 }, garbage, (socket) => socket.end(), '500 Oops'),
        ],
        ...target.passing,
      ])('%s, then success: write, read and removal succeed', async (_name, fault) => {
        await expectAllWork(open(), fault);
      });

      test('Retry-After is waited for', async () => {
        bench.server.script(target.throttled(1), target.throttled(1));
        const start = performance.now();
        await put(open());
        expect(performance.now() - start).toBeGreaterThan(950);
      });

      test('a connection that breaks while a large content is sent', async () => {
        const store = open();
        const bytes = makeBytes(8 * MIB);
        bench.server.script(({ request, socket }) => {
          request.once('data', () => socket.resetAndDestroy());
        });
        await put(store, bytes);
        expectSameBytes((await get(store)).bytes(), bytes);
      });

      test('a content that arrives altered is sent again', async () => {
        const store = open();
        bench.server.script(target.contentMismatch);
        await put(store);
        expect(bench.methods()).toHaveLength(2);
        expectSameBytes((await get(store)).bytes(), SMALL);
      });

      test.each<NamedStep>([
        ['short', answerRead(SMALL.subarray(0, 100), short, 'end')],
        ['broken by a reset', answerRead(SMALL.subarray(0, 100), short, 'reset')],
        ['long', answerRead(Buffer.concat([SMALL, Buffer.from([0])]), checksum, 'end')],
        ['altered', answerRead(altered, checksum)],
      ])('a body that is %s is read again', async (_name, fault) => {
        const store = open();
        await put(store);
        bench.server.script(fault);
        expectSameBytes((await get(store)).bytes(), SMALL);
        expect(bench.methods()).toHaveLength(3);
      });

      test('bytes behind the announced end of a body do not reach the sink', async () => {
        const store = open();
        await put(store);
        bench.server.script(answerRead(Buffer.concat([SMALL, SMALL]), short, 'end'));
        expectSameBytes((await get(store)).bytes(), SMALL);
        expectSameBytes((await get(store)).bytes(), SMALL);
      });
    });

    const operations: readonly (readonly [string, (store: ObjectStore) => Promise<unknown>])[] = [
      ['a write', (store) => put(store)],
      ['a read', (store) => get(store)],
      ['a read of a range', (store) => get(store, { start: 0, end: BLOCKED.length })],
      ['a look', (store) => store.head('key', { signal: never() })],
      ['a removal', (store) => store.delete('key', { signal: never() })],
      ['a listing', (store) => store.list('', { signal: never() })[Symbol.asyncIterator]().next()],
    ];

    describe('that stay', () => {
      test('500 is given up after MaxRetries, with the request id', async () => {
        bench.server.always(target.internalError);
        const error = await expectFailure(
          put(open({ maxRetries: 2 })),
          'UNAVAILABLE',
          /cannot write "key"/,
        );
        expect(error.message).toMatch(target.internalErrorWord);
        expect(error.requestId).toBe(target.requestId);
        expect(error.cause).toBeInstanceOf(Error);
        expect(bench.methods()).toHaveLength(3);
      });

      test('500 is given up at the deadline', async () => {
        bench.server.always(target.internalError);
        const start = performance.now();
        const store = open({ maxRetries: 100, requestTimeoutMs: 700 });
        await expectFailure(put(store), 'TIMEOUT', /RequestTimeout/);
        expect(performance.now() - start).toBeLessThan(1_500);
      });

      test('at the deadline, every operation tells what the server said last', async () => {
        // The wait for the next attempt is longer than the time that there is.
        bench.server.always(target.throttled(30));
        const store = open({ requestTimeoutMs: 1_000 });
        const message =
          /RequestTimeout \(1 s\).*; the last .*: the .* asks for fewer requests.* \(.*\)/;
        await Promise.all(
          operations.map(async ([, operate]) => {
            const error = await expectFailure(operate(store), 'TIMEOUT', message);
            expect(error.requestId).toBe(target.requestId);
            expect(error.cause).toMatchObject({ code: 'THROTTLED' });
          }),
        );
      });

      test.each<[string, Step, RegExp]>([
        ['an error of its own', target.internalError, /the server failed/],
        ['a reset', reset(), /closed the connection/],
        ['a page of a gateway', answerPage(502), /status 502, text\/html.*"some-filter/],
      ])('at the deadline, %s is what the last attempt met', async (_name, step, message) => {
        bench.server.always(step);
        const failed = put(open({ maxRetries: 100, requestTimeoutMs: 900 }));
        const error = await expectFailure(failed, 'TIMEOUT', /RequestTimeout \(0\.9 s\)/);
        expect(error.message).toMatch(message);
        expect(error.message).not.toContain(BLOCKED);
      });

      test('a server that is gone is UNAVAILABLE after MaxRetries', async () => {
        const store = open({ maxRetries: 2 });
        await put(store);
        await bench.server.close();
        await expectFailure(put(store), 'UNAVAILABLE', /cannot write "key".*nobody listens/);
        await expectFailure(get(store), 'UNAVAILABLE', /cannot read "key".*nobody listens/);
      });

      test('throttling is THROTTLED', async () => {
        bench.server.always(target.throttled(0));
        await expectFailure(put(open({ maxRetries: 1 })), 'THROTTLED', /MaxConnections/);
      });

      test('a content that always arrives altered is INTEGRITY', async () => {
        bench.server.always(target.contentMismatch);
        await expectFailure(put(open({ maxRetries: 1 })), 'INTEGRITY');
      });

      test.each<[string, Step, StorageErrorCode]>([
        ['short', answerRead(SMALL.subarray(0, 100), short, 'end'), 'SHORT_BODY'],
        ['altered', answerRead(SMALL, wrongChecksum), 'INTEGRITY'],
      ])('a body that is %s is an error', async (_name, fault, code) => {
        bench.server.always(fault);
        await expectFailure(get(open({ maxRetries: 1 })), code);
      });

      test('a body without a length is an error at once', async () => {
        const head = { 'transfer-encoding': 'chunked' };
        const chunks = Buffer.from('5\r\nabcde\r\n0\r\n\r\n');
        bench.server.always(answerRaw(head, chunks, () => undefined));
        await expectFailure(get(open()), 'INTEGRITY', /without a length.*proxy/);
        expect(bench.methods()).toEqual(['GET']);
      });

      test('an object that is damaged where it lies is not read MaxRetries times', async () => {
        bench.server.always(answerRead(SMALL, wrongChecksum));
        await expectFailure(get(open({ maxRetries: 10 })), 'INTEGRITY');
        expect(bench.methods()).toHaveLength(2);
      });

      test('a look-up that tells no size is an error, not one of an empty object', async () => {
        // In chunks, and for Google, which tells it in JSON, without that.
        bench.server.always(({ response }) => {
          const head = { ...STORE_HEADERS, 'content-type': 'application/json' };
          response.writeHead(200, { ...head, 'transfer-encoding': 'chunked' }).end('{}');
        });
        const looking = open().head('key', { signal: never() });
        await expectFailure(looking, 'UNAVAILABLE', /told no size of "key"/);
      });

      test('a range that arrives whole is verified like the whole, a part is not', async () => {
        const store = open({ maxRetries: 0 });
        bench.server.always(answerRange(SMALL, 'bytes 0-999/1000', wrongChecksum));
        await expectFailure(get(store, { start: 0, end: 1_000 }), 'INTEGRITY');
        const part = SMALL.subarray(0, 10);
        bench.server.always(answerRange(part, 'bytes 0-9/1000', wrongChecksum));
        expectSameBytes((await get(store, { start: 0, end: 10 })).bytes(), part);
      });

      const range: ByteRange = { start: 10, end: 20 };
      test.each<[string, Step]>([
        ['another range', answerRange(SMALL.subarray(0, 10), 'bytes 11-20/1000')],
        ['a shorter range', answerRange(SMALL.subarray(0, 10), 'bytes 10-18/1000')],
        ['one that starts later', answerRange(SMALL.subarray(0, 10), 'bytes 11-19/1000')],
        ['nonsense', answerRange(SMALL.subarray(0, 10), 'bytes */1000')],
        ['the whole object', answerRead(SMALL)],
      ])('a range answered by %s is an error, not the wrong bytes', async (_name, answer) => {
        bench.server.always(answer);
        await expectFailure(
          get(open({ maxRetries: 0 }), range),
          'INTEGRITY',
          /Content-Range|"bytes/,
        );
      });

      test('a range that is called 200, with its Content-Range and its length, is one', async () => {
        const bytes = SMALL.subarray(10, 20);
        const head = { 'content-range': 'bytes 10-19/1000' };
        bench.server.always(answerRead(bytes, head));
        expectSameBytes((await get(open(), range)).bytes(), bytes);
        bench.server.always(answerRead(SMALL, head));
        await expectFailure(get(open({ maxRetries: 0 }), range), 'INTEGRITY', /Content-Range/);
        // One that is cut, since the object ends.
        const cut = { 'content-range': 'bytes 990-999/1000' };
        bench.server.always(answerRead(SMALL.subarray(990), cut));
        await expectFailure(get(open(), { start: 990, end: 1_010 }), 'BAD_RANGE', /which has 1000/);
      });

      test.each<[string, string, StorageErrorCode]>([
        ['fewer', '5\r\nabcde\r\n0\r\n\r\n', 'SHORT_BODY'],
        ['more', 'b\r\nabcdefghijk\r\n0\r\n\r\n', 'INTEGRITY'],
      ])('%s bytes than the range has, in chunks, are an error', async (_name, chunks, code) => {
        const contentRange = 'bytes 10-19/1000';
        const head = { 'transfer-encoding': 'chunked', 'content-range': contentRange };
        bench.server.always(
          answerRaw(head, Buffer.from(chunks), () => undefined, '206 Partial Content'),
        );
        await expectFailure(get(open({ maxRetries: 0 }), range), code);
      });

      test.each<[number, string, string, RegExp]>([
        [502, 'text/html', '<html><b>a & b</b>', /status 502, text\/html/],
        [
          500,
          'application/xml',
          '<?xml version="1.0"?><Error><Code>Half</Code><Mess',
          /Half|application\/xml/,
        ],
        [503, 'text/plain', 'no healthy upstream', /: no healthy upstream\)/],
        [500, 'application/json', '', /status 500 without a reason/],
      ])('%i of a gateway as %s is told in plain words', async (status, type, body, message) => {
        bench.server.always(async ({ readBody, response }) => {
          await readBody();
          response.writeHead(status, { 'content-type': type }).end(body);
        });
        const store = open({ maxRetries: 0 });
        for (const [name, operate] of operations) {
          // Its answer has no words at all.
          const text = name === 'a look' ? new RegExp(`status ${status}`) : message;
          const error = await expectFailure(operate(store), 'UNAVAILABLE', text);
          expect(error.message).not.toMatch(
            /RestError|PARSE_ERROR|UnknownError|Deserialization|expected|<b>/,
          );
        }
      });

      test('a server that never answers is left at the deadline', async () => {
        bench.server.always(hang());
        const start = performance.now();
        const store = open({ requestTimeoutMs: 600 });
        await expectFailure(get(store), 'TIMEOUT', /cannot read "key"/);
        await expectFailure(put(store), 'TIMEOUT', /cannot write "key"/);
        expect(performance.now() - start).toBeLessThan(2_500);
      });

      test('a removal waits neither for reads nor for long, and tells what may be left', async () => {
        const store = withLimit(open({ maxConnections: 1, requestTimeoutMs: 30_000 }), 1);
        bench.server.always(async (exchange) => {
          if (exchange.recorded.method === 'DELETE') await exchange.proceed();
          else await hang()(exchange);
        });
        const controller = new AbortController();
        const signal = controller.signal;
        const readings = [1, 2].map(() =>
          expectFailure(store.get('key', undefined, makeSink(), { signal }), 'ABORTED'),
        );
        await expect.poll(() => bench.methods().length).toBe(1);
        await store.delete('key', { signal: never() });
        bench.server.always(hang());
        const start = performance.now();
        const message = /cannot delete "key": .*time for a removal \(8 s\).*"verify" finds/;
        await expectFailure(store.delete('key', { signal: never() }), 'TIMEOUT', message);
        expect(performance.now() - start).toBeLessThan(10_000);
        controller.abort();
        await Promise.all(readings);
      });

      test('a removal outlasts a blip, and says soon what is wrong in an outage', async () => {
        const store = open({ maxRetries: 50 });
        await put(store);
        const { internalError } = target;
        bench.server.script(...Array.from({ length: 5 }, () => internalError));
        await store.delete('key', { signal: never() });
        expect(bench.server.objects.size).toBe(0);
        bench.server.always(internalError);
        const failed = store.delete('key', { signal: never() });
        await expectFailure(failed, 'UNAVAILABLE', /cannot delete "key".*server failed/);
      });

      test('a server that stops in the middle of a body is left, and the sink alone', async () => {
        bench.server.always(answerRead(SMALL.subarray(0, 100), short));
        const sink = makeSink();
        const reading = open({ requestTimeoutMs: 600 }).get('key', undefined, sink, {
          signal: never(),
        });
        await expectFailure(
          reading.finally(() => {
            sink.end();
          }),
          'TIMEOUT',
        );
        await sleep(100);
        expect(sink.callsAfterEnd()).toBe(0);
      });

      test('an early denial ends a large write at once, and nothing reads its body afterwards', async () => {
        bench.server.always(target.earlyDenial);
        const body = makeBody(makeBytes(12 * MIB));
        const writing = open().put('key', body, { signal: never() });
        await expectFailure(
          writing.finally(() => {
            body.end();
          }),
          'ACCESS_DENIED',
          target.writeDenied,
        );
        await sleep(200);
        expect(body.readsAfterEnd()).toBe(0);
      });

      test('success before all bytes were sent is no success', async () => {
        const { status, body } = target.success;
        bench.server.always(({ response }) => {
          response.writeHead(status, { ...STORE_HEADERS, 'content-length': body.length }).end(body);
        });
        await expectFailure(put(open({ maxRetries: 1 }), makeBytes(12 * MIB)), 'UNAVAILABLE');
      });

      test.each(target.explained)('%s is explained', async (_name, answer, code, message) => {
        bench.server.always(answer);
        const error = await expectFailure(get(open({ maxRetries: 1 })), code, message);
        expect(error.requestId).toBe(target.requestId);
        const names = Object.getOwnPropertyNames(error);
        const cause = error.cause instanceof Error ? Object.getOwnPropertyNames(error.cause) : [];
        expect(JSON.stringify(error, [...names, ...cause])).not.toMatch(target.hidden);
      });

      test('a bucket that is missing is not taken for a missing object', async () => {
        bench.server.always(target.missingBucket);
        const store = open();
        const message = target.missingBucketMessage;
        await expectFailure(get(store), 'BAD_CONFIG', message);
        await expectFailure(put(store), 'BAD_CONFIG', message);
        await expectFailure(store.delete('key', { signal: never() }), 'BAD_CONFIG', message);
      });

      test('a 404 that is not in the words of the server is no missing object', async () => {
        bench.server.always(async ({ readBody, response }) => {
          await readBody();
          response
            .writeHead(404, { 'content-type': 'text/plain' })
            .end('<html>nothing here</html>');
        });
        await expectFailure(get(open({ maxRetries: 0 })), 'BAD_CONFIG', target.strangerMessage);
      });
    });

    describe('and listings', () => {
      type Page = readonly [keys: readonly string[], next: string | undefined];
      /** Answers the pages one after the other, then from the given one again. */
      async function list(
        pages: readonly Page[],
        again = pages.length,
      ): Promise<readonly string[]> {
        let asked = 0;
        bench.server.always(async ({ readBody, response }) => {
          await readBody();
          const round = pages.length - again;
          const index = asked < pages.length ? asked : again + ((asked - again) % round);
          const [keys, next] = pages[index] ?? [[], undefined];
          asked += 1;
          const body = target.listing(keys, next);
          const type = body.startsWith('{') ? 'application/json' : 'application/xml';
          response.writeHead(200, { ...STORE_HEADERS, 'content-type': type }).end(body);
        });
        const found: string[] = [];
        for await (const { key } of open({ maxRetries: 0 }).list('', { signal: never() })) {
          found.push(key);
        }
        return found;
      }
      const turning = (count: number): readonly Page[] =>
        Array.from({ length: count }, (_, index): Page => [[`key-${index}`], `page-${index}`]);

      test.each<[string, readonly Page[], number]>([
        ['one marker', turning(1), 0],
        ['one marker, with nothing listed', [[[], 'next']], 0],
        ['two markers in turn', turning(2), 0],
        ['a long circle, entered late', turning(60), 23],
        [
          'the first page, with empty ones after it',
          [
            [['a'], 'p1'],
            [[], 'p2'],
            [[], 'p3'],
          ],
          0,
        ],
      ])('that go round are ended: %s', async (_name, pages, again) => {
        await expectFailure(list(pages, again), 'UNAVAILABLE', /would never end: the server/);
        expect(bench.methods().length).toBeLessThanOrEqual(3 * pages.length + 1);
      });

      test('that give the same page under ever new markers are ended', async () => {
        const pages = Array.from({ length: 50 }, (_, index): Page => [['a', 'b'], `page-${index}`]);
        await expectFailure(list(pages), 'UNAVAILABLE', /would never end/);
        expect(bench.methods()).toHaveLength(2);
      });

      test('that are long, with many empty pages, are followed to their end', async () => {
        const empty = Array.from({ length: 100 }, (_, index): Page => [[], `empty-${index}`]);
        const pages: readonly Page[] = [...turning(20), ...empty, [['last'], undefined]];
        expect(await list(pages)).toEqual([...turning(20).flatMap(([keys]) => keys), 'last']);
      });
    });

    describe("and answers that are not the server's", () => {
      test.each(operations)('%s does not take a page for its answer', async (_name, operate) => {
        bench.server.always(answerPage());
        const error = await expectFailure(operate(open({ maxRetries: 10 })), 'UNAVAILABLE');
        expect(error.message).toContain(
          '(status 200, text/html; charset=utf-8, Server "some-filter/1.0", Via "1.1 some-proxy")',
        );
        expect(error.message).toContain(target.addressSetting);
        expect(error.message).not.toContain(BLOCKED);
        // A filter that blocks goes on blocking.
        expect(bench.methods().length).toBeLessThanOrEqual(2);
      });

      test.each(operations)(
        '%s does not take an empty 200 for its answer',
        async (_name, operate) => {
          bench.server.always(answerEmpty());
          const message =
            /no store answers at .*something else does \(status 200, no Content-Type\)/;
          await expectFailure(operate(open({ maxRetries: 0 })), 'UNAVAILABLE', message);
        },
      );

      test.each([403, 404, 413])(
        'a page with status %i is told from a refusal of the server',
        async (status) => {
          bench.server.always(answerPage(status));
          const store = open({ maxRetries: 0 });
          const message = new RegExp(`no store answers.*status ${status}, text/html.*some-filter`);
          await expectFailure(put(store), 'UNAVAILABLE', message);
          await expectFailure(get(store), 'UNAVAILABLE', message);
          await expectFailure(store.delete('key', { signal: never() }), 'UNAVAILABLE', message);
          await expectFailure(store.head('key', { signal: never() }), 'UNAVAILABLE', message);
        },
      );

      test('a page never reaches the sink', async () => {
        bench.server.always(answerPage());
        const sink = makeSink();
        const reading = open().get('key', undefined, sink, { signal: never() });
        await expectFailure(reading, 'UNAVAILABLE');
        expect(sink.begins()).toBe(0);
      });
    });

    describe('and answers to other requests', () => {
      const keys = Array.from(
        { length: 6 },
        (_, index) => `1b4e28ba-2fa1-4d2e-883f-0016d3cc000${index}.dcm`,
      );
      const [key = '', other = ''] = keys;
      const contents = keys.map((_, index) => makeBytes(1_000 + index, index + 1));
      const pathOf = (name: string) =>
        [...bench.server.objects.keys()].find((path) => path.endsWith(`/${name}`)) ?? '';

      async function fill(store: ObjectStore): Promise<void> {
        for (const [index, name] of keys.entries()) {
          await store.put(name, makeBody(contents[index] ?? SMALL), { signal: never() });
        }
      }

      async function read(store: ObjectStore, name: string, range?: ByteRange) {
        const sink = makeSink();
        await store.get(name, range, sink, { signal: never() });
        return sink.bytes();
      }

      const mixUp: Step = ({ proceed, recorded }) => proceed(recorded.url.replaceAll(key, other));

      test('that come twice in one segment, once, are repeated', async () => {
        const store = open();
        await put(store);
        bench.server.script(twice('at once'));
        await put(store, SMALL.subarray(1));
        expect(bench.methods()).toHaveLength(3);
        bench.server.script(twice('at once'));
        expectSameBytes((await get(store)).bytes(), SMALL.subarray(1));
        expect(bench.methods()).toHaveLength(5);
      });

      test.each(['soon', 'next'] as const)(
        'that always come twice, the other one %s, neither lose a write nor mix up a read',
        async (when) => {
          const store = open({ maxConnections: 1 });
          bench.server.always(twice(when));
          await fill(store);
          expect(bench.server.objects.size).toBe(keys.length);
          for (const [index, name] of keys.entries()) {
            const content = contents[index] ?? SMALL;
            expectSameBytes(bench.server.objects.get(pathOf(name))?.bytes ?? SMALL, content);
            expectSameBytes(await read(store, name), content);
            const part = await read(store, name, { start: 7, end: 70 });
            expectSameBytes(part, content.subarray(7, 70));
            const { sizeBytes } = (await store.head(name, { signal: never() })) ?? {};
            expect(sizeBytes).toBe(content.length);
          }
          for (const name of keys) await store.delete(name, { signal: never() });
          expect(bench.server.objects.size).toBe(0);
        },
      );

      test.each<[string, ByteRange | undefined]>([
        ['the whole', undefined],
        ['a range', { start: 0, end: 10 }],
      ])('once: %s is read again', async (_name, range) => {
        const store = open();
        await fill(store);
        bench.server.script(mixUp);
        const expected = (contents[0] ?? SMALL).subarray(range?.start, range?.end);
        expectSameBytes(await read(store, key, range), expected);
      });

      test('always: no byte of another object reaches the sink, and a look fails', async () => {
        const store = open();
        await fill(store);
        bench.server.always(mixUp);
        const sink = makeSink();
        const reading = store.get(key, undefined, sink, { signal: never() });
        await expectFailure(reading, target.mixedUp);
        expect(sink.begins()).toBe(0);
        await expect(store.head(key, { signal: never() })).rejects.toThrow();
      });

      test('"there is no such object", about another one, is asked again', async () => {
        const store = open({ maxConnections: 1 });
        await store.put(key, makeBody(SMALL), { signal: never() });
        bench.server.always(twice('next'));
        await expectFailure(read(store, other), 'NOT_FOUND');
        expectSameBytes(await read(store, key), SMALL);
      });

      test('a copy under another uuid is refused, one in another folder is not', async () => {
        const store = open();
        await store.put(key, makeBody(SMALL), { signal: never() });
        const { objects } = bench.server;
        const [path, object] = [...objects][0] ?? ['', { bytes: Buffer.alloc(0), headers: {} }];
        objects.set(path.replace(key, other), object);
        objects.set(path.replace(key, `1b/4e/${key.replace('.dcm', '')}`), object);
        expectSameBytes(await read(store, `1b/4e/${key.replace('.dcm', '')}`), SMALL);
        const message = new RegExp(`${other}.*${key.replace('.dcm', '')}.*another tool copied`);
        await expectFailure(read(store, other), 'INTEGRITY', message);
      });

      test('an object that tells no name, as other programs store them, is read', async () => {
        const store = open();
        await store.put(key, makeBody(SMALL), { signal: never() });
        const [path, { bytes, headers }] = [...bench.server.objects][0] ?? raise();
        const told = Object.entries(headers).filter(([name]) => !/meta|disposition/.test(name));
        expect(told.length).toBeLessThan(Object.keys(headers).length);
        bench.server.objects.set(path, { bytes, headers: Object.fromEntries(told) });
        expectSameBytes(await read(store, key), SMALL);
      });
    });

    test('of an error, only the beginning is read', async () => {
      const piece = Buffer.alloc(64 * 1024, 'x');
      const pieces = 1_024;
      let sent = 0;
      bench.server.always(async ({ readBody, response, socket }) => {
        await readBody();
        const head = { ...STORE_HEADERS, 'content-type': 'text/plain' };
        response.writeHead(500, head).write('the disk is full. ');
        for (sent = 0; sent < pieces && !socket.destroyed; sent++) {
          if (!response.write(piece)) await sleep(1);
        }
        response.end();
      });
      const message = /status 500, text\/plain.*the disk is full/;
      await expectFailure(get(open({ maxRetries: 0 })), 'UNAVAILABLE', message);
      expect(sent).toBeLessThan(pieces / 2);
    });

    describe('and aborts', () => {
      test('before the start: nothing is sent', async () => {
        const store = open();
        const reason = new StorageError('TIMEOUT', 'the request is over');
        const reading = store.get('key', undefined, makeSink(), {
          signal: AbortSignal.abort(reason),
        });
        await expectFailure(reading, 'TIMEOUT');
        const writing = store.put('key', makeBody(SMALL), { signal: AbortSignal.abort() });
        await expectFailure(writing, 'ABORTED');
        expect(bench.methods()).toEqual([]);
      });

      test('while reading: the connection ends and the sink is left alone', async () => {
        bench.server.always(answerRead(SMALL.subarray(0, 100), short));
        const controller = new AbortController();
        const sink = makeSink();
        const reading = open().get('key', undefined, sink, { signal: controller.signal });
        await expect.poll(() => sink.begins()).toBe(1);
        controller.abort();
        sink.end();
        await expectFailure(reading, 'ABORTED');
        await expect.poll(() => bench.server.openSockets()).toBe(0);
        expect(sink.callsAfterEnd()).toBe(0);
        expect(bench.methods()).toHaveLength(1);
      });

      test('while writing: the connection ends and the body is left alone', async () => {
        let resume: () => void = () => undefined;
        bench.server.always(({ request }) => {
          resume = () => request.resume();
        });
        const controller = new AbortController();
        const body = makeBody(makeBytes(15 * MIB));
        const writing = open().put('key', body, { signal: controller.signal });
        await expect.poll(() => bench.methods().length).toBe(1);
        controller.abort();
        body.end();
        await expectFailure(writing, 'ABORTED');
        // A server that does not read does not see the end either.
        resume();
        await expect.poll(() => bench.server.openSockets()).toBe(0);
        await sleep(100);
        expect(body.readsAfterEnd()).toBe(0);
        expect(bench.methods()).toHaveLength(1);
      });

      test('while waiting for a connection: nothing is sent once there is one', async () => {
        const store = open({ maxConnections: 1 });
        let release: () => void = () => undefined;
        bench.server.script(async (exchange) => {
          await new Promise<void>((resolve) => {
            release = resolve;
          });
          await exchange.proceed();
        });
        const first = put(store);
        await expect.poll(() => bench.methods().length).toBe(1);
        const controller = new AbortController();
        const second = store.list('', { signal: controller.signal })[Symbol.asyncIterator]().next();
        const third = store.head('key', { signal: never() });
        await sleep(20);
        controller.abort();
        await expectFailure(second, 'ABORTED');
        release();
        await first;
        expect(await third).toMatchObject({ sizeBytes: SMALL.length });
        expect(bench.methods()).toHaveLength(2);
      });

      test('while waiting for the next attempt: no further request', async () => {
        bench.server.always(target.throttled(30));
        const controller = new AbortController();
        const writing = open({ maxRetries: 50 }).put('key', makeBody(SMALL), {
          signal: controller.signal,
        });
        await expect.poll(() => bench.methods().length).toBe(1);
        await sleep(50);
        controller.abort();
        await expectFailure(writing, 'ABORTED');
        await sleep(100);
        expect(bench.methods()).toHaveLength(1);
      });

      test('close fails what is under way with CLOSED and ends all connections', async () => {
        const store = open();
        await put(store);
        bench.server.always(hang());
        const reading = store.get('key', undefined, makeSink(), { signal: never() });
        const failed = expectFailure(reading, 'CLOSED');
        await expect.poll(() => bench.methods().length).toBe(2);
        const start = performance.now();
        await store.close();
        await failed;
        expect(performance.now() - start).toBeLessThan(500);
        await expect.poll(() => bench.server.openSockets()).toBe(0);
        await expectFailure(put(store), 'CLOSED');
      });
    });
  });
}
