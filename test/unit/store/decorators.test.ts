// SPDX-License-Identifier: GPL-3.0-or-later

import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { Cancellation, type Signal, tellFailure } from '../../../src/store/abort.ts';
import { withDeadline } from '../../../src/store/deadline.ts';
import { Semaphore, withLimit } from '../../../src/store/limit.ts';
import type { ObjectInfo, ObjectStore } from '../../../src/store/object-store.ts';
import { expectFailure, makeBody, makeSink, never } from '../../support/bodies.ts';

/** A store whose operations all do the same. */
function makeStore(work: (signal: Signal) => Promise<void>): ObjectStore {
  return {
    put: (_key, _body, { signal }) => work(signal),
    get: (_key, _range, _sink, { signal }) => work(signal),
    head: async (_key, { signal }) => {
      await work(signal);
      return undefined;
    },
    delete: (_key, { signal }) => work(signal),
    async *list(_prefix, { signal }): AsyncGenerator<ObjectInfo> {
      for (let index = 0; index < 3; index++) {
        await work(signal);
        yield { key: String(index), sizeBytes: 1, modified: new Date(0) };
      }
    },
    check: ({ signal }) => work(signal),
    close: () => Promise.resolve(),
  };
}

const forever = () => new Promise<void>(() => undefined);

const operations: readonly [string, (store: ObjectStore, signal: Signal) => Promise<unknown>][] = [
  ['put', (store, signal) => store.put('key', makeBody(new Uint8Array(1)), { signal })],
  ['get', (store, signal) => store.get('key', undefined, makeSink(), { signal })],
  ['head', (store, signal) => store.head('key', { signal })],
  ['delete', (store, signal) => store.delete('key', { signal })],
  ['list', (store, signal) => store.list('key', { signal })[Symbol.asyncIterator]().next()],
];

describe('a deadline', () => {
  test.each(operations)('ends %s, also of a store that does not listen', async (_name, operate) => {
    const store = withDeadline(makeStore(forever), 30);
    const error = await expectFailure(
      operate(store, never()),
      'TIMEOUT',
      /RequestTimeout \(0\.03 s\)/,
    );
    expect(error.message).toContain('"key"');
  });

  test.each(operations)('aborts the signal that %s was given', async (_name, operate) => {
    let seen: Signal | undefined;
    const store = withDeadline(
      makeStore((signal) => {
        seen = signal;
        return forever();
      }),
      10,
    );
    await expectFailure(operate(store, never()), 'TIMEOUT');
    expect(seen?.aborted).toBe(true);
  });

  test.each(operations)(
    'of %s tells the last failure that was to be repeated',
    async (_name, operate) => {
      const store = withDeadline(
        makeStore((signal) => {
          // As a provider does, whose own work is under a signal of its own.
          const inner = new Cancellation(signal);
          for (const [word, requestId] of [
            ['first', 'A'],
            ['last', 'B'],
          ] as const) {
            const message = `cannot do "a: b" in S3 bucket "c": the ${word} words`;
            tellFailure(inner, new StorageError('UNAVAILABLE', message, { requestId }));
          }
          return forever();
        }),
        20,
      );
      const message =
        /^cannot .* "key": not done within .*; the last attempt that failed: the last words$/;
      const error = await expectFailure(operate(store, never()), 'TIMEOUT', message);
      expect(error.requestId).toBe('B');
    },
  );

  test.each(operations)('leaves a quick %s alone', async (_name, operate) => {
    await operate(
      withDeadline(
        makeStore(() => Promise.resolve()),
        1_000,
      ),
      never(),
    );
  });

  test.each(operations)(
    'passes the abort of a caller of %s on, with its reason',
    async (_name, operate) => {
      const controller = new AbortController();
      const store = withDeadline(makeStore(forever), 10_000);
      const failed = expectFailure(operate(store, controller.signal), 'CLOSED');
      controller.abort(new StorageError('CLOSED', 'the end'));
      await failed;
    },
  );

  test('holds for each step of a listing, not for the listing', async () => {
    const store = withDeadline(
      makeStore(() => sleep(30)),
      60,
    );
    const keys: string[] = [];
    for await (const { key } of store.list('', { signal: never() })) keys.push(key);
    expect(keys).toEqual(['0', '1', '2']);
  });
});

describe('a limit', () => {
  test('lets so many run at once and the others in their order', async () => {
    const limiter = new Semaphore(2);
    const started: number[] = [];
    let running = 0;
    let most = 0;
    await Promise.all(
      Array.from({ length: 9 }, (_, index) =>
        limiter.run(never(), async () => {
          started.push(index);
          running += 1;
          most = Math.max(most, running);
          await sleep(5 - (index % 3));
          running -= 1;
        }),
      ),
    );
    expect(most).toBe(2);
    expect(started).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8]);
  });

  test('a failure makes room too', async () => {
    const limiter = new Semaphore(1);
    await expect(limiter.run(never(), () => Promise.reject(new Error('x')))).rejects.toThrow('x');
    expect(await limiter.run(never(), () => Promise.resolve(1))).toBe(1);
  });

  test('who is aborted while waiting never starts, and the next one does', async () => {
    const limiter = new Semaphore(1);
    let free: () => void = () => undefined;
    const first = limiter.run(never(), () => new Promise<void>((resolve) => (free = resolve)));
    const controller = new AbortController();
    let hasStarted = false;
    const second = limiter.run(controller.signal, () => {
      hasStarted = true;
      return Promise.resolve();
    });
    const third = limiter.run(never(), () => Promise.resolve('third'));
    controller.abort();
    await expectFailure(second, 'ABORTED');
    free();
    await first;
    expect(await third).toBe('third');
    expect(hasStarted).toBe(false);
  });

  test('who was aborted before does not start', async () => {
    await expectFailure(new Semaphore(1).run(AbortSignal.abort(), forever), 'ABORTED');
  });

  const counted = operations.filter(([name]) => name !== 'delete');
  test.each(counted)('counts %s', async (_name, operate) => {
    let running = 0;
    const store = withLimit(
      makeStore(async () => {
        running += 1;
        expect(running).toBe(1);
        await sleep(2);
        running -= 1;
      }),
      1,
    );
    await Promise.all([operate(store, never()), operate(store, never()), operate(store, never())]);
  });

  test('a removal waits for nobody, since Orthanc waits for it', async () => {
    let free: () => void = () => undefined;
    const held = new Promise<void>((resolve) => {
      free = resolve;
    });
    const store = withLimit({ ...makeStore(() => held), delete: () => Promise.resolve() }, 1);
    const reading = store.get('key', undefined, makeSink(), { signal: never() });
    await store.delete('key', { signal: never() });
    free();
    await reading;
  });

  test('a listing that is not read on keeps nobody waiting', async () => {
    const store = withLimit(
      makeStore(() => Promise.resolve()),
      1,
    );
    const objects = store.list('', { signal: never() })[Symbol.asyncIterator]();
    await objects.next();
    await store.head('key', { signal: never() });
  });
});
