// SPDX-License-Identifier: GPL-3.0-or-later

import { setMaxListeners } from 'node:events';
import { StorageError } from '../errors.ts';

/** What operations listen to: an AbortSignal, or a Cancellation. */
export interface Signal {
  readonly aborted: boolean;
  readonly reason?: unknown;
  addEventListener(type: 'abort', listener: Listener, options?: { readonly once: true }): void;
  removeEventListener(type: 'abort', listener: Listener): void;
}

type Listener = ((event: unknown) => void) | { handleEvent(event: unknown): void };

/** An AbortController and its signal in one, which also follows outer signals. Each operation has several: an AbortSignal costs 5 µs, this
 *  0.1. Call `release` when the work is done: it removes the listeners from the outer signals.
 *
 *  Aborts travel inward; reports of failed attempts that are repeated (`tellFailure`) travel outward, so that the message of a later timeout
 *  can tell the cause. */
export class Cancellation implements Signal {
  #isAborted = false;
  #reason: unknown;
  readonly #outer: readonly Signal[];
  readonly #listeners = new Set<Listener>();
  /** Gets the reports instead of the outer signals. */
  onFailure: ((failure: unknown) => void) | undefined;

  constructor(...outer: readonly Signal[]) {
    this.#outer = outer;
    for (const signal of outer) {
      if (signal.aborted) this.abort(signal.reason);
      else signal.addEventListener('abort', this.#follow);
    }
  }

  get aborted(): boolean {
    return this.#isAborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  abort(reason?: unknown): void {
    if (this.#isAborted) return;
    this.#isAborted = true;
    this.#reason = reason;
    for (const listener of this.#listeners) {
      if (typeof listener === 'function') listener(undefined);
      else listener.handleEvent(undefined);
    }
    this.#listeners.clear();
  }

  addEventListener(_type: 'abort', listener: Listener): void {
    this.#listeners.add(listener);
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    this.#listeners.delete(listener);
  }

  tellFailure(failure: unknown): void {
    if (this.onFailure !== undefined) this.onFailure(failure);
    else for (const signal of this.#outer) tellFailure(signal, failure);
  }

  release(): void {
    for (const signal of this.#outer) signal.removeEventListener('abort', this.#follow);
  }

  readonly #follow = (): void => {
    this.abort(this.#outer.find((signal) => signal.aborted)?.reason);
  };
}

/** Reports a failed attempt that will be repeated. */
export function tellFailure(signal: Signal, failure: unknown): void {
  if (signal instanceof Cancellation) signal.tellFailure(failure);
}

/** For SDKs and Node. Many operations may listen to its signal: by default, Node warns of a leak from the eleventh listener on. */
export function createAbortController(): AbortController {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  return controller;
}

/** The signal's reason if it is a StorageError, else ABORTED. */
export function abortReason(signal: Signal): StorageError {
  const { reason } = signal;
  if (reason instanceof StorageError) return reason;
  return new StorageError('ABORTED', 'the operation was cancelled', { cause: reason });
}

/** @throws `abortReason` as soon as the signal is aborted */
export async function sleepUntilAborted(ms: number, signal: Signal): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const sleep = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  try {
    await untilAborted(sleep, signal);
  } finally {
    clearTimeout(timer);
  }
}

/** Rejects as soon as the signal is aborted, even if the work ignores it. The work then goes on by itself. */
export function untilAborted<T>(work: Promise<T>, signal: Signal): Promise<T> {
  // Not Promise.race, which takes three more promises.
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      reject(abortReason(signal));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    work.then(
      (value) => {
        signal.removeEventListener('abort', onAbort);
        resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener('abort', onAbort);
        reject(error);
      },
    );
  });
}
