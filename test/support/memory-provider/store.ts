// SPDX-License-Identifier: GPL-3.0-or-later

import type { StoreDependencies } from '../../../src/config/settings.ts';
import { StorageError } from '../../../src/errors.ts';
import type { ObjectStore } from '../../../src/store/object-store.ts';
import { createMemoryStore } from '../memory-store.ts';
import type { MemorySettings } from './settings.ts';

/** A store that cannot be used on any shelf but "top". */
export function createShelf({ shelf }: MemorySettings, { log }: StoreDependencies): ObjectStore {
  return {
    ...createMemoryStore(),
    async check() {
      if (shelf !== 'top') {
        throw new StorageError('BAD_CONFIG', 'MemoryStorage.Shelf: only "top" is within reach');
      }
      log.info(`memory: the shelf "${shelf}" is within reach`);
    },
  };
}
