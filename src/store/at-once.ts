// SPDX-License-Identifier: GPL-3.0-or-later

/** Does the work for each item, so many at once, in their order. The items may be far more than fit into memory.
 *  @throws what the first failed work threw, once nothing is under way any more; the items that are left are not begun */
export async function forEachAtOnce<T>(
  items: AsyncIterable<T> | Iterable<T>,
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator =
    Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let last: Promise<unknown> = Promise.resolve();
  // An iterator's steps must not overlap.
  const next = () => {
    const mine = last.then(() => iterator.next());
    last = mine.catch(() => undefined);
    return mine;
  };
  let hasFailed = false;

  async function worker(): Promise<void> {
    while (!hasFailed) {
      const step = await next();
      if (step.done === true) return;
      await work(step.value);
    }
  }

  const workers = Array.from({ length: atOnce }, () =>
    worker().catch((error: unknown) => {
      hasFailed = true;
      throw error;
    }),
  );
  const settled = await Promise.allSettled(workers);
  if (hasFailed) await iterator.return?.();
  for (const result of settled) if (result.status === 'rejected') throw result.reason;
}
