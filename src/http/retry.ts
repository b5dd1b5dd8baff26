// SPDX-License-Identifier: GPL-3.0-or-later
// When and how soon a request is repeated: the same for all providers.

import { StorageError } from '../errors.ts';
import { abortReason, type Signal, sleepUntilAborted, tellFailure } from '../store/abort.ts';
import { AnswerError } from './answer-error.ts';
import { TransportError } from './transport.ts';

/** First delay; doubles with each attempt. */
const BASE_DELAY_MS = 100;
/** The same after "slow down". */
const THROTTLED_BASE_DELAY_MS = 500;
const MAX_DELAY_MS = 20_000;
/** A server's Retry-After is followed up to here. */
const MAX_RETRY_AFTER_MS = 60_000;

/** Their waits take 3 s on average, so that a removal fails with what was wrong before its time is up (store/deadline.ts). */
const MAX_REMOVAL_RETRIES = 6;

/** Of the check at start: enough to survive a lost connection or a server that fails once. */
export const CHECK_RETRIES = 2;

export function removalRetries(maxRetries: number): number {
  return Math.min(maxRetries, MAX_REMOVAL_RETRIES);
}

/** Full jitter, so that many clients do not come back together.
 *  @param retries 1 for the first repetition
 *  @param retryAfterMs what the server asked for */
export function delayMs(
  retries: number,
  reason: RetryReason,
  retryAfterMs: number | undefined,
  random: () => number,
): number {
  const base = reason === 'throttled' ? THROTTLED_BASE_DELAY_MS : BASE_DELAY_MS;
  const delay = random() * Math.min(MAX_DELAY_MS, base * 2 ** (retries - 1));
  return Math.floor(Math.max(delay, Math.min(retryAfterMs ?? 0, MAX_RETRY_AFTER_MS)));
}

/** Why an attempt is repeated: the server asks for fewer requests, or the next one may succeed. */
export type RetryReason = 'throttled' | 'transient';

export interface RetryOptions {
  readonly maxRetries: number;
  /** False at start: nobody listens, and the user waits for the message. */
  readonly retryConnecting: boolean;
  /** What the provider knows beyond what holds for all: its codes for failures that pass, and errors of its SDK. */
  readonly classify?: (thrown: unknown) => RetryReason | undefined;
  /** Repairs what made the server refuse, such as an expired token. Asked once for each status.
   *  @returns true where another attempt at once makes sense */
  readonly recover?: (error: AnswerError) => boolean | Promise<boolean>;
  /** For tests. */
  readonly random?: () => number;
}

/** Repeats an attempt as the settings say.
 *  @throws what the last attempt threw; what the signal says */
export type Retry = <T>(signal: Signal, attempt: () => Promise<T>) => Promise<T>;

export function createRetry(options: RetryOptions): Retry {
  const { maxRetries, random = Math.random } = options;

  function reasonFor(thrown: unknown, failure: unknown): RetryReason | undefined {
    if (!options.retryConnecting && isConnectError(failure)) return undefined;
    return options.classify?.(thrown) ?? commonReason(failure);
  }

  return async (signal, attempt) => {
    const recovered = new Set<number>();
    let wrongAnswers = 0;
    for (let retries = 0; ; ) {
      if (signal.aborted) throw abortReason(signal);
      try {
        return await attempt();
      } catch (thrown) {
        if (signal.aborted) throw thrown;
        const failure = failureBeneath(thrown);
        const refusal = failure instanceof AnswerError ? failure : undefined;
        if (refusal !== undefined && !recovered.has(refusal.status)) {
          recovered.add(refusal.status);
          if ((await options.recover?.(refusal)) === true) continue;
        }
        if (isWrongAnswer(failure)) wrongAnswers += 1;
        const reason = reasonFor(thrown, failure);
        if (reason === undefined || retries === maxRetries || wrongAnswers > MAX_WRONG_ANSWERS) {
          throw thrown;
        }
        retries += 1;
        tellFailure(signal, thrown);
        const waitMs = delayMs(retries, reason, refusal?.retryAfterMs, random);
        await sleepUntilAborted(waitMs, signal);
      }
    }
  };
}

/** They stay: not implemented, version of HTTP, no space, a loop, a portal that wants a login. All others from 500 on may pass, also those
 *  of a network before the server, such as Cloudflare's 520 to 530. */
const LASTING_STATUS: ReadonlySet<number> = new Set([501, 505, 507, 508, 511]);

function commonReason(failure: unknown): RetryReason | undefined {
  if (failure instanceof AnswerError) {
    if (failure.status === 429 || failure.status === 503) return 'throttled';
    const isServers = failure.status >= 500 && !LASTING_STATUS.has(failure.status);
    return isServers || failure.status === 408 ? 'transient' : undefined;
  }
  const isTransient =
    failure instanceof TransportError
      ? failure.transient
      : failure instanceof StorageError &&
        !failure.isFinal &&
        (failure.code === 'SHORT_BODY' || failure.code === 'INTEGRITY');
  return isTransient ? 'transient' : undefined;
}

/** How often a wrong answer is asked for again, whatever MaxRetries says. */
const MAX_WRONG_ANSWERS = 1;

/** An answer that came whole and is not what it should be, or not the store's. If it was altered on the way, or given by a gateway
 *  that just restarts, the next one is right. An object that is damaged where it lies and a web filter that blocks stay as they
 *  are, and each attempt may be a large download. */
function isWrongAnswer(failure: unknown): boolean {
  return (
    (failure instanceof StorageError && failure.code === 'INTEGRITY') ||
    (failure instanceof TransportError && failure.code === 'FOREIGN_ANSWER')
  );
}

/** The server was never reached. */
export function isConnectError(error: unknown): boolean {
  return (
    error instanceof TransportError &&
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|CONNECT_TIMEOUT|ETIMEDOUT)$/.test(
      error.code,
    )
  );
}

/** Whether waiting may help with what a check found: a store that is not up yet, or cannot be reached. A foreign answer is mostly a
 *  mistake of the configuration. */
export function mayPass(error: StorageError): boolean {
  const isForeign = error.cause instanceof TransportError && error.cause.code === 'FOREIGN_ANSWER';
  return ['UNAVAILABLE', 'TIMEOUT', 'THROTTLED'].includes(error.code) && !isForeign;
}

/** SDKs wrap what the transport threw, some of them twice.
 *  @returns the error of ours beneath, else the one given */
export function failureBeneath(thrown: unknown): unknown {
  let current = thrown;
  for (let depth = 0; depth < MAX_WRAPPINGS && current instanceof Error; depth++) {
    const isOurs =
      current instanceof TransportError ||
      current instanceof StorageError ||
      current instanceof AnswerError;
    if (isOurs) return current;
    current = current.cause;
  }
  return thrown;
}

const MAX_WRAPPINGS = 5;
