// SPDX-License-Identifier: GPL-3.0-or-later
// What Orthanc asks of a storage area, on top of an object store and the naming of its keys.

import type { StorageOperation, StorageRequest } from './bridge.ts';
import type { NamingSettings } from './config/settings.ts';
import type { Counters } from './counters.ts';
import { StorageError, toStorageError } from './errors.ts';
import { errorFields, formatFields, type Logger } from './log.ts';
import { alternateKeys, contentTypeOf, objectKey } from './naming.ts';
import type { ObjectStore } from './store/object-store.ts';

export interface AttachmentsDependencies {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly log: Logger;
  readonly counters: Counters;
  /** Named in log lines: s3, azure, google. */
  readonly provider: string;
  /** Milliseconds of a clock that only goes forward. */
  readonly now: () => number;
}

const LOG_NAMES = {
  create: 'create',
  readWhole: 'read',
  readRange: 'read-range',
  remove: 'remove',
} as const satisfies Record<StorageOperation, string>;

/** Carries out one request of Orthanc's. Logs its end in one line, whatever that is.
 *  @throws StorageError, logged */
export type Attachments = (request: StorageRequest) => Promise<void>;

export function createAttachments(deps: AttachmentsDependencies): Attachments {
  const { store, naming, log, counters, now } = deps;

  /** Runs `attempt` on the first name, then on the others as long as there is no such object. */
  async function firstFound(
    keys: readonly string[],
    attempt: (key: string) => Promise<void>,
  ): Promise<string> {
    let missing: StorageError | undefined;
    for (const key of keys) {
      try {
        await attempt(key);
        return key;
      } catch (error) {
        const failure = toStorageError(error);
        if (failure.code !== 'NOT_FOUND') throw failure;
        missing ??= failure;
      }
    }
    throw missing ?? new StorageError('INTERNAL', 'an attachment has no name');
  }

  async function perform(request: StorageRequest, keys: readonly string[]): Promise<string> {
    const [first = ''] = keys;
    const { operation, range, sink, signal } = request;
    switch (operation) {
      case 'create':
        await store.put(first, request.body, { signal });
        return first;
      case 'readWhole':
        return firstFound(keys, (key) => store.get(key, undefined, sink, { signal }));
      case 'readRange':
        // Orthanc asks for no empty range; an answer without a byte needs no store.
        if (range.start === range.end) {
          sink.begin(0, 0);
          return first;
        }
        return firstFound(keys, (key) => store.get(key, range, sink, { signal }));
      case 'remove':
        for (const key of keys) await store.delete(key, { signal });
        return first;
      default:
        return operation satisfies never;
    }
  }

  return async (request) => {
    const startedMs = now();
    const op = LOG_NAMES[request.operation];
    const done = counters.begin(request.operation);
    let key: string | undefined;
    try {
      const contentType = contentTypeOf(request.contentType);
      key = objectKey(request.uuid, contentType, naming, false);
      const keys = [key, ...alternateKeys(request.uuid, contentType, naming, false)];
      key = await perform(request, keys);
      const bytes = sizeOf(request);
      done({ bytes: bytes ?? 0 });
      log.debug(formatFields({ op, uuid: request.uuid, key, bytes, ms: now() - startedMs }));
    } catch (error) {
      const failure = toStorageError(error);
      done({ failure: failure.code });
      log.error(
        formatFields({
          op,
          uuid: request.uuid,
          provider: deps.provider,
          ms: now() - startedMs,
          ...errorFields(failure),
          key: failure.key ?? key,
        }),
      );
      throw failure;
    }
  };
}

function sizeOf({ operation, body, range }: StorageRequest): number | undefined {
  if (operation === 'create') return body.sizeBytes;
  if (operation === 'readRange') return range.end - range.start;
  return undefined;
}
