// SPDX-License-Identifier: GPL-3.0-or-later
// The contract of ObjectStore, case by case, for whatever implements it. A target says what it is, what it can do and, with a
// link, what it cannot.

import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { NetworkSettings } from '../../src/config/settings.ts';
import { StorageError, type StorageErrorCode } from '../../src/errors.ts';
import { bodyFrom } from '../../src/store/bodies.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { withLimit } from '../../src/store/limit.ts';
import type { ObjectInfo, ObjectStore } from '../../src/store/object-store.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../support/bodies.ts';

const MIB = 1024 * 1024;
/** More than the page of any provider's listing, at most 5,000 on Azure, where targets set their page smaller. */
const LISTED_OBJECTS = 1_005;

/** What a store can be opened with instead of what is right. */
export type Mistake = 'missing bucket' | 'wrong secret' | 'unknown user' | 'nobody listens';

export type Limits = Pick<NetworkSettings, 'maxConnections' | 'requestTimeoutMs'>;

const USUAL_LIMITS: Limits = { maxConnections: 25, requestTimeoutMs: 30_000 };

export interface ConformanceTarget {
  readonly name: string;
  /** Starts what the stores need; the suite calls `open` any number of times in between and `stop` at the end. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /** @param limits for its settings; the suite itself puts them around the store
   *  @param mistake undefined: all is right */
  open(limits: Limits, mistake: Mistake | undefined): ObjectStore;
  /** Contents larger than this go in parts; undefined: never. */
  readonly multipartFromBytes: number | undefined;
  /** What `check` says to each mistake; absent: the target cannot tell, which is a gap. */
  readonly checkFailures: Partial<Record<Mistake, StorageErrorCode>>;
  /** Cases that this target cannot pass, by their title, and why, with a link. */
  readonly gaps: Readonly<Record<string, string>>;
  /** Only what depends on the server: not what the plugin does by itself, and no large contents but one in parts. */
  readonly isBrief?: boolean;
  /** Instead of more than a page. */
  readonly listedObjects?: number;
  /** Where the server bears fewer than usual. */
  readonly maxConnections?: number;
  /** The server may keep the bytes of one write with the checksum of another that came at the same time. A read must find that. */
  readonly mayMixWrites?: boolean;
}

export function storeConformance(target: ConformanceTarget): void {
  describe(`${target.name} keeps the contract of a store`, () => {
    let store: ObjectStore;
    const opened: ObjectStore[] = [];
    const root = `conformance/${randomUUID()}`;
    const key = (name: string) => `${root}/${name}`;

    beforeAll(async () => {
      await target.start();
      store = open();
    });

    afterAll(async () => {
      for (const each of opened) await each.close();
      await target.stop();
    });

    function open(changes: Partial<Limits> = {}, mistake?: Mistake): ObjectStore {
      const { maxConnections = USUAL_LIMITS.maxConnections } = target;
      const limits = { ...USUAL_LIMITS, maxConnections, ...changes };
      const each = withDeadline(
        withLimit(target.open(limits, mistake), limits.maxConnections),
        limits.requestTimeoutMs,
      );
      opened.push(each);
      return each;
    }

    /** A gap runs all the same, and is reported when it is none any more. */
    function check(title: string, work: () => Promise<void>): void {
      const gap = target.gaps[title];
      if (gap === undefined) test(title, work);
      else test.fails(`${title} (gap: ${gap})`, work);
    }

    /** What is the plugin's own, whatever the server. */
    function checkOnce(title: string, work: () => Promise<void>): void {
      if (target.isBrief !== true) check(title, work);
    }

    const put = (name: string, bytes: Uint8Array) =>
      store.put(key(name), makeBody(bytes), { signal: never() });
    async function get(name: string, range?: { readonly start: number; readonly end: number }) {
      const sink = makeSink();
      await store.get(key(name), range, sink, { signal: never() });
      return sink;
    }
    async function list(prefix: string): Promise<ObjectInfo[]> {
      const found: ObjectInfo[] = [];
      for await (const object of store.list(prefix, { signal: never() })) found.push(object);
      return found;
    }

    check('the start-up check passes', () => store.check({ signal: never() }));

    const boundary = target.multipartFromBytes;
    const sizes = [0, 1, 65_536];
    if (boundary !== undefined) sizes.push(boundary + 1);
    if (target.isBrief !== true) {
      sizes.push(65_535, 65_537, 64 * MIB);
      if (boundary !== undefined) sizes.push(boundary - 1, boundary);
    }
    for (const sizeBytes of new Set(sizes)) {
      check(`${sizeBytes} bytes go in and come back`, async () => {
        const bytes = makeBytes(sizeBytes, sizeBytes + 1);
        await put(`size-${sizeBytes}`, bytes);
        const sink = await get(`size-${sizeBytes}`);
        expectSameBytes(sink.bytes(), bytes);
        expect(sink.totalBytes()).toBe(sizeBytes);
        expect(await store.head(key(`size-${sizeBytes}`), { signal: never() })).toMatchObject({
          sizeBytes,
        });
      });
    }

    checkOnce('a large content is never read as a whole', async () => {
      const body = makeBody(makeBytes(24 * MIB));
      await store.put(key('pieces'), body, { signal: never() });
      expect(body.largestRead()).toBeLessThanOrEqual(MIB);
    });

    describe('ranges', () => {
      const bytes = makeBytes(100_000, 7);
      beforeAll(() => put('ranges', bytes));

      for (const [start, end] of [
        [0, 1],
        [0, 750],
        [1, 2],
        [49_999, 70_001],
        [99_999, 100_000],
        [0, 100_000],
      ] as const) {
        check(`bytes ${start} to ${end}`, async () => {
          const sink = await get('ranges', { start, end });
          expectSameBytes(sink.bytes(), bytes.subarray(start, end));
          expect(sink.totalBytes()).toBe(bytes.length);
        });
      }

      check('one that ends past the end is an error, never a short answer', async () => {
        await expectFailure(get('ranges', { start: 99_990, end: 100_001 }), 'BAD_RANGE');
        await expectFailure(get('ranges', { start: 0, end: 100_001 }), 'BAD_RANGE');
      });

      check('one that starts at or past the end is an error', async () => {
        await expectFailure(get('ranges', { start: 100_000, end: 100_001 }), 'BAD_RANGE');
        await expectFailure(get('ranges', { start: 200_000, end: 200_010 }), 'BAD_RANGE');
      });

      check('any of an empty object is an error', async () => {
        await put('empty', new Uint8Array());
        await expectFailure(get('empty', { start: 0, end: 1 }), 'BAD_RANGE');
      });

      check('one of a missing object is NOT_FOUND', async () => {
        await expectFailure(get('missing', { start: 0, end: 1 }), 'NOT_FOUND');
      });
    });

    check('a second write replaces the first, also by a shorter content', async () => {
      await put('twice', makeBytes(70_000, 1));
      await put('twice', makeBytes(10, 2));
      expectSameBytes((await get('twice')).bytes(), makeBytes(10, 2));
    });

    for (const sizeBytes of new Set([10, (boundary ?? 0) + 1])) {
      check(
        `a write of ${sizeBytes} bytes may be for one version of the object alone`,
        async () => {
          const name = `versions-${sizeBytes}`;
          const replace = (onlyIfVersion: string | undefined, seed: number) =>
            store.put(key(name), makeBody(makeBytes(sizeBytes, seed)), {
              signal: never(),
              onlyIfVersion,
            });
          const versionNow = async () =>
            (await store.head(key(name), { signal: never() }))?.version;
          await put(name, makeBytes(20, 1));
          const first = await versionNow();
          expect(first).toBeDefined();
          await replace(first, 2);
          expectSameBytes((await get(name)).bytes(), makeBytes(sizeBytes, 2));
          await expectFailure(replace(first, 3), 'NOT_FOUND');
          expectSameBytes((await get(name)).bytes(), makeBytes(sizeBytes, 2));
          const second = await versionNow();
          expect(second).not.toBe(first);
          await store.delete(key(name), { signal: never() });
          await expectFailure(replace(second, 4), 'NOT_FOUND');
          expect(await store.head(key(name), { signal: never() })).toBeUndefined();
        },
      );
    }

    check('a missing object is NOT_FOUND to a read and nothing to a look-up', async () => {
      const error = await expectFailure(get('missing'), 'NOT_FOUND');
      expect(error.message).toContain(key('missing'));
      expect(await store.head(key('missing'), { signal: never() })).toBeUndefined();
    });

    check('a removal removes, and a second one is success', async () => {
      await put('removed', makeBytes(10));
      await store.delete(key('removed'), { signal: never() });
      await expectFailure(get('removed'), 'NOT_FOUND');
      await store.delete(key('removed'), { signal: never() });
    });

    check('keys may hold any legal character', async () => {
      const names = [
        'a space',
        'plus+',
        'percent%41%',
        'ümlaut-日本-😀',
        'amp&ersand',
        'hash#',
        'question?x=1',
        "quote'",
        'double"quote',
        'paren(thesis)*!~',
        'at@colon:semicolon;comma,',
        'dollar$=',
        'dots..and.dots',
        'back`tick',
      ];
      for (const [index, name] of names.entries()) {
        const bytes = makeBytes(100 + index);
        await put(`odd/${name}`, bytes);
        expectSameBytes((await get(`odd/${name}`)).bytes(), bytes);
      }
      const listed = await list(key('odd/'));
      expect(listed.map((object) => object.key).sort()).toEqual(
        names.map((name) => key(`odd/${name}`)).sort(),
      );
      for (const name of names) await store.delete(key(`odd/${name}`), { signal: never() });
      expect(await list(key('odd/'))).toEqual([]);
    });

    check('a prefix may hold any legal character too', async () => {
      const prefix = 'sp ace/pl+us/per%cent/ü & #?/';
      await put(`${prefix}object`, makeBytes(5));
      const listed = await list(key(prefix));
      expect(listed).toHaveLength(1);
      expect(listed[0]).toMatchObject({ key: key(`${prefix}object`), sizeBytes: 5 });
      expect(Math.abs(Date.now() - (listed[0]?.modified.getTime() ?? 0))).toBeLessThan(60_000);
    });

    check('a listing goes over all pages and stops at its prefix', async () => {
      const names = Array.from(
        { length: target.listedObjects ?? LISTED_OBJECTS },
        (_, index) => `${String(index).padStart(5, '0')}.dcm`,
      );
      const pending = [...names];
      await Promise.all(
        Array.from({ length: 20 }, async () => {
          for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
            await put(`listed/${name}`, makeBytes(1));
          }
        }),
      );
      await put('listed-not/x', makeBytes(1));
      await put('liste', makeBytes(1));
      const listed = await list(key('listed/'));
      expect(listed.map((object) => object.key).sort()).toEqual(
        names.map((name) => key(`listed/${name}`)),
      );
      expect(await list(key('nothing-here/'))).toEqual([]);
    });

    checkOnce('a listing can be left early', async () => {
      await put('left/1', makeBytes(1));
      await put('left/2', makeBytes(1));
      for await (const object of store.list(key('left/'), { signal: never() })) {
        expect(object.sizeBytes).toBe(1);
        break;
      }
    });

    check('50 at once over 5 connections all succeed', async () => {
      const narrow = open({ maxConnections: 5 });
      await Promise.all(
        Array.from({ length: 50 }, async (_, index) => {
          const bytes = makeBytes(20_000 + index, index + 1);
          const name = key(`parallel/${index}`);
          await narrow.put(name, makeBody(bytes), { signal: never() });
          const sink = makeSink();
          await narrow.get(name, undefined, sink, { signal: never() });
          expectSameBytes(sink.bytes(), bytes);
        }),
      );
    });

    check('many objects go at once, those that are not there too, and no others', async () => {
      if (store.deleteMany === undefined) return;
      // More than a batch of Azure's.
      const names = Array.from(
        { length: target.listedObjects ?? 300 },
        (_, at) => `many/${at}.dcm`,
      );
      const odd = ["many/a b+c%&='<ü>.dcm", 'many/ blank'];
      const kept = 'many/kept.dcm';
      const there = [...names.slice(0, 20), ...odd, kept];
      await Promise.all(there.map((name) => put(name, makeBytes(10))));
      const keys = [...names, ...odd].map(key);
      expect(await store.deleteMany(keys, { signal: never() })).toEqual(new Map());
      expect((await list(key('many/'))).map((object) => object.key)).toEqual([key(kept)]);
      expect(await store.deleteMany([key(kept)], { signal: never() })).toEqual(new Map());
      expect(await list(key('many/'))).toEqual([]);
    });

    checkOnce('an abort is a failure of each key', async () => {
      const signal = AbortSignal.abort();
      const failures = await store.deleteMany?.([key('a'), key('b')], { signal });
      if (failures === undefined) return;
      expect([...failures.values()].map(({ code }) => code)).toEqual(['ABORTED', 'ABORTED']);
    });

    check('of concurrent writes of one key, one wins whole', async () => {
      const candidates = Array.from({ length: 8 }, (_, index) => makeBytes(100_000, index + 1));
      await Promise.all(candidates.map((bytes) => put('contended', bytes)));
      const sink = makeSink();
      const reading = store.get(key('contended'), undefined, sink, { signal: never() });
      const failure = await reading.catch((error: unknown) => error);
      if (target.mayMixWrites === true && failure instanceof StorageError) {
        expect(failure.code).toBe('INTEGRITY');
        return;
      }
      expect(failure).toBeUndefined();
      const bytes = sink.bytes();
      expect(candidates.some((candidate) => Buffer.compare(candidate, bytes) === 0)).toBe(true);
    });

    checkOnce('what is aborted before it starts fails and stores nothing', async () => {
      const body = makeBody(makeBytes(10));
      body.end();
      const signal = AbortSignal.abort();
      await expectFailure(store.put(key('aborted'), body, { signal }), 'ABORTED');
      await expectFailure(store.get(key('twice'), undefined, makeSink(), { signal }), 'ABORTED');
      await expectFailure(store.delete(key('twice'), { signal }), 'ABORTED');
      await expectFailure(store.head(key('twice'), { signal }), 'ABORTED');
      await expectFailure(
        store.list(key(''), { signal })[Symbol.asyncIterator]().next(),
        'ABORTED',
      );
      expect(body.readsAfterEnd()).toBe(0);
      await expectFailure(get('aborted'), 'NOT_FOUND');
    });

    checkOnce('a write aborted midway stores nothing and leaves the body alone', async () => {
      const controller = new AbortController();
      const bytes = makeBytes(48 * MIB);
      const body = makeBody(bytes);
      const watched = bodyFrom(body.sizeBytes, (start, target) => {
        // In the second half, so that sending has begun in any provider that digests first.
        if (body.readBytes() > 60 * MIB || start > 24 * MIB) controller.abort();
        body.readInto(start, target);
      });
      const writing = store.put(key('midway'), watched, { signal: controller.signal });
      await expectFailure(writing, 'ABORTED');
      body.end();
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(body.readsAfterEnd()).toBe(0);
      await expectFailure(get('midway'), 'NOT_FOUND');
    });

    checkOnce('a read aborted midway leaves the sink alone', async () => {
      await put('read-midway', makeBytes(32 * MIB));
      const controller = new AbortController();
      const sink = makeSink();
      const watched = {
        ...sink,
        write(offset: number, bytes: Uint8Array) {
          if (offset > MIB) controller.abort();
          sink.write(offset, bytes);
        },
      };
      await expectFailure(
        store.get(key('read-midway'), undefined, watched, { signal: controller.signal }),
        'ABORTED',
      );
      sink.end();
      await new Promise((resolve) => setTimeout(resolve, 100));
      expect(sink.callsAfterEnd()).toBe(0);
      // The store goes on working.
      await put('after-abort', makeBytes(10));
    });

    checkOnce('what takes longer than the deadline fails with TIMEOUT', async () => {
      const hasty = open({ requestTimeoutMs: 20 });
      const body = makeBody(makeBytes(64 * MIB));
      const start = performance.now();
      await expectFailure(
        hasty.put(key('late'), body, { signal: never() }),
        'TIMEOUT',
        /RequestTimeout/,
      );
      expect(performance.now() - start).toBeLessThan(500);
    });

    for (const [mistake, code] of Object.entries(target.checkFailures)) {
      check(`${mistake}: the start-up check says so within 10 s`, async () => {
        const start = performance.now();
        const wrong = open({}, mistake as Mistake);
        const error = await expectFailure(wrong.check({ signal: never() }), code);
        expect(performance.now() - start).toBeLessThan(10_000);
        // A message that names no setting leaves its reader alone.
        expect(error.message).toMatch(
          /AwsS3Storage\.|AzureBlobStorage\.|GoogleCloudStorage\.|StorageDirectory/,
        );
      });
    }

    checkOnce('after close everything is CLOSED', async () => {
      const closed = open();
      await closed.put(key('closing'), makeBody(makeBytes(10)), { signal: never() });
      await closed.close();
      await expectFailure(
        closed.get(key('closing'), undefined, makeSink(), { signal: never() }),
        'CLOSED',
      );
      await expectFailure(
        closed.put(key('closing'), makeBody(makeBytes(10)), { signal: never() }),
        'CLOSED',
      );
    });
  });
}
