// SPDX-License-Identifier: GPL-3.0-or-later

import { setMaxListeners } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { StorageError } from '../errors.ts';

/** Any number of operations may listen to it. Node would warn of a leak from eleven on. */
export function createAbortController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

/** What an aborted operation rejects with: the signal's reason, where that is a StorageError, else ABORTED. */
export function abortReason(signal: AbortSignal): StorageError {
  const reason: unknown = signal.reason;
  if (reason instanceof StorageError) return reason;
  return new StorageError('ABORTED', 'the operation was cancelled', { cause: reason });
}

/** @throws what `abortReason` says, as soon as the signal is aborted */
export async function sleepUntilAborted(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, undefined, { signal });
  } catch {
    throw abortReason(signal);
  }
}

/** Each entry lives as long as its signal. */
const failureListeners = new WeakMap<AbortSignal, (failure: unknown) => void>();

/** Tells of an attempt that failed and is repeated, so that a timeout can say what was wrong. Failures go outward along linked signals, as
 *  aborts go inward. */
export function tellFailure(signal: AbortSignal, failure: unknown): void {
  failureListeners.get(signal)?.(failure);
}

/** @param listener hears of the failures of work under this signal. Outer signals then hear of none */
export function hearFailures(signal: AbortSignal, listener: (failure: unknown) => void): void {
  failureListeners.set(signal, listener);
}

/** An AbortController that also follows outer signals. `release` must be called when the work is done, else each outer signal
 *  keeps a listener. Unlike AbortSignal.any it needs no garbage collector to let go (nodejs/node#54614). */
export function linkSignals(...outer: readonly AbortSignal[]): {
  readonly controller: AbortController;
  release(): void;
} {
  const controller = createAbortController();
  const listeners = outer.map((signal) => {
    const listener = () => {
      controller.abort(signal.reason);
    };
    if (signal.aborted) listener();
    else signal.addEventListener('abort', listener, { once: true });
    return () => {
      signal.removeEventListener('abort', listener);
    };
  });
  hearFailures(controller.signal, (failure) => {
    for (const signal of outer) tellFailure(signal, failure);
  });
  return {
    controller,
    release: () => {
      for (const remove of listeners) remove();
    },
  };
}

/** Rejects as soon as the signal is aborted, also where the work does not listen. It is then left to end by itself. */
export async function untilAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    work.catch(() => undefined);
    throw abortReason(signal);
  }
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(abortReason(signal));
    };
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
