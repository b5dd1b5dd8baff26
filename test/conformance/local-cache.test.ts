// SPDX-License-Identifier: GPL-3.0-or-later
// A store is the same store with a LocalCache in front of it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFileSystemStore } from '../../src/providers/filesystem/store.ts';
import { type CacheOptions, cached } from '../support/local-cache.ts';
import { type ConformanceTarget, storeConformance } from './store-conformance.ts';

const NO_VERSIONS = 'files have no versions; only rekey asks for them, in a bucket';

function createTarget(name: string, options: CacheOptions): ConformanceTarget {
  let root = '';
  return {
    name,
    async start() {
      root = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    },
    async stop() {
      await rm(root, { recursive: true });
    },
    open(_limits, mistake) {
      const folder = mistake === 'missing bucket' ? join(root, 'no-such-folder') : root;
      return cached(createFileSystemStore({ folder, isSynchronous: false }), options);
    },
    multipartFromBytes: undefined,
    checkFailures: { 'missing bucket': 'BAD_CONFIG' },
    gaps: {
      'a write of 10 bytes may be for one version of the object alone': NO_VERSIONS,
      'a write of 1 bytes may be for one version of the object alone': NO_VERSIONS,
    },
  };
}

storeConformance(createTarget('a folder behind a read cache', { writeBack: false }));
storeConformance(createTarget('a folder behind a LocalCache with WriteBack', { writeBack: true }));
storeConformance(
  createTarget('a folder behind a LocalCache that is always full', { maxBytes: 64 * 1024 }),
);
