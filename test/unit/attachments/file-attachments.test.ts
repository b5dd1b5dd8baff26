// SPDX-License-Identifier: GPL-3.0-or-later
// What lies in Orthanc's own folder, among it what the C++ plugins have encrypted there.

import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type AttachmentStore,
  createAttachmentStore,
} from '../../../src/attachments/attachments.ts';
import { copyVerified } from '../../../src/attachments/copy.ts';
import { createFileAttachments } from '../../../src/attachments/file-attachments.ts';
import { ORTHANC_NAMING, objectKey } from '../../../src/attachments/naming.ts';
import { Envelope } from '../../../src/encryption/envelope.ts';
import { createFileSystemStore } from '../../../src/providers/index.ts';
import type { ObjectStore } from '../../../src/store/object-store.ts';
import { migrate } from '../../../src/tools/migrate/migrate.ts';
import { createAes } from '../../support/aes.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../../support/bodies.ts';
import { createMemoryStore, sideOf } from '../../support/memory-store.ts';
import { encrypt, testKeyring } from '../encryption/support.ts';

const MB = 1024 * 1024;
const ONE = { uuid: 'e1f2a3b4-0000-4000-8000-000000000001', contentType: 1 } as const;
const KEY = objectKey(ONE.uuid, ONE.contentType, ORTHANC_NAMING, false);
const KEYRING = testKeyring(3, 3);
const options = { signal: never() };

let folder: string;
let disk: ObjectStore;
let files: AttachmentStore;

const envelope = new Envelope({
  keyring: KEYRING,
  createAes,
  format: 'A2',
  maxInputBytes: 2 ** 30,
});

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-files-'));
  disk = createFileSystemStore({ folder, isSynchronous: false });
  files = createFileAttachments(disk, envelope);
});

afterEach(async () => {
  await disk.close();
  await rm(folder, { recursive: true });
});

/** As C++ leaves it: no name tells. */
async function leaveSealed(content: Uint8Array, keyring = KEYRING): Promise<void> {
  const sealed = await encrypt('A1', content, { keyring, ...ONE });
  await disk.put(KEY, makeBody(sealed), options);
}

async function read(range?: { readonly start: number; readonly end: number }) {
  const sink = makeSink();
  expect(await files.get(ONE, range, sink, options)).toBe(KEY);
  return sink.bytes();
}

describe('a file that C++ has encrypted', () => {
  test.each([0, 1, 1000, 700_000])('of %i bytes is read', async (sizeBytes) => {
    const content = makeBytes(sizeBytes);
    await leaveSealed(content);
    expectSameBytes(await read(), content);
    if (sizeBytes > 500)
      expectSameBytes(await read({ start: 400, end: 500 }), content.slice(400, 500));
    expect(await files.find(ONE, options)).toMatchObject({
      storedBytes: sizeBytes + 86,
      encryption: { format: 'A1', keyId: 3, contentBytes: sizeBytes },
    });
  });

  test.each([1000, 5 * MB])(
    'of %i bytes moves into the bucket, and comes back plain',
    async (sizeBytes) => {
      const content = makeBytes(sizeBytes);
      await leaveSealed(content);
      const md5Hex = createHash('md5').update(content).digest('hex');
      const bucket = createAttachmentStore({
        store: createMemoryStore(),
        naming: ORTHANC_NAMING,
        envelope,
      });
      const copy = { attachment: ONE, expected: { sizeBytes, md5Hex } };
      await copyVerified({ ...copy, from: files, to: bucket }, options);
      await files.remove(ONE, options);
      await copyVerified({ ...copy, from: bucket, to: files }, options);
      const sink = makeSink();
      await disk.get(KEY, undefined, sink, options);
      expectSameBytes(sink.bytes(), content);
    },
  );

  test.each([1000, 5 * MB])('of %i bytes is no content for migrate', async (sizeBytes) => {
    const content = makeBytes(sizeBytes);
    await leaveSealed(content);
    const target = createMemoryStore();
    const from = sideOf(disk, ORTHANC_NAMING, { isFileSystem: true, envelope });
    const counts = await migrate(
      {
        from,
        to: sideOf(target, ORTHANC_NAMING),
        index: undefined,
        failed: (_key, reason) => {
          throw new Error(reason);
        },
        progress: () => undefined,
      },
      {
        atOnce: 2,
        dryRun: false,
        isDone: () => false,
        onDone: () => undefined,
        throttle: () => Promise.resolve(),
        ...options,
      },
    );
    expect(counts).toMatchObject({ copied: 1, failed: 0 });
    expectSameBytes(target.objects.get(KEY) ?? new Uint8Array(), content);
  });

  test('and that was altered is not handed out, nor sent in parts', async () => {
    const sealed = await encrypt('A1', makeBytes(1000), { keyring: KEYRING, ...ONE });
    sealed[500] = (sealed[500] ?? 0) ^ 1;
    await disk.put(KEY, makeBody(sealed), options);
    await expectFailure(read(), 'INTEGRITY');
    await expectFailure(Promise.resolve(files.files?.open(ONE, options)), 'INTEGRITY');
  });

  test('under a key that is not configured is an error that names the key', async () => {
    await leaveSealed(makeBytes(1000), testKeyring(7, 7));
    await expectFailure(read(), 'UNKNOWN_KEY', /master key 7/);
  });
});

describe('a plain file is read as it is', () => {
  const compressed = Buffer.alloc(300, 9);
  compressed.writeBigUInt64LE(BigInt(0x3141 + 5 * 65_536));

  test.each<[string, Uint8Array]>([
    ['that is empty', new Uint8Array()],
    ['of a user, which begins as an encrypted one', Buffer.from(`A1 ${'x'.repeat(200)}`)],
    ['that begins so and is too short', Buffer.from('A1\x03\0\0\0')],
    ['at random', Buffer.concat([Buffer.from('A2'), Buffer.alloc(4, 0xee), randomBytes(200)])],
    ['that Orthanc has compressed, and whose size looks like a magic', compressed],
  ])('%s', async (_name, content) => {
    await disk.put(KEY, makeBody(content), options);
    expectSameBytes(await read(), content);
    expect((await files.find(ONE, options))?.encryption).toBeUndefined();
  });

  test('and written so', async () => {
    const content = makeBytes(1000);
    await files.put(ONE, makeBody(content), options);
    const sink = makeSink();
    await disk.get(KEY, undefined, sink, options);
    expectSameBytes(sink.bytes(), content);
  });

  test('without any keys, whatever it looks like', async () => {
    await leaveSealed(makeBytes(10));
    files = createFileAttachments(disk, undefined);
    expect((await read()).length).toBe(96);
  });
});
