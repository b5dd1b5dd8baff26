// SPDX-License-Identifier: GPL-3.0-or-later
// Two stores as one, for HybridMode and migration from the file system.

import { StorageError, toStorageError } from '../errors.ts';
import { type AttachmentStore, firstFound } from './attachments.ts';
import type { NamedStore } from './locate.ts';
import type { Moves } from './moves.ts';

/** Writes go to the first store, removals to both. Reads try the second store after NOT_FOUND; other failures end them. */
export function createHybridStore(
  first: AttachmentStore,
  second: AttachmentStore,
  moves: Moves,
): AttachmentStore {
  return {
    put: (attachment, body, options) => first.put(attachment, body, options),
    // Then the first again: a move may have copied the attachment there meanwhile.
    get: (attachment, range, sink, options) =>
      firstFound([first, second, first], (store) => store.get(attachment, range, sink, options)),
    async remove(attachment, options) {
      const end = moves.beginRemoval(attachment.uuid);
      // A failure of one store does not stop the removal from the other.
      const [key, other] = await Promise.allSettled([
        first.remove(attachment, options),
        second.remove(attachment, options),
      ]);
      end();
      if (key.status === 'rejected') throw key.reason;
      if (other.status === 'rejected') throw other.reason;
      return key.value;
    },
    find: async (attachment, options) =>
      (await first.find(attachment, options)) ?? (await second.find(attachment, options)),
  };
}

/** Adds the store's name to its errors. */
export function nameFailures({ name, attachments }: NamedStore): AttachmentStore {
  async function named<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      const { code, message, key, requestId, isFinal, cause } = toStorageError(error);
      const store = name;
      throw new StorageError(code, message, { key, requestId, isFinal, cause, store });
    }
  }
  return {
    put: (...request) => named(attachments.put(...request)),
    get: (...request) => named(attachments.get(...request)),
    remove: (...request) => named(attachments.remove(...request)),
    find: (...request) => named(attachments.find(...request)),
  };
}
