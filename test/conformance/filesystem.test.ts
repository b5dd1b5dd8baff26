// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFileSystemStore } from '../../src/providers/filesystem/store.ts';
import { withDeadline } from '../../src/store/deadline.ts';
import { withLimit } from '../../src/store/limit.ts';
import { type ConformanceTarget, storeConformance, type Variation } from './store-conformance.ts';

const USUAL_DEADLINE_MS = 30_000;
const SHORT_DEADLINE_MS = 20;
const NO_VERSIONS = 'files have no versions; only rekey asks for them, in a bucket';

function createTarget(name: string, isSynchronous: boolean): ConformanceTarget {
  let root = '';

  function folderFor(variation: Variation): string {
    return variation === 'missing bucket' ? join(root, 'no-such-folder') : root;
  }

  return {
    name,
    async start() {
      root = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
    },
    async stop() {
      await rm(root, { recursive: true });
    },
    open(variation) {
      const store = createFileSystemStore({ folder: folderFor(variation), isSynchronous });
      const deadlineMs = variation === 'short deadline' ? SHORT_DEADLINE_MS : USUAL_DEADLINE_MS;
      const maxAtOnce = variation === 'few connections' ? 5 : 25;
      return Promise.resolve(withDeadline(withLimit(store, maxAtOnce), deadlineMs));
    },
    multipartFromBytes: undefined,
    checkFailures: { 'missing bucket': 'BAD_CONFIG' },
    gaps: {
      'a write of 10 bytes may be for one version of the object alone': NO_VERSIONS,
      'a write of 1 bytes may be for one version of the object alone': NO_VERSIONS,
    },
  };
}

storeConformance(createTarget('a folder', false));
storeConformance(createTarget('a folder, synchronously', true));
