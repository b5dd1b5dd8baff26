// SPDX-License-Identifier: GPL-3.0-or-later
// What all providers share around their operations: signals, the translation of errors, and listings.

import { randomUUID } from 'node:crypto';
import { StorageError, toStorageError } from '../errors.ts';
import { AnswerError } from '../http/answer-error.ts';
import type { Explanation } from '../http/network-errors.ts';
import type { Answer } from '../http/transport.ts';
import {
  abortReason,
  Cancellation,
  type Signal,
  tellFailure,
  untilAborted,
} from '../store/abort.ts';
import { forEachAtOnce } from '../store/limit.ts';
import type { ObjectHead, ObjectInfo, ObjectStore } from '../store/object-store.ts';

export interface Operation {
  /** For the message: "write", "read", "delete", "list", "look up", "check". */
  readonly verb: string;
  readonly key: string | undefined;
}

/** @param place such as the kind "S3 bucket" with the name "images"
 *  @param cause without anything that no log may show */
export function describeFailure(
  { code, text }: Explanation,
  { verb, key }: Operation,
  place: { readonly kind: string; readonly name: string },
  cause: unknown,
): StorageError {
  const whole = `${place.kind} "${place.name}"`;
  const subject = key === undefined ? whole : `"${key}" in ${whole}`;
  return new StorageError(code, `cannot ${verb} ${subject}: ${text}`, {
    key: key ?? place.name,
    cause,
    requestId: cause instanceof AnswerError ? cause.requestId : undefined,
  });
}

export type Run = <T>(
  verb: string,
  key: string | undefined,
  signal: Signal,
  work: (signal: Signal) => Promise<T>,
) => Promise<T>;

/** @param closing aborted when the store is closed
 *  @param translate whatever an operation threw */
export function createRun(
  closing: Signal,
  translate: (thrown: unknown, operation: Operation) => StorageError,
): Run {
  return async (verb, key, signal, work) => {
    const linked = new Cancellation(closing, signal);
    linked.onFailure = (failure) => {
      tellFailure(signal, translate(failure, { verb, key }));
    };
    try {
      return await untilAborted(work(linked), linked);
    } catch (thrown) {
      if (linked.aborted) throw abortReason(linked);
      throw translate(thrown, { verb, key });
    } finally {
      linked.release();
    }
  };
}

/** @returns undefined where there is no such object */
export async function unlessMissing<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (thrown) {
    if (thrown instanceof StorageError && thrown.code === 'NOT_FOUND') return undefined;
    throw thrown;
  }
}

/** @throws StorageError UNAVAILABLE for no size, which must not be taken for an empty object's */
export function requireSize(key: string, sizeBytes: number | undefined): number {
  if (sizeBytes !== undefined) return sizeBytes;
  throw new StorageError('UNAVAILABLE', `the server told no size of "${key}"`, { key });
}

/** @param answer to a HEAD
 *  @throws StorageError UNAVAILABLE if it tells no size */
export function readHead(key: string, answer: Answer): ObjectHead {
  const { 'content-length': length, etag } = answer.headers;
  return {
    sizeBytes: requireSize(key, length === undefined ? undefined : Number(length)),
    version: etag,
  };
}

export interface ListPage {
  readonly objects: readonly ObjectInfo[];
  /** Where the next page begins; undefined after the last. */
  readonly next: string | undefined;
}

/** Fetches each page when the one before is used up.
 *  @param subject such as `S3 bucket "images"`
 *  @throws StorageError UNAVAILABLE if the server gives the same pages again, as it would for ever */
async function* listPages(
  subject: string,
  fetchPage: (token: string | undefined) => Promise<ListPage>,
): AsyncGenerator<ObjectInfo, void, undefined> {
  const isRepeated = createCircleDetector();
  let token: string | undefined;
  do {
    const page = await fetchPage(token);
    if (isRepeated(page)) {
      throw new StorageError(
        'UNAVAILABLE',
        `the listing of ${subject} would never end: the server gives again what it gave before, instead of what follows; update it, or look for a cache or proxy between that takes no account of the query of a request`,
      );
    }
    yield* page.objects;
    token = page.next;
  } while (token !== undefined);
}

/** Finds a circle of any length within three rounds, and keeps the marks of one page only, since listings have millions of pages. Empty
 *  pages with new tokens are no circle: servers skip what is deleted.
 *  @returns whether a page came before: it leads to the same next page, or begins with the same key
 *  @see R. P. Brent, An improved Monte Carlo factorization algorithm (1980), section 2 */
function createCircleDetector(): (page: ListPage) => boolean {
  let kept: { readonly first: string | undefined; readonly next: string | undefined } | undefined;
  let pagesSince = 0;
  let pagesToKeep = 1;
  return ({ objects, next }) => {
    const first = objects[0]?.key;
    const isSame =
      kept !== undefined &&
      ((next !== undefined && next === kept.next) || (first !== undefined && first === kept.first));
    if (isSame) return true;
    if (kept === undefined || ++pagesSince === pagesToKeep) {
      kept = { first, next };
      pagesSince = 0;
      pagesToKeep *= 2;
    }
    return false;
  };
}

/** A provider's operations, retries included. They may throw anything. */
export interface VendorStore
  extends Pick<ObjectStore, 'put' | 'get' | 'head' | 'delete' | 'check'> {
  listPage(prefix: string, token: string | undefined, signal: Signal): Promise<ListPage>;
  /** As in ObjectStore, but it rejects if nothing is known of any key. */
  readonly deleteMany?: (keys: readonly string[], signal: Signal) => Promise<KeyFailures>;
  /** Translates what an operation threw. */
  readonly translate: (thrown: unknown, operation: Operation) => StorageError;
  close(): Promise<void>;
}

/** What went wrong, by key. */
export type KeyFailures = ReadonlyMap<string, unknown>;

/** One request for each, over at most half of the connections: the others are for reads. */
export async function deleteSideBySide(
  keys: readonly string[],
  maxConnections: number,
  remove: (key: string) => Promise<void>,
): Promise<KeyFailures> {
  const failures = new Map<string, unknown>();
  await forEachAtOnce(keys, Math.max(1, Math.floor(maxConnections / 2)), async (key) => {
    try {
      await remove(key);
    } catch (thrown) {
      failures.set(key, thrown);
    }
  });
  return failures;
}

/** @param server for messages: "Azure"
 *  @param subject such as `Azure container "images"` */
export function toObjectStore(server: string, subject: string, store: VendorStore): ObjectStore {
  const closing = new Cancellation();
  const run = createRun(closing, store.translate);

  async function deleteMany(
    remove: NonNullable<VendorStore['deleteMany']>,
    keys: readonly string[],
    signal: Signal,
  ): Promise<ReadonlyMap<string, StorageError>> {
    const failures = new Map<string, StorageError>();
    try {
      const told = await run('delete', keys[0], signal, (linked) => remove(keys, linked));
      for (const [key, thrown] of told) {
        const failure = store.translate(thrown, { verb: 'delete', key });
        if (failure.code !== 'NOT_FOUND') failures.set(key, failure);
      }
    } catch (thrown) {
      const failure = toStorageError(thrown);
      for (const key of keys) failures.set(key, failure);
    }
    return failures;
  }

  const { deleteMany: removeMany } = store;
  return {
    put: (key, body, options) =>
      run('write', key, options.signal, (signal) =>
        store.put(key, body, { signal, onlyIfVersion: options.onlyIfVersion }),
      ),
    get: (key, range, sink, options) =>
      run('read', key, options.signal, (signal) =>
        store.get(key, range, sink, { signal, requireChecksum: options.requireChecksum }),
      ),
    head: (key, options) =>
      unlessMissing(run('look up', key, options.signal, (signal) => store.head(key, { signal }))),
    delete: (key, options) =>
      unlessMissing(run('delete', key, options.signal, (signal) => store.delete(key, { signal }))),
    ...(removeMany === undefined
      ? {}
      : { deleteMany: (keys, { signal }) => deleteMany(removeMany, keys, signal) }),
    list: (prefix, { signal }) =>
      listPages(subject, (token) =>
        run('list', undefined, signal, (linked) => store.listPage(prefix, token, linked)),
      ),
    check: (options) =>
      run('check', undefined, options.signal, (signal) => store.check({ signal })),
    async close() {
      closing.abort(new StorageError('CLOSED', `the ${server} store is closed`));
      await store.close();
    },
  };
}

/** For the check at start: the key of an object that cannot exist. @param rootPath since a policy may allow nothing elsewhere */
export function probeKey(rootPath: string): string {
  const folder = rootPath === '' ? '' : `${rootPath}/`;
  return `${folder}orthanc-object-storage-probe-${randomUUID()}`;
}
