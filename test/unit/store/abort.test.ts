// SPDX-License-Identifier: GPL-3.0-or-later

import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { Cancellation, tellFailure, untilAborted } from '../../../src/store/abort.ts';
import { expectFailure } from '../../support/bodies.ts';

describe('a cancellation', () => {
  test('follows each outer signal, with its reason, until it is released', () => {
    const outer = [new AbortController(), new AbortController()] as const;
    const signals = outer.map(({ signal }) => signal);
    const reason = new StorageError('CLOSED', 'closed');
    const [followed, released] = [new Cancellation(...signals), new Cancellation(...signals)];
    released.release();
    outer[1].abort(reason);
    expect(followed).toMatchObject({ aborted: true, reason });
    expect(released.aborted).toBe(false);
    const late = new Cancellation(...signals);
    expect(late).toMatchObject({ aborted: true, reason });
    followed.release();
    late.release();
    expect(getEventListeners(outer[0].signal, 'abort')).toHaveLength(0);
  });

  test('tells its listeners once, of the first reason, and not those that left', () => {
    const cancellation = new Cancellation();
    const told: string[] = [];
    const listen = (name: string) => {
      const listener = () => told.push(`${name}: ${String(cancellation.reason)}`);
      cancellation.addEventListener('abort', listener);
      return listener;
    };
    listen('one');
    const other = listen('other');
    cancellation.addEventListener('abort', { handleEvent: () => told.push('an object') });
    cancellation.removeEventListener('abort', other);
    cancellation.abort('first');
    cancellation.abort('second');
    expect(told).toEqual(['one: first', 'an object']);
  });

  test('passes failures on outward, up to whoever hears them', () => {
    const outer = new Cancellation();
    const middle = new Cancellation(new AbortController().signal, outer);
    const inner = new Cancellation(middle);
    const heard: unknown[] = [];
    outer.onFailure = (failure) => heard.push(['outer', failure]);
    tellFailure(inner, 1);
    middle.onFailure = (failure) => heard.push(['middle', failure]);
    tellFailure(inner, 2);
    expect(heard).toEqual([
      ['outer', 1],
      ['middle', 2],
    ]);
  });
});

describe('untilAborted', () => {
  const { signal: never } = new AbortController();

  test('leaves no listener behind, however the work ends', async () => {
    await expect(untilAborted(Promise.resolve('done'), never)).resolves.toBe('done');
    await expect(untilAborted(Promise.reject(new Error('failed')), never)).rejects.toThrow();
    expect(getEventListeners(never, 'abort')).toHaveLength(0);
  });

  test('does not wait for work that ignores an abort, nor for its late failure', async () => {
    const cancellation = new Cancellation();
    let fail: (error: Error) => void = () => undefined;
    const work = new Promise<void>((_, reject) => {
      fail = reject;
    });
    const waiting = untilAborted(work, cancellation);
    cancellation.abort(new StorageError('CLOSED', 'closed'));
    await expectFailure(waiting, 'CLOSED');
    fail(new Error('late'));
    await expectFailure(untilAborted(work, cancellation), 'CLOSED');
  });
});
