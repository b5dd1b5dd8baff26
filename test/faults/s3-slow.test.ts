// SPDX-License-Identifier: GPL-3.0-or-later
// Large objects over connections that are slow, each for itself, as those of a distant store are.

import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { crc32, encodeCrc32 } from '../../src/checksums/checksums.ts';
import { createS3Store } from '../../src/providers/s3/store.ts';
import type { ObjectStore, Sink } from '../../src/store/object-store.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBytes,
  makeSink,
  never,
  type TestSink,
} from '../support/bodies.ts';
import { answerS3, answerS3Error, failS3 } from '../support/s3-memory.ts';
import { type ScriptedServer, type Step, startScriptedServer } from '../support/scripted-server.ts';
import { makeLogger, makeS3Settings } from '../support/settings.ts';

const MIB = 1024 * 1024;
/** Of each connection. */
const BYTES_PER_MS = 24 * 1024;
const CHUNK_BYTES = 256 * 1024;

describe('a slow connection', () => {
  const bytes = makeBytes(64 * MIB);
  let server: ScriptedServer;
  let store: ObjectStore;
  /** Bytes that each request was sent; the first one is the reader's own. */
  let sentBytes: number[];

  beforeEach(async () => {
    server = await startScriptedServer({ answer: answerS3 });
    store = createS3Store(makeS3Settings({ endpoint: server.endpoint }), { log: makeLogger() });
    const headers = { etag: '"version-1"', 'x-amz-checksum-crc32': encodeCrc32(crc32(bytes, 0)) };
    server.objects.set('/bucket/key', { bytes: Buffer.from(bytes), headers });
    sentBytes = [];
    server.always(serveSlowly(server, sentBytes));
  });

  afterEach(async () => {
    await store.close();
    await server.close();
  });

  async function get(anyOrder: boolean, range?: { start: number; end: number }) {
    const sink = makeSink();
    const flagged: Sink = { ...sink, anyOrder };
    await store.get('key', range, flagged, { signal: never() });
    return sink;
  }

  /** Alone, the first connection would have had to bring them all. */
  function expectHelp(wantedBytes: number): void {
    expect(sentBytes[0]).toBeLessThan(0.85 * wantedBytes);
  }

  test('gets help from others, and the whole is verified', async () => {
    const sink = await get(true);
    expectSameBytes(sink.bytes(), bytes);
    expectHelp(bytes.length);
    const helpers = server.requests.filter(({ headers }) => headers['range'] !== undefined);
    expect(helpers.length).toBeGreaterThan(2);
    expect(helpers.every(({ headers }) => headers['if-match'] === '"version-1"')).toBe(true);
  });

  test('gets help for a large range too', async () => {
    const range = { start: 5 * MIB, end: 63 * MIB };
    const sink = await get(true, range);
    expectSameBytes(sink.bytes(), bytes.subarray(range.start, range.end));
    expectHelp(range.end - range.start);
  });

  test('stays alone where the bytes must come in order', async () => {
    const sink = await get(false);
    expectSameBytes(sink.bytes(), bytes);
    expect(server.requests).toHaveLength(1);
  });

  test('an altered byte in what a helper fetched is found', async () => {
    const object = server.objects.get('/bucket/key');
    object?.bytes.writeUInt8((bytes[63 * MIB] ?? 0) ^ 1, 63 * MIB);
    await expectFailure(get(true), 'INTEGRITY', /checksum/);
  });

  test('an altered byte on the way of a helper is asked for once more', async () => {
    const serve = serveSlowly(server, sentBytes);
    let isAltered = false;
    server.always(async (exchange) => {
      const isHelper = exchange.recorded.headers['range'] !== undefined;
      if (!isHelper || isAltered) return await serve(exchange);
      isAltered = true;
      const { response } = exchange;
      const write = response.write.bind(response);
      response.write = (chunk: Buffer) => write(Buffer.alloc(chunk.length));
      await serve(exchange);
    });
    expectSameBytes((await get(true)).bytes(), bytes);
    expect(isAltered).toBe(true);
  });

  test('an object that is replaced meanwhile is never mixed', async () => {
    const reading = get(true);
    // The first version is on its way then.
    await expect.poll(() => sentBytes[0]).toBeGreaterThan(CHUNK_BYTES);
    const replaced = {
      bytes: Buffer.from(makeBytes(64 * MIB, 2)),
      headers: { etag: '"version-2"' },
    };
    server.objects.set('/bucket/key', replaced);
    expectSameBytes((await reading).bytes(), bytes);
  });

  test('a helper that fails leaves the first connection alone', async () => {
    const serve = serveSlowly(server, sentBytes);
    server.always(async (exchange) => {
      const isHelper = exchange.recorded.headers['range'] !== undefined;
      await (isHelper ? failS3(403, 'AccessDenied')(exchange) : serve(exchange));
    });
    expectSameBytes((await get(true)).bytes(), bytes);
  });

  test('helpers that fail once the first connection hung up: all is read again', async () => {
    const serve = serveSlowly(server, sentBytes);
    server.always(async (exchange) => {
      const isHelper = exchange.recorded.headers['range'] !== undefined;
      if (!isHelper) return serve(exchange);
      await exchange.readBody();
      await sleep(1_500);
      answerS3Error(exchange.response, 403, 'AccessDenied');
    });
    expectSameBytes((await get(true)).bytes(), bytes);
    const whole = server.requests.filter(({ headers }) => headers['range'] === undefined);
    expect(whole).toHaveLength(2);
  });

  test('an abort ends all connections and leaves the sink alone', async () => {
    const controller = new AbortController();
    const sink: TestSink = makeSink();
    const flagged: Sink = { ...sink, anyOrder: true };
    const reading = store.get('key', undefined, flagged, { signal: controller.signal });
    await expect.poll(() => server.requests.length, { timeout: 3_000 }).toBeGreaterThan(3);
    await sleep(50);
    controller.abort();
    sink.end();
    await expectFailure(reading, 'ABORTED');
    await expect.poll(() => server.openSockets()).toBe(0);
    expect(sink.callsAfterEnd()).toBe(0);
  });
});

/** @param sentBytes gets one number for each request */
function serveSlowly(server: ScriptedServer, sentBytes: number[]): Step {
  return async ({ recorded, readBody, response }) => {
    await readBody();
    const object = server.objects.get('/bucket/key');
    if (object === undefined) return;
    const version = recorded.headers['if-match'];
    if (version !== undefined && version !== object.headers['etag']) {
      response.writeHead(412, { 'content-length': 0 }).end();
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(recorded.headers['range'] ?? '');
    const start = Number(range?.[1] ?? 0);
    const end = Number(range?.[2] ?? object.bytes.length - 1) + 1;
    response.writeHead(range === null ? 200 : 206, {
      ...object.headers,
      'content-length': end - start,
      ...(range === null
        ? {}
        : { 'content-range': `bytes ${start}-${end - 1}/${object.bytes.length}` }),
    });
    const index = sentBytes.push(0) - 1;
    const from = performance.now();
    for (let sent = start; sent < end && !response.destroyed; sent += CHUNK_BYTES) {
      response.write(object.bytes.subarray(sent, Math.min(sent + CHUNK_BYTES, end)));
      sentBytes[index] = Math.min(sent + CHUNK_BYTES, end) - start;
      const dueMs = (sent - start) / BYTES_PER_MS;
      await sleep(Math.max(0, dueMs - (performance.now() - from)));
    }
    response.end();
  };
}
