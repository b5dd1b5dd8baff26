// SPDX-License-Identifier: GPL-3.0-or-later

import { setMaxListeners } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { StorageError } from '../errors.ts';

/** Many operations may listen to its signal. By default, Node warns of a leak from the eleventh listener on. */
export function createAbortController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

/** The signal's reason if it is a StorageError, else ABORTED. */
export function abortReason(signal: AbortSignal): StorageError {
  const reason: unknown = signal.reason;
  if (reason instanceof StorageError) return reason;
  return new StorageError('ABORTED', 'the operation was cancelled', { cause: reason });
}

/** @throws `abortReason` as soon as the signal is aborted */
export async function sleepUntilAborted(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, undefined, { signal });
  } catch {
    throw abortReason(signal);
  }
}

const failureListeners = new WeakMap<AbortSignal, (failure: unknown) => void>();

/** Reports a failed attempt that will be repeated, so that the message of a later timeout can tell the cause. Failures travel outward
 *  along linked signals; aborts travel inward. */
export function tellFailure(signal: AbortSignal, failure: unknown): void {
  failureListeners.get(signal)?.(failure);
}

/** The listener gets the failures of work under this signal. Outer signals do not. */
export function hearFailures(signal: AbortSignal, listener: (failure: unknown) => void): void {
  failureListeners.set(signal, listener);
}

/** An AbortController that also follows outer signals. Call `release` when the work is done: it removes the listeners from the outer
 *  signals. AbortSignal.any leaves that to the garbage collector (nodejs/node#54614). */
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

/** Rejects as soon as the signal is aborted, even if the work ignores it. The work then goes on by itself. */
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
