// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError, toStorageError } from '../errors.ts';
import type { AttachmentStore } from './attachments.ts';
import type { NamedStore } from './locate.ts';

/** One of two stores: its failures tell which of them failed. */
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
