// SPDX-License-Identifier: GPL-3.0-or-later

/** Calls `ask` once and gives all callers the same promise. After a failure, the next caller asks again.
 *  @param isAnswer whether a failure is kept like an answer */
export function once<Args extends readonly unknown[], T>(
  ask: (...args: Args) => Promise<T>,
  isAnswer: (failure: unknown) => boolean = () => false,
): (...args: Args) => Promise<T> {
  let asked: Promise<T> | undefined;
  return (...args) => {
    asked ??= ask(...args).catch((failure: unknown) => {
      if (!isAnswer(failure)) asked = undefined;
      throw failure;
    });
    return asked;
  };
}

/** Asks at most once in this time. Callers meanwhile share the answer, or the failure; also those who come while it is still under way. */
export function keepFor<T>(ms: number, ask: () => Promise<T>): () => Promise<T> {
  let asked: Promise<T> | undefined;
  let untilMs = 0;
  return () => {
    if (asked !== undefined && performance.now() < untilMs) return asked;
    const newUntilMs = performance.now() + ms;
    untilMs = Number.POSITIVE_INFINITY;
    asked = ask().finally(() => {
      untilMs = newUntilMs;
    });
    return asked;
  };
}
