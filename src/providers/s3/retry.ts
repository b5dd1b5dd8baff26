// SPDX-License-Identifier: GPL-3.0-or-later
// When and how soon the SDK repeats a request. The SDK's own strategy stops all retries of a client once 500 tokens are spent
// (@smithy/core 3.41, StandardRetryStrategy), about 100 retries for everybody: during an outage of minutes, MaxRetries would not
// be what the user set, and an instance would be refused that the next attempt might have stored.

import { setTimeout } from 'node:timers/promises';
import { StorageError } from '../../errors.ts';
import { TransportError } from '../transport.ts';

/** First delay; doubles with each attempt. As in the SDK. */
const BASE_DELAY_MS = 100;
/** The same after "slow down". As in the SDK. */
const THROTTLED_BASE_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;
/** A server's Retry-After is followed up to here. */
const MAX_HINT_MS = 60_000;

/** The SDK waits for getRetryDelay, but its timer outlives an abort and keeps the event loop from ending; so the waiting is done
 *  here and the delay is 0. */
export interface RetryToken {
  getRetryCount(): number;
  getRetryDelay(): number;
}

export interface RetryErrorInfo {
  readonly error?: unknown;
  readonly errorType: 'TRANSIENT' | 'THROTTLING' | 'SERVER_ERROR' | 'CLIENT_ERROR';
  readonly retryAfterHint?: Date;
}

/** The SDK's interface RetryStrategyV2. */
export interface RetryStrategy {
  readonly mode: 'standard';
  acquireInitialRetryToken(scope: string): Promise<RetryToken>;
  refreshRetryTokenForRetry(token: RetryToken, info: RetryErrorInfo): Promise<RetryToken>;
  recordSuccess(token: RetryToken): void;
}

export function createRetryStrategy(options: {
  readonly maxRetries: number;
  /** False at start: nobody listens, and the user waits for the message. */
  readonly retryConnecting: boolean;
  readonly closing: AbortSignal;
  readonly random: () => number;
}): RetryStrategy {
  return {
    mode: 'standard',
    acquireInitialRetryToken: () => Promise.resolve(createToken(0)),
    async refreshRetryTokenForRetry(token, info) {
      const retries = token.getRetryCount() + 1;
      const isAllowed = options.retryConnecting || !isConnectError(info.error);
      if (retries > options.maxRetries || !isAllowed || !isTransient(info)) {
        throw new Error('no further attempt');
      }
      const delay = delayMs(retries, info, options.random);
      await setTimeout(delay, undefined, { signal: options.closing });
      return createToken(retries);
    },
    recordSuccess: () => undefined,
  };
}

function createToken(retries: number): RetryToken {
  return { getRetryCount: () => retries, getRetryDelay: () => 0 };
}

/** Full jitter, so that many clients do not come back together. */
function delayMs(retries: number, info: RetryErrorInfo, random: () => number): number {
  const base = info.errorType === 'THROTTLING' ? THROTTLED_BASE_DELAY_MS : BASE_DELAY_MS;
  const delay = random() * Math.min(MAX_DELAY_MS, base * 2 ** (retries - 1));
  const hint = info.retryAfterHint === undefined ? 0 : info.retryAfterHint.getTime() - Date.now();
  return Math.floor(Math.max(delay, Math.min(hint, MAX_HINT_MS)));
}

function isTransient(info: RetryErrorInfo): boolean {
  const { error } = info;
  if (error instanceof TransportError) return error.transient;
  // Thrown while the answer was being received: a body that broke off or arrived altered.
  if (error instanceof StorageError)
    return error.code === 'SHORT_BODY' || error.code === 'INTEGRITY';
  return info.errorType === 'TRANSIENT' || info.errorType === 'THROTTLING';
}

function isConnectError(error: unknown): boolean {
  return (
    error instanceof TransportError &&
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT)$/.test(
      error.code,
    )
  );
}
