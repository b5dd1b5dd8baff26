// SPDX-License-Identifier: GPL-3.0-or-later
// verify over an index and a bucket of any size that exist only as arithmetic. Arguments: how many objects.

import { createAttachmentStore } from '../../src/attachments/attachments.ts';
import { objectKey } from '../../src/attachments/naming.ts';
import { createOrthancApi } from '../../src/orthanc/api.ts';
import { verify } from '../../src/tools/verify/verify.ts';
import { createMemoryStore } from '../support/memory-store.ts';

const count = Number(process.argv[2] ?? 100_000);
const naming = { rootPath: '', structure: 'flat', legacyUnknownFiles: false } as const;
const SIZE_BYTES = 100_000;
const LISTED = new Date(0);

/** Different in all words, as real ones are. */
function uuidOf(index: number): string {
  const word = (salt: number) =>
    (Math.imul(index + salt, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0');
  const hex = `${word(1)}${index.toString(16).padStart(8, '0')}${word(7)}${word(13)}`;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

const api = createOrthancApi((path) => {
  const [, level, since, limit] = /^\/(\w+)\?.*since=(\d+)&limit=(\d+)/.exec(path) ?? [];
  const end = level === 'instances' ? Math.min(count, Number(since) + Number(limit)) : 0;
  const page = [];
  for (let index = Number(since); index < end; index += 1) {
    page.push({
      ID: String(index),
      Attachments: [
        { Uuid: uuidOf(index), ContentType: 1, CompressedSize: SIZE_BYTES, CompressedMD5: '' },
      ],
    });
  }
  return Promise.resolve({ status: 200, body: Buffer.from(JSON.stringify(page)) });
});

const store = {
  ...createMemoryStore(),
  async *list() {
    for (let index = 0; index < count; index += 1) {
      yield {
        key: objectKey(uuidOf(index), 1, naming, false),
        sizeBytes: SIZE_BYTES,
        modified: LISTED,
      };
      // As a store that brings a thousand at a time.
      if (index % 1000 === 0) await new Promise(setImmediate);
    }
  },
};

const rss = () => Math.round(process.memoryUsage.rss() / 1024 / 1024);
let peakMb = 0;
const startMb = rss();
const startedMs = performance.now();
const counts = await verify(
  {
    api,
    bucket: {
      name: 'bucket',
      store,
      naming,
      attachments: createAttachmentStore({ store, naming }),
      isFileSystem: false,
      hasKeys: false,
      format: undefined,
      lookalikeFormat: undefined,
    },
    files: undefined,
    report: (finding) => {
      throw new Error(JSON.stringify(finding));
    },
    progress: ({ objects, indexed }) => {
      if ((objects + indexed) % 10_000 === 0) peakMb = Math.max(peakMb, rss());
    },
  },
  {
    deep: false,
    minAgeMs: 0,
    deletion: undefined,
    atOnce: 16,
    signal: new AbortController().signal,
    now: () => Date.now(),
  },
);
const seconds = (performance.now() - startedMs) / 1000;
process.stdout.write(
  `${counts.objects} objects: ${Math.round(count / seconds)} objects/s, ${seconds.toFixed(1)} s; resident ${startMb} MB before, at most ${Math.max(peakMb, rss())} MB\n`,
);
