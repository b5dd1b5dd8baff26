// SPDX-License-Identifier: GPL-3.0-or-later
// One attempt ahead of an SDK, at a fraction of its CPU: what does not plainly succeed is the SDK's to repeat.

import { StorageError } from '../errors.ts';
import { sleepUntilAborted, tellFailure } from '../store/abort.ts';
import type { Body } from '../store/object-store.ts';
import { delayMs } from './retry.ts';
import type { Answer, Headers, Receiver } from './transport.ts';

/** Each resolves with false when the SDK is to do it again.
 *  @throws StorageError for what another attempt would not change, and what the signal says */
export interface Lean {
  put(key: string, headers: Headers, content: Body, signal: AbortSignal): Promise<boolean>;
  get(
    key: string,
    headers: Headers,
    receive: (status: number, headers: Headers) => Receiver,
    signal: AbortSignal,
  ): Promise<boolean>;
  delete(key: string, signal: AbortSignal): Promise<boolean>;
}

/** @param readFailure of an answer that says no; a StorageError where that is final: there is no such object
 *  @returns whether the exchange succeeded */
export async function attemptOnce(
  signal: AbortSignal,
  exchange: () => Promise<Answer>,
  readFailure: (answer: Answer) => Error,
): Promise<boolean> {
  try {
    const answer = await exchange();
    if (answer.status >= 200 && answer.status < 300) return true;
    const failure = readFailure(answer);
    if (failure instanceof StorageError) throw failure;
    tellFailure(signal, failure);
    if (answer.status === 429 || answer.status === 503) await wait(answer.headers, signal);
    return false;
  } catch (thrown) {
    if (signal.aborted || isFinal(thrown)) throw thrown;
    tellFailure(signal, thrown);
    return false;
  }
}

/** A server that asks for fewer requests must not get the next one at once. */
async function wait(headers: Headers, signal: AbortSignal): Promise<void> {
  const seconds = Number(headers['retry-after']);
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1_000 : undefined;
  await sleepUntilAborted(delayMs(1, { isThrottled: true, retryAfterMs }, Math.random), signal);
}

function isFinal(thrown: unknown): boolean {
  return (
    thrown instanceof StorageError &&
    (thrown.isFinal ||
      thrown.code === 'NOT_FOUND' ||
      thrown.code === 'BAD_RANGE' ||
      thrown.code === 'ABORTED')
  );
}
