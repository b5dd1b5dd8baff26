// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { AnswerError } from '../../../src/http/answer-error.ts';
import { createRetry, delayMs, type RetryOptions } from '../../../src/http/retry.ts';
import { TransportError } from '../../../src/http/transport.ts';

describe('the wait before an attempt', () => {
  const longest = () => 0.999_999;

  test('doubles up to 20 s, with full jitter', () => {
    expect(
      [1, 2, 3, 8, 30].map((n) => Math.ceil(delayMs(n, 'transient', undefined, longest) / 100)),
    ).toEqual([1, 2, 4, 128, 200]);
    expect(delayMs(30, 'transient', undefined, () => 0)).toBe(0);
  });

  test('is longer after "slow down"', () => {
    expect(delayMs(1, 'throttled', undefined, longest)).toBe(499);
  });

  test('is what the server asks for, up to a minute', () => {
    expect(delayMs(1, 'transient', 3_000, longest)).toBe(3_000);
    expect(delayMs(1, 'transient', 3_600_000, longest)).toBe(60_000);
    expect(delayMs(3, 'transient', -5_000, longest)).toBe(399);
  });
});

const transportError = (code: string, transient: boolean) =>
  new TransportError(code, 'message', transient, undefined);
const answerError = (status: number, headers = {}, code?: string) =>
  new AnswerError({ status, headers, body: new Uint8Array() }, { code });

describe('attempts', () => {
  const { signal } = new AbortController();

  /** @param failures one after the other; the last stays */
  async function attemptsOf(
    failures: unknown,
    changes: Partial<RetryOptions> = {},
  ): Promise<number> {
    const usual = { maxRetries: 3, retryConnecting: true, random: () => 0 };
    let attempts = 0;
    const all = Array.isArray(failures) ? failures : [failures];
    const failing = createRetry({ ...usual, ...changes })(signal, () => {
      attempts += 1;
      throw all[Math.min(attempts, all.length) - 1];
    });
    await expect(failing).rejects.toBe(all.at(-1));
    return attempts;
  }

  test.each<[string, unknown, number]>([
    ['a reset', transportError('ECONNRESET', true), 4],
    ['a reset beneath an error of an SDK', new Error('x', { cause: transportError('x', true) }), 4],
    ['nobody listening', transportError('ECONNREFUSED', true), 4],
    ['a bad certificate', transportError('CERT_HAS_EXPIRED', false), 1],
    ['a server that fails', answerError(500), 4],
    ['a server that cannot', answerError(501), 1],
    ['a network before the server that cannot reach it', answerError(522), 4],
    ['a portal that wants a login', answerError(511), 1],
    ['throttling', answerError(503, { 'retry-after': '0' }), 4],
    ['a refusal', answerError(403), 1],
    ['a short body', new StorageError('SHORT_BODY', 'x'), 4],
    ['an altered body', new StorageError('INTEGRITY', 'x'), 2],
    ['a final one', new StorageError('INTEGRITY', 'x', { isFinal: true }), 1],
    ["somebody else's answer", transportError('FOREIGN_ANSWER', true), 2],
    ['a range past the end', new StorageError('BAD_RANGE', 'x'), 1],
    ['an abort', new StorageError('ABORTED', 'x'), 1],
    ['what nobody knows', new Error('x'), 1],
  ])('are made as often as they should for %s', async (_name, error, attempts) => {
    expect(await attemptsOf(error)).toBe(attempts);
  });

  test('follow MaxRetries, 0 included', async () => {
    expect(await attemptsOf(answerError(500), { maxRetries: 0 })).toBe(1);
    expect(await attemptsOf(answerError(500), { maxRetries: 150 })).toBe(151);
  });

  test('end at once where a server cannot be reached at start', async () => {
    const changes = { retryConnecting: false };
    expect(await attemptsOf(transportError('ECONNREFUSED', true), changes)).toBe(1);
    expect(await attemptsOf(transportError('ECONNRESET', true), changes)).toBe(4);
  });

  test('are repeated for what a provider knows to pass', async () => {
    const classify = (thrown: unknown) =>
      thrown instanceof AnswerError && thrown.code === 'Busy' ? 'transient' : undefined;
    expect(await attemptsOf(answerError(400, {}, 'Busy'), { classify })).toBe(4);
    expect(await attemptsOf(answerError(400, {}, 'Wrong'), { classify })).toBe(1);
  });

  test('are made anew, once for each status, where a provider repaired what was wrong', async () => {
    const seen: number[] = [];
    const recover = ({ status }: AnswerError) => {
      seen.push(status);
      return true;
    };
    const failures = [401, 301, 401].map((status) => answerError(status));
    expect(await attemptsOf(failures, { recover, maxRetries: 0 })).toBe(3);
    expect(seen).toEqual([401, 301]);
  });

  test.each([
    ['in seconds', () => '7', 7_000],
    ['as a date', () => new Date(Date.now() + 7_500).toUTCString(), 7_000],
    ['in no words', () => 'soon', undefined],
  ])('know when a server wants the next one: %s', (_name, hint, waitMs) => {
    const told = answerError(503, { 'retry-after': hint() }).retryAfterMs;
    if (waitMs === undefined) expect(told).toBeUndefined();
    else expect(Math.abs((told ?? 0) - waitMs)).toBeLessThan(1_000);
  });
});
