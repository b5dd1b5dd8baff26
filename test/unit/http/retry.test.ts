// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import { StorageError } from '../../../src/errors.ts';
import { delayMs } from '../../../src/http/retry.ts';
import { TransportError } from '../../../src/http/transport.ts';
import { createRetryStrategy, type RetryErrorInfo } from '../../../src/providers/s3/retry.ts';

describe('the wait before an attempt', () => {
  const usual = { isThrottled: false, retryAfterMs: undefined };
  const longest = () => 0.999_999;

  test('doubles up to 20 s, with full jitter', () => {
    expect([1, 2, 3, 8, 30].map((n) => Math.ceil(delayMs(n, usual, longest) / 100))).toEqual([
      1, 2, 4, 128, 200,
    ]);
    expect(delayMs(30, usual, () => 0)).toBe(0);
  });

  test('is longer after "slow down"', () => {
    expect(delayMs(1, { ...usual, isThrottled: true }, longest)).toBe(499);
  });

  test('is what the server asks for, up to a minute', () => {
    expect(delayMs(1, { ...usual, retryAfterMs: 3_000 }, longest)).toBe(3_000);
    expect(delayMs(1, { ...usual, retryAfterMs: 3_600_000 }, longest)).toBe(60_000);
    expect(delayMs(3, { ...usual, retryAfterMs: -5_000 }, longest)).toBe(399);
  });
});

describe('the strategy given to the SDK', () => {
  const transport = (code: string, transient: boolean) =>
    new TransportError(code, 'message', transient, undefined);

  async function retriesOf(
    error: unknown,
    errorType: RetryErrorInfo['errorType'],
    changes: { maxRetries?: number; retryConnecting?: boolean } = {},
  ): Promise<number> {
    const strategy = createRetryStrategy({
      maxRetries: 3,
      retryConnecting: true,
      closing: new AbortController().signal,
      random: () => 0,
      tell: () => undefined,
      ...changes,
    });
    let token = await strategy.acquireInitialRetryToken('');
    try {
      for (;;) token = await strategy.refreshRetryTokenForRetry(token, { error, errorType });
    } catch {
      return token.getRetryCount();
    }
  }

  test.each<[string, unknown, RetryErrorInfo['errorType'], number]>([
    ['a reset', transport('ECONNRESET', true), 'CLIENT_ERROR', 3],
    ['nobody listening', transport('ECONNREFUSED', true), 'CLIENT_ERROR', 3],
    ['a bad certificate', transport('CERT_HAS_EXPIRED', false), 'CLIENT_ERROR', 0],
    ['a server error', new Error('x'), 'TRANSIENT', 3],
    ['throttling', new Error('x'), 'THROTTLING', 3],
    ['a refusal', new Error('x'), 'CLIENT_ERROR', 0],
    ['a short body', new StorageError('SHORT_BODY', 'x'), 'CLIENT_ERROR', 3],
    ['an altered body', new StorageError('INTEGRITY', 'x'), 'CLIENT_ERROR', 1],
    ["somebody else's answer", transport('FOREIGN_ANSWER', true), 'CLIENT_ERROR', 1],
    ['a range past the end', new StorageError('BAD_RANGE', 'x'), 'CLIENT_ERROR', 0],
    ['an abort', new StorageError('ABORTED', 'x'), 'CLIENT_ERROR', 0],
  ])('repeats %s as often as it should', async (_name, error, type, retries) => {
    expect(await retriesOf(error, type)).toBe(retries);
  });

  test('follows MaxRetries, 0 included', async () => {
    expect(await retriesOf(new Error('x'), 'TRANSIENT', { maxRetries: 0 })).toBe(0);
    expect(await retriesOf(new Error('x'), 'TRANSIENT', { maxRetries: 150 })).toBe(150);
  });

  test('does not wait for a server that cannot be reached at start', async () => {
    const changes = { retryConnecting: false };
    expect(await retriesOf(transport('ECONNREFUSED', true), 'CLIENT_ERROR', changes)).toBe(0);
    expect(await retriesOf(transport('ECONNRESET', true), 'CLIENT_ERROR', changes)).toBe(3);
  });

  test('a wait ends when the store is closed', async () => {
    const closing = new AbortController();
    const strategy = createRetryStrategy({
      maxRetries: 3,
      retryConnecting: true,
      closing: closing.signal,
      random: () => 1,
      tell: () => undefined,
    });
    const token = await strategy.acquireInitialRetryToken('');
    const waiting = strategy.refreshRetryTokenForRetry(token, {
      errorType: 'THROTTLING',
      retryAfterHint: new Date(Date.now() + 60_000),
    });
    closing.abort();
    await expect(waiting).rejects.toThrow();
  });
});
