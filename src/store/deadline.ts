// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import { linkSignals, untilAborted } from './abort.ts';
import type { ObjectStore, OperationOptions } from './object-store.ts';

/** No operation takes longer than so many milliseconds, retries and waits included; it then fails with TIMEOUT and its signal is
 *  aborted. For a listing that holds for each step. `check` keeps a time of its own. */
export function withDeadline(store: ObjectStore, timeoutMs: number): ObjectStore {
  async function run<T>(
    what: string,
    key: string,
    options: OperationOptions,
    work: (options: OperationOptions) => Promise<T>,
  ): Promise<T> {
    const link = linkSignals(options.signal);
    const { controller } = link;
    const timer = setTimeout(() => {
      controller.abort(
        new StorageError(
          'TIMEOUT',
          `cannot ${what} "${key}": not done within RequestTimeout (${timeoutMs / 1000} s)`,
          { key },
        ),
      );
    }, timeoutMs);
    try {
      return await untilAborted(work({ signal: controller.signal }), controller.signal);
    } finally {
      clearTimeout(timer);
      link.release();
    }
  }

  return {
    put: (key, body, options) =>
      run('write', key, options, (bounded) => store.put(key, body, { ...options, ...bounded })),
    get: (key, range, sink, options) =>
      run('read', key, options, (bounded) => store.get(key, range, sink, bounded)),
    head: (key, options) => run('look up', key, options, (bounded) => store.head(key, bounded)),
    delete: (key, options) => run('delete', key, options, (bounded) => store.delete(key, bounded)),
    async *list(prefix, options) {
      const link = linkSignals(options.signal);
      const objects = store
        .list(prefix, { signal: link.controller.signal })
        [Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await run('list', prefix, options, ({ signal }) => {
            signal.addEventListener('abort', () => link.controller.abort(signal.reason), {
              once: true,
            });
            return objects.next();
          });
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        link.release();
        link.controller.abort();
      }
    },
    // Whoever fills or reads such a file keeps the times.
    ...(store.files === undefined ? {} : { files: store.files }),
    check: (options) => store.check(options),
    close: () => store.close(),
  };
}
