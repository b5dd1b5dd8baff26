// SPDX-License-Identifier: GPL-3.0-or-later

/** Asks once: later callers get the same answer, also while it is not there yet. After a failure it asks again.
 *  @param isAnswer whether a failure is an answer, too, and holds for all */
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
