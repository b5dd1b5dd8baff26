// SPDX-License-Identifier: GPL-3.0-or-later
// Limits of what runs at once: requests to a store, bytes in memory, objects of a tool.

import { abortReason, type Signal } from './abort.ts';
import type { ObjectStore } from './object-store.ts';

type Release = () => void;

interface Waiter {
  readonly weight: number;
  start(release: Release): void;
}

export class Semaphore {
  readonly #limit: number;
  /** In their order. A waiter may leave from anywhere. */
  readonly #waiting = new Set<Waiter>();
  #holders = 0;
  #weightInUse = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get weightInUse(): number {
    return this.#weightInUse;
  }

  /** Waits until the weight fits, first come, first served. A weight above the limit waits until nothing else is held.
   *  @returns a function that gives the weight back; further calls do nothing
   *  @throws `abortReason` when the signal is aborted while waiting */
  async acquire(signal: Signal | undefined, weight = 1): Promise<Release> {
    return this.#enter(signal, weight);
  }

  /** Runs the work with a weight of 1. @throws as `acquire`; the work has then not begun */
  async run<T>(signal: Signal, work: () => Promise<T>): Promise<T> {
    const entered = this.#enter(signal, 1);
    const release = entered instanceof Promise ? await entered : entered;
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** Not async: if the weight fits, the work begins in the same turn of the event loop. */
  #enter(signal: Signal | undefined, weight: number): Release | Promise<Release> {
    if (signal?.aborted === true) throw abortReason(signal);
    if (this.#waiting.size === 0 && this.#fits(weight)) return this.#grant(weight);
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(waiter);
        if (signal !== undefined) reject(abortReason(signal));
        // It may have been too heavy, and first in line.
        this.#admit();
      };
      const waiter: Waiter = {
        weight,
        start: (release) => {
          signal?.removeEventListener('abort', onAbort);
          resolve(release);
        },
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(waiter);
    });
  }

  #fits(weight: number): boolean {
    return this.#holders === 0 || this.#weightInUse + weight <= this.#limit;
  }

  #grant(weight: number): Release {
    this.#holders += 1;
    this.#weightInUse += weight;
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#holders -= 1;
      this.#weightInUse -= weight;
      this.#admit();
    };
  }

  #admit(): void {
    for (const waiter of this.#waiting) {
      if (!this.#fits(waiter.weight)) return;
      this.#waiting.delete(waiter);
      waiter.start(this.#grant(waiter.weight));
    }
  }
}

/** Runs the work for each item, in their order. Items are read one by one, so they need not fit into memory.
 *  @throws the first failure of the list or of the work, after all work has ended. Further items are not begun. */
export async function forEachAtOnce<T>(
  items: AsyncIterable<T> | Iterable<T>,
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const slots = new Semaphore(atOnce);
  const failures: unknown[] = [];
  const begin = async (item: T, release: Release) => {
    try {
      await work(item);
    } catch (error) {
      failures.push(error);
    } finally {
      release();
    }
  };
  try {
    for await (const item of items) {
      const release = await slots.acquire(undefined);
      if (failures.length > 0) {
        release();
        break;
      }
      void begin(item, release);
    }
  } catch (error) {
    failures.push(error);
  }
  await slots.acquire(undefined, atOnce);
  if (failures.length > 0) throw failures[0];
}

/** At most `maxAtOnce` operations run; the others wait. Removals never wait, because Orthanc keeps its index locked meanwhile. A listing
 *  waits for each of its steps. */
export function withLimit(store: ObjectStore, maxAtOnce: number): ObjectStore {
  const slots = new Semaphore(maxAtOnce);
  return {
    put: (key, body, options) => slots.run(options.signal, () => store.put(key, body, options)),
    get: (key, range, sink, options) =>
      slots.run(options.signal, () => store.get(key, range, sink, options)),
    head: (key, options) => slots.run(options.signal, () => store.head(key, options)),
    delete: (key, options) => store.delete(key, options),
    ...(store.deleteMany === undefined ? {} : { deleteMany: store.deleteMany }),
    async *list(prefix, options) {
      const objects = store.list(prefix, options)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await slots.run(options.signal, () => objects.next());
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        await objects.return?.();
      }
    },
    check: (options) => store.check(options),
    close: () => store.close(),
  };
}
