// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import { Cancellation, type Signal, tellFailure, untilAborted } from './abort.ts';
import type { ObjectStore, OperationOptions } from './object-store.ts';

/** Orthanc locks its index while it removes a file, so all its users wait. The limit outlasts a failure of a second or two. A removal
 *  that fails leaves an orphan, which `verify` finds. */
const REMOVAL_TIMEOUT_MS = 8_000;

export function removalTimeoutMs(requestTimeoutMs: number): number {
  return Math.min(requestTimeoutMs, REMOVAL_TIMEOUT_MS);
}

/** Messages of providers begin with "cannot", a verb and one of these. */
const SUBJECTS = [' bucket "', ' container "'];

/** @param message says that time is up
 *  @param last failure that was repeated; the message includes it */
export function timeUp(message: string, last: unknown, key?: string): StorageError {
  if (!(last instanceof StorageError)) return new StorageError('TIMEOUT', message, { key });
  const { requestId } = last;
  const words = withoutSubject(last.message);
  return new StorageError('TIMEOUT', `${message}; the last attempt that failed: ${words}`, {
    key,
    requestId,
    cause: last,
  });
}

function withoutSubject(message: string): string {
  if (!message.startsWith('cannot ')) return message;
  for (const subject of SUBJECTS) {
    const at = message.indexOf(subject);
    const end = at < 0 ? -1 : message.indexOf('"', at + subject.length);
    if (end >= 0 && message.startsWith('": ', end)) return message.slice(end + '": '.length);
  }
  return message;
}

/** Aborts the work when its time is up, and rejects with `describe()`.
 *  @param hooks.onFailure called for each failed attempt that is repeated */
export async function withTimeLimit<T>(
  ms: number,
  signal: Signal,
  work: (signal: Signal) => Promise<T>,
  hooks: { readonly onFailure?: (failure: unknown) => void; describe(): StorageError },
): Promise<T> {
  const limited = new Cancellation(signal);
  limited.onFailure = hooks.onFailure;
  const timer = setTimeout(() => {
    limited.abort(hooks.describe());
  }, ms);
  try {
    return await untilAborted(work(limited), limited);
  } finally {
    clearTimeout(timer);
    limited.release();
  }
}

/** Operations that take longer, retries included, fail with TIMEOUT. Removals have REMOVAL_TIMEOUT_MS at most. A listing has the time for
 *  each of its steps. `check` and `files` have limits of their own, as has whoever calls `deleteMany`. */
export function withDeadline(store: ObjectStore, timeoutMs: number): ObjectStore {
  const requestTimeout: TimeLimit = { ms: timeoutMs, name: 'RequestTimeout', advice: '' };
  const removalLimit: TimeLimit = {
    ...(timeoutMs < REMOVAL_TIMEOUT_MS
      ? requestTimeout
      : { ms: REMOVAL_TIMEOUT_MS, name: 'the time for a removal' }),
    advice: ', for which Orthanc waits; if the object is left, it is an orphan that "verify" finds',
  };

  function run<T>(
    what: string,
    key: string,
    options: OperationOptions,
    work: (options: OperationOptions) => Promise<T>,
    limit: TimeLimit = requestTimeout,
  ): Promise<T> {
    let last: unknown;
    return withTimeLimit(limit.ms, options.signal, (signal) => work({ signal }), {
      onFailure: (failure) => {
        last = failure;
      },
      describe: () => {
        const late = `not done within ${limit.name} (${limit.ms / 1000} s)${limit.advice}`;
        return timeUp(`cannot ${what} "${key}": ${late}`, last, key);
      },
    });
  }

  return {
    put: (key, body, options) =>
      run('write', key, options, ({ signal }) =>
        store.put(key, body, { signal, onlyIfVersion: options.onlyIfVersion }),
      ),
    get: (key, range, sink, options) =>
      run('read', key, options, ({ signal }) =>
        store.get(key, range, sink, { signal, requireChecksum: options.requireChecksum }),
      ),
    head: (key, options) => run('look up', key, options, (bounded) => store.head(key, bounded)),
    delete: (key, options) =>
      run('delete', key, options, (bounded) => store.delete(key, bounded), removalLimit),
    async *list(prefix, options) {
      const link = new Cancellation(options.signal);
      const objects = store.list(prefix, { signal: link })[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await run('list', prefix, options, ({ signal }) => {
            link.onFailure = (failure) => {
              tellFailure(signal, failure);
            };
            signal.addEventListener('abort', () => link.abort(signal.reason), { once: true });
            return objects.next();
          });
          if (next.done === true) return;
          yield next.value;
        }
      } finally {
        link.release();
        link.abort();
      }
    },
    ...(store.deleteMany === undefined ? {} : { deleteMany: store.deleteMany }),
    ...(store.files === undefined ? {} : { files: store.files }),
    check: (options) => store.check(options),
    close: () => store.close(),
  };
}

interface TimeLimit {
  readonly ms: number;
  readonly name: string;
  readonly advice: string;
}
