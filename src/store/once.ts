// SPDX-License-Identifier: GPL-3.0-or-later

/** A question that is asked once: all get its one answer, also who asks while it is being asked. After a failure it is asked again.
 *  @param isAnswer of a failure that is an answer, too, and holds for all */
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
