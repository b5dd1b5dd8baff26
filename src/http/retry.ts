// SPDX-License-Identifier: GPL-3.0-or-later
// When and how soon a request is repeated: the same for all providers, whoever does the repeating.

import { StorageError } from '../errors.ts';
import { abortReason, sleepUntilAborted, tellFailure } from '../store/abort.ts';
import { TransportError } from './transport.ts';

/** First delay; doubles with each attempt. */
const BASE_DELAY_MS = 100;
/** The same after "slow down". */
const THROTTLED_BASE_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;
/** A server's Retry-After is followed up to here. */
const MAX_HINT_MS = 60_000;

/** Their waits take 3 s on average, so that they are over within the time that a removal may take (store/deadline.ts), and its error
 *  says what was wrong rather than that time was up. */
const MAX_REMOVAL_RETRIES = 6;

export function removalRetries(maxRetries: number): number {
  return Math.min(maxRetries, MAX_REMOVAL_RETRIES);
}

/** Why an attempt may be repeated. */
export interface Repeatable {
  readonly isThrottled: boolean;
  /** What the server asked for. */
  readonly retryAfterMs: number | undefined;
}

/** Full jitter, so that many clients do not come back together.
 *  @param retries 1 for the first repetition */
export function delayMs(
  retries: number,
  { isThrottled, retryAfterMs = 0 }: Repeatable,
  random: () => number,
): number {
  const base = isThrottled ? THROTTLED_BASE_DELAY_MS : BASE_DELAY_MS;
  const delay = random() * Math.min(MAX_DELAY_MS, base * 2 ** (retries - 1));
  return Math.floor(Math.max(delay, Math.min(retryAfterMs, MAX_HINT_MS)));
}

/** What another attempt may change: a network that stumbled, a body that broke off or arrived altered.
 *  @returns undefined for what is neither TransportError nor StorageError */
export function isTransientFailure(thrown: unknown): boolean | undefined {
  if (thrown instanceof TransportError) return thrown.transient;
  if (thrown instanceof StorageError) {
    return !thrown.isFinal && (thrown.code === 'SHORT_BODY' || thrown.code === 'INTEGRITY');
  }
  return undefined;
}

/** How often a doubtful answer is asked for again, whatever MaxRetries says. */
export const MAX_WRONG_ANSWERS = 1;

/** An answer that came whole and is not what it should be, or not the server's. If it was altered on the way, or given by a gateway
 *  that just restarts, the next one is right. An object that is damaged where it lies and a web filter that blocks stay as they
 *  are, and each attempt may be a large download. */
export function isWrongAnswer(thrown: unknown): boolean {
  return (
    (thrown instanceof StorageError && thrown.code === 'INTEGRITY') ||
    (thrown instanceof TransportError && thrown.code === 'FOREIGN_ANSWER')
  );
}

/** The server was never reached: at start nobody listens, and the user waits for the message. */
export function isConnectError(error: unknown): boolean {
  return (
    error instanceof TransportError &&
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT)$/.test(
      error.code,
    )
  );
}

/** Whether waiting may mend what a check found: a store that is not up yet, or cannot be reached. Not a mistake, which a page of somebody
 *  else's mostly is. */
export function mayPass(error: StorageError): boolean {
  const isForeign = error.cause instanceof TransportError && error.cause.code === 'FOREIGN_ANSWER';
  return ['UNAVAILABLE', 'TIMEOUT', 'THROTTLED'].includes(error.code) && !isForeign;
}

/** Repeats an attempt up to so many times, for as long as `judge` finds reason to. For SDKs whose own retries cannot be made to
 *  follow MaxRetries, Retry-After and the signal. */
export async function withRetries<T>(
  options: {
    readonly maxRetries: number;
    readonly signal: AbortSignal;
    readonly random: () => number;
    judge(thrown: unknown): Repeatable | undefined;
  },
  attempt: () => Promise<T>,
): Promise<T> {
  const { signal } = options;
  let doubts = 0;
  for (let retries = 0; ; ) {
    if (signal.aborted) throw abortReason(signal);
    try {
      return await attempt();
    } catch (thrown) {
      const reason = signal.aborted ? undefined : options.judge(thrown);
      if (isWrongAnswer(thrown)) doubts += 1;
      if (reason === undefined || retries === options.maxRetries || doubts > MAX_WRONG_ANSWERS) {
        throw thrown;
      }
      retries += 1;
      tellFailure(signal, thrown);
      await sleepUntilAborted(delayMs(retries, reason, options.random), signal);
    }
  }
}
