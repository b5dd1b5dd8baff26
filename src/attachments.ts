// SPDX-License-Identifier: GPL-3.0-or-later
// Attachments, as Orthanc knows them by uuid and content type, in an object store, which knows keys.

import type { NamingSettings } from './config/settings.ts';
import { StorageError, toStorageError } from './errors.ts';
import { alternateKeys, type ContentType, objectKey } from './naming.ts';
import type { Body, ByteRange, ObjectStore, OperationOptions, Sink } from './store/object-store.ts';

export interface Attachment {
  readonly uuid: string;
  readonly contentType: ContentType;
}

/** Where attachments are. Whole or nothing, as ObjectStore; all errors are StorageErrors. */
export interface AttachmentStore {
  /** @returns the key of the object */
  put(attachment: Attachment, body: Body, options: OperationOptions): Promise<string>;
  /** @param range of the content; undefined is the whole
   *  @returns the key of the object that had it
   *  @throws StorageError NOT_FOUND where it lies under none of its names */
  get(
    attachment: Attachment,
    range: ByteRange | undefined,
    sink: Sink,
    options: OperationOptions,
  ): Promise<string>;
  /** Removes it under all its names; a missing one is success. */
  remove(attachment: Attachment, options: OperationOptions): Promise<string>;
  /** @returns where it lies, by one request per name; undefined where it lies under none */
  find(attachment: Attachment, options: OperationOptions): Promise<FoundObject | undefined>;
}

export interface FoundObject {
  readonly key: string;
  readonly storedBytes: number;
}

export function createAttachmentStore(deps: {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
}): AttachmentStore {
  const { store, naming } = deps;

  function namesOf({ uuid, contentType }: Attachment): readonly [string, ...string[]] {
    return [
      objectKey(uuid, contentType, naming, false),
      ...alternateKeys(uuid, contentType, naming, false),
    ];
  }

  return {
    async put(attachment, body, options) {
      const [key] = namesOf(attachment);
      await store.put(key, body, options);
      return key;
    },
    async get(attachment, range, sink, options) {
      const names = namesOf(attachment);
      // No bytes need no request, and no store can be asked for them.
      if (range !== undefined && range.start === range.end) {
        sink.begin(0, 0);
        return names[0];
      }
      return firstFound(names, (key) => store.get(key, range, sink, options));
    },
    async remove(attachment, options) {
      const names = namesOf(attachment);
      for (const key of names) await store.delete(key, options);
      return names[0];
    },
    async find(attachment, options) {
      for (const key of namesOf(attachment)) {
        const head = await store.head(key, options);
        if (head !== undefined) return { key, storedBytes: head.sizeBytes };
      }
      return undefined;
    },
  };
}

/** Tries the candidates in their order, the next one only where the one before is not there.
 *  @returns the one that was found
 *  @throws StorageError what the first one said where none is there; any other failure at once */
export async function firstFound<T>(
  candidates: readonly [T, ...T[]],
  attempt: (candidate: T) => Promise<void>,
): Promise<T> {
  let missing: StorageError | undefined;
  for (const candidate of candidates) {
    try {
      await attempt(candidate);
      return candidate;
    } catch (error) {
      const failure = toStorageError(error);
      if (failure.code !== 'NOT_FOUND') throw failure;
      missing ??= failure;
    }
  }
  throw missing ?? new StorageError('INTERNAL', 'there was nothing to try');
}
