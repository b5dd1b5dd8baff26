// SPDX-License-Identifier: GPL-3.0-or-later
// However large an attachment is, moving it takes little memory, and leaves nothing half done.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  type AttachmentStore,
  createAttachmentStore,
} from '../../../src/attachments/attachments.ts';
import { copyVerified } from '../../../src/attachments/copy.ts';
import { ContentType, ORTHANC_NAMING } from '../../../src/attachments/naming.ts';
import { StorageError } from '../../../src/errors.ts';
import { createFileSystemStore } from '../../../src/providers/index.ts';
import type { ObjectStore, Sink } from '../../../src/store/object-store.ts';
import { expectFailure, makeBytes, never } from '../../support/bodies.ts';

const MB = 1024 * 1024;
const SIZE_BYTES = 300 * MB;
/** Much less than the content; buffers of streams, garbage that is not collected yet. */
const GROWTH_MAX_BYTES = 48 * MB;
const TIMEOUT_MS = 120_000;

const attachment = {
  uuid: '0c1d7e34-9d2a-4a8f-8a0e-1f2b3c4d5e6f',
  contentType: ContentType.Unknown,
};
const key = `0c/1d/${attachment.uuid}`;
const signal = never();

let base: string;
let md5Hex: string;
let files: AttachmentStore;
let bucket: AttachmentStore;
let bucketStore: ObjectStore;

beforeAll(async () => {
  base = await mkdtemp(join(tmpdir(), 'object-storage-test-'));
  const folders = { files: join(base, 'files'), bucket: join(base, 'bucket') };
  for (const folder of Object.values(folders)) await mkdir(folder);
  // In pieces as well, lest the memory for it be there already.
  const hash = createHash('md5');
  await mkdir(join(folders.files, dirname(key)), { recursive: true });
  const file = await open(join(folders.files, key), 'w');
  for (let written = 0; written < SIZE_BYTES; written += MB) {
    const piece = makeBytes(MB, written + 1);
    hash.update(piece);
    await file.write(piece);
  }
  await file.close();
  md5Hex = hash.digest('hex');
  const open_ = (folder: string) => createFileSystemStore({ folder, isSynchronous: false });
  files = createAttachmentStore({ store: open_(folders.files), naming: ORTHANC_NAMING });
  // A bucket knows nothing of files.
  const { files: _files, ...store } = open_(folders.bucket);
  bucketStore = store;
  bucket = createAttachmentStore({ store, naming: ORTHANC_NAMING });
}, TIMEOUT_MS);

afterAll(() => rm(base, { recursive: true }));

async function peakGrowth(work: () => Promise<unknown>): Promise<number> {
  globalThis.gc?.();
  const before = process.memoryUsage().rss;
  let peak = before;
  const look = () => {
    peak = Math.max(peak, process.memoryUsage().rss);
  };
  const timer = setInterval(look, 5);
  await work();
  clearInterval(timer);
  look();
  return peak - before;
}

async function digestOfFile(path: string): Promise<string> {
  const hash = createHash('md5');
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer);
  return hash.digest('hex');
}

const expected = () => ({ sizeBytes: SIZE_BYTES, md5Hex });

test('300 MB there and back', { timeout: TIMEOUT_MS }, async () => {
  const there = await peakGrowth(() =>
    copyVerified({ attachment, from: files, to: bucket, expected: expected() }, { signal }),
  );
  expect(await digestOfFile(join(base, 'bucket', key))).toBe(md5Hex);
  await files.remove(attachment, { signal });
  const back = await peakGrowth(() =>
    copyVerified({ attachment, from: bucket, to: files, expected: expected() }, { signal }),
  );
  expect(await digestOfFile(join(base, 'files', key))).toBe(md5Hex);
  expect(Math.max(there, back)).toBeLessThan(GROWTH_MAX_BYTES);
});

/** The bucket, with something that happens to the bytes of a read. */
function tampering(change: (sink: Sink) => Sink): AttachmentStore {
  return createAttachmentStore({
    store: {
      ...bucketStore,
      get: (name, range, sink, options) => bucketStore.get(name, range, change(sink), options),
    },
    naming: ORTHANC_NAMING,
  });
}

test.each<[string, (sink: Sink) => Sink, 'INTEGRITY' | 'UNAVAILABLE']>([
  [
    'altered',
    (sink) => ({
      ...sink,
      write: (offset, bytes) => {
        const piece = bytes.slice();
        if (offset === 0) piece[0] = (piece[0] ?? 0) ^ 1;
        sink.write(offset, piece);
      },
    }),
    'INTEGRITY',
  ],
  [
    'cut off',
    (sink) => ({
      ...sink,
      write: (offset, bytes) => {
        if (offset > 10 * MB) throw new StorageError('UNAVAILABLE', 'the line is cut');
        sink.write(offset, bytes);
      },
    }),
    'UNAVAILABLE',
  ],
])('of a source that is %s nothing reaches the disk', { timeout: TIMEOUT_MS }, async (...args) => {
  const [, change, code] = args;
  await files.remove(attachment, { signal });
  const copy = { attachment, from: tampering(change), to: files, expected: expected() };
  await expectFailure(copyVerified(copy, { signal }), code);
  expect(await readdir(join(base, 'files'))).toEqual([]);
});

test('a copy on its way in is aborted, and leaves nothing', { timeout: TIMEOUT_MS }, async () => {
  const controller = new AbortController();
  const from = tampering((sink) => ({
    ...sink,
    write: (offset, bytes) => {
      if (offset > 10 * MB) controller.abort(new StorageError('ABORTED', 'the job was stopped'));
      sink.write(offset, bytes);
    },
  }));
  await files.remove(attachment, { signal });
  const copy = { attachment, from, to: files, expected: expected() };
  await expectFailure(copyVerified(copy, { signal: controller.signal }), 'ABORTED');
  const left = () => readdir(join(base, 'files'));
  await expect.poll(left, { timeout: TIMEOUT_MS }).toEqual([]);
});
