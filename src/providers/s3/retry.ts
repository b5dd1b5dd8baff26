// SPDX-License-Identifier: GPL-3.0-or-later
// When and how soon the SDK repeats a request. The SDK's own strategy stops all retries of a client once 500 tokens are spent
// (@smithy/core 3.41, StandardRetryStrategy), about 100 retries for everybody: during an outage of minutes, MaxRetries would not
// be what the user set, and an instance would be refused that the next attempt might have stored.

import { setTimeout } from 'node:timers/promises';
import {
  delayMs,
  isConnectError,
  isTransientFailure,
  isWrongAnswer,
  MAX_WRONG_ANSWERS,
} from '../../http/retry.ts';

/** The SDK waits for getRetryDelay, but its timer outlives an abort and keeps the event loop from ending; so the waiting is done
 *  here and the delay is 0. */
export interface RetryToken {
  getRetryCount(): number;
  getRetryDelay(): number;
  /** Ours: how many of the attempts met a doubtful answer. */
  readonly doubts: number;
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
  /** Hears of each failure that is repeated. */
  readonly tell: (error: unknown) => void;
}): RetryStrategy {
  return {
    mode: 'standard',
    acquireInitialRetryToken: () => Promise.resolve(createToken(0, 0)),
    async refreshRetryTokenForRetry(token, info) {
      const retries = token.getRetryCount() + 1;
      const doubts = token.doubts + (isWrongAnswer(info.error) ? 1 : 0);
      const isAllowed =
        (options.retryConnecting || !isConnectError(info.error)) && doubts <= MAX_WRONG_ANSWERS;
      if (retries > options.maxRetries || !isAllowed || !isTransient(info)) {
        throw new Error('no further attempt');
      }
      options.tell(info.error);
      const isThrottled = info.errorType === 'THROTTLING';
      const retryAfterMs = info.retryAfterHint && info.retryAfterHint.getTime() - Date.now();
      const delay = delayMs(retries, { isThrottled, retryAfterMs }, options.random);
      await setTimeout(delay, undefined, { signal: options.closing });
      return createToken(retries, doubts);
    },
    recordSuccess: () => undefined,
  };
}

function createToken(retries: number, doubts: number): RetryToken {
  return { getRetryCount: () => retries, getRetryDelay: () => 0, doubts };
}

function isTransient({ error, errorType }: RetryErrorInfo): boolean {
  return (
    isTransientFailure(error) ??
    (errorType === 'TRANSIENT' ||
      errorType === 'THROTTLING' ||
      isMismatch(error) ||
      isConflict(error))
  );
}

/** Another request changes the same object at this moment: S3 asks to try again.
 *  @see https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
function isConflict(error: unknown): boolean {
  return (
    error instanceof Error && /^(OperationAborted|ConditionalRequestConflict)$/.test(error.name)
  );
}

/** What arrived is not what was sent, which the SDK takes for the client's fault. */
export function isMismatch(error: unknown): boolean {
  return (
    error instanceof Error &&
    /^(BadDigest|XAmzContentSHA256Mismatch|XAmzContentChecksumMismatch)$/.test(error.name)
  );
}
