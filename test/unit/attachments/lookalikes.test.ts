// SPDX-License-Identifier: GPL-3.0-or-later
// Whatever bytes a client stores come back, and are never decrypted for him, wherever it is told by first bytes what is encrypted.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type AttachmentStore,
  createAttachmentStore,
} from '../../../src/attachments/attachments.ts';
import { copyVerified } from '../../../src/attachments/copy.ts';
import { createFileAttachments } from '../../../src/attachments/file-attachments.ts';
import { ORTHANC_NAMING, objectKey } from '../../../src/attachments/naming.ts';
import type { NamingSettings } from '../../../src/config/settings.ts';
import { Envelope } from '../../../src/encryption/envelope.ts';
import type { EncryptionFormat } from '../../../src/encryption/sizes.ts';
import { createFileSystemStore } from '../../../src/providers/index.ts';
import type { ByteRange, ObjectStore } from '../../../src/store/object-store.ts';
import { createAes } from '../../support/aes.ts';
import { expectSameBytes, makeBody, makeBytes, makeSink, never } from '../../support/bodies.ts';
import {
  createMemoryStore,
  encrypt,
  OTHER_UUID,
  testKeyring,
  UUID,
} from '../encryption/support.ts';

const MB = 1024 * 1024;
const ONE = { uuid: UUID, contentType: 1 } as const;
const FLAT: NamingSettings = { ...ORTHANC_NAMING, structure: 'flat' };
const options = { signal: never() };
/** The last one has none to encrypt new objects with. */
const KEYRINGS = [testKeyring(3, 1, 3), testKeyring(undefined, 1, 3)] as const;
/** As once more keys are configured. */
const LATER = testKeyring(2, 1, 2, 3, 4, 5);

const openEnvelope = (keyring = KEYRINGS[0], format?: EncryptionFormat) =>
  new Envelope({
    keyring,
    createAes,
    format,
    maxInputBytes: 2 ** 30,
  });

let folder: string;
let disk: ObjectStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-lookalikes-'));
  disk = createFileSystemStore({ folder, isSynchronous: false });
});

afterEach(async () => {
  await disk.close();
  await rm(folder, { recursive: true });
});

/** Each with what reads it once more keys are configured. */
type Place = readonly [name: string, open: (keyring: typeof LATER) => AttachmentStore];

function places(): readonly Place[] {
  const bucket = createMemoryStore({ openRanges: true });
  const strict = createMemoryStore();
  const inBucket = (naming: NamingSettings, format?: EncryptionFormat, store = bucket) => {
    return (keyring: typeof LATER) =>
      createAttachmentStore({ store, naming, envelope: openEnvelope(keyring, format) });
  };
  const onDisk = (format?: EncryptionFormat) => (keyring: typeof LATER) =>
    createFileAttachments(disk, openEnvelope(keyring, format));
  return [
    ['legacy, off', inBucket(ORTHANC_NAMING)],
    ['legacy, off, a store without open ranges', inBucket(ORTHANC_NAMING, undefined, strict)],
    ['legacy, A1', inBucket(ORTHANC_NAMING, 'A1')],
    ['legacy, A2', inBucket(ORTHANC_NAMING, 'A2')],
    ['flat, off', inBucket(FLAT)],
    ['flat, A2', inBucket(FLAT, 'A2')],
    ['the folder, off', onDisk()],
    ['the folder, A1', onDisk('A1')],
    ['the folder, A2', onDisk('A2')],
    ['any file, no keys', () => createFileAttachments(disk, undefined)],
    ['legacy, no keys', () => createAttachmentStore({ store: bucket, naming: ORTHANC_NAMING })],
  ];
}

async function read(attachments: AttachmentStore, range?: ByteRange): Promise<Uint8Array> {
  const sink = makeSink();
  await attachments.get(ONE, range, sink, options);
  return sink.bytes();
}

async function expectStored(attachments: AttachmentStore, content: Uint8Array): Promise<void> {
  expectSameBytes(await read(attachments), content);
  const { length } = content;
  for (const [start, end] of [
    [0, Math.min(1, length)],
    [Math.floor(length / 3), Math.ceil((2 * length) / 3)],
    [Math.max(0, length - 1), length],
  ] as const) {
    if (start < end)
      expectSameBytes(await read(attachments, { start, end }), content.subarray(start, end));
  }
  const found = await attachments.find(ONE, options);
  expect(found?.encryption?.contentBytes ?? found?.storedBytes).toBe(length);
  if (attachments.files === undefined) return;
  const file = await attachments.files.open(ONE, options);
  expectSameBytes(file.body.read(0, file.body.sizeBytes), content);
  await file.close();
}

/** Stored by a client, and brought there by a move, in pieces to the disk. */
async function expectKept(content: Uint8Array): Promise<void> {
  const source = createMemoryStore({ pieceBytes: Math.max(1, Math.ceil(content.length / 7)) });
  const from = createAttachmentStore({ store: source, naming: FLAT });
  await from.put(ONE, makeBody(content), options);
  for (const [name, open] of places()) {
    for (const keyring of KEYRINGS) {
      // Where there is a format, there is a master key; without any, the keyring is of no use.
      if (keyring.master === undefined && !name.includes('off')) continue;
      const attachments = open(keyring);
      await attachments.put(ONE, makeBody(content), options);
      await expectStored(attachments, content);
      expectSameBytes(await read(open(LATER)), content);
      await attachments.remove(ONE, options);
      const expected = { sizeBytes: undefined, md5Hex: undefined };
      await copyVerified({ attachment: ONE, from, to: attachments, expected }, options);
      await expectStored(attachments, content);
      await attachments.remove(ONE, options);
    }
  }
}

/** @param sizeBytes of the content, which Orthanc's StorageCompression puts before it */
function compressed(sizeBytes: number): Buffer {
  const bytes = Buffer.from(makeBytes(300));
  bytes.writeBigUInt64LE(BigInt(sizeBytes));
  return bytes;
}

/** A DICOM file, whose preamble is its author's to fill. */
function withPreamble(text: string, restBytes = 1000): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), makeBytes(restBytes)]);
  bytes.write(text, 'latin1');
  return bytes;
}

const KEYED = { keyring: testKeyring(3, 3), uuid: UUID, contentType: 1 };

describe('comes back as it was stored:', () => {
  test.each<[string, () => Uint8Array | Promise<Uint8Array>]>([
    ['an A1 object of the bucket', () => encrypt('A1', makeBytes(5000), KEYED)],
    ['an A2 object, in the place of itself', () => encrypt('A2', makeBytes(70_000), KEYED)],
    [
      'an A2 object of another attachment',
      () => encrypt('A2', makeBytes(5000), { ...KEYED, uuid: OTHER_UUID }),
    ],
    [
      'an object under a key that is not configured',
      () => encrypt('A1', makeBytes(50), { keyring: testKeyring(4, 4) }),
    ],
    [
      'an object that is encrypted twice',
      async () => await encrypt('A1', await encrypt('A1', makeBytes(50), KEYED), KEYED),
    ],
    ['DICOM with a preamble of a known key', () => withPreamble('A1\x03\0\0\0 hello')],
    ['the same, A2', () => withPreamble('A2\x03\0\0\0 hello')],
    ['DICOM with a preamble of an unknown, usual key', () => withPreamble('A1\x05\0\0\0 hello')],
    ['DICOM with a preamble of an unusual key', () => withPreamble('A2 the ward')],
    [
      'a size that no A2 object has',
      () => withPreamble('A2', 70_000).subarray(0, 53 + 65_552 + 16),
    ],
    ...[12_609, 78_144, 78_145, 78_146, 78_401, 12_865 + 3 * 65_536].map(
      (sizeBytes): [string, () => Uint8Array] => [
        `compressed ${sizeBytes} bytes`,
        () => compressed(sizeBytes),
      ],
    ),
  ])('%s', async (_name, make) => {
    await expectKept(await make());
  });

  // The smallest object has 69 bytes in A2, 86 in A1; their headers have 53 and 70.
  test.each([2, 5, 6, 52, 53, 54, 68, 69, 70, 71, 85, 86, 87])('%i bytes', async (sizeBytes) => {
    for (const magic of ['A1\x03\0\0\0', 'A2\x03\0\0\0']) {
      const content = Buffer.alloc(sizeBytes, 0x80);
      content.write(magic, 'latin1');
      await expectKept(content);
    }
  });

  test.each(['A1', 'A2', undefined] as const)(
    'a large one that begins so, which moves to the disk in pieces, %s',
    async (format) => {
      const content = Buffer.from(makeBytes(5 * MB + 17));
      const bucket = createAttachmentStore({
        store: createMemoryStore({ pieceBytes: 100_003 }),
        naming: FLAT,
        envelope: openEnvelope(KEYRINGS[0], format),
      });
      const files = createFileAttachments(disk, openEnvelope(KEYRINGS[0], format));
      for (const sizeBytes of [5 * MB + 17, 5 * MB, 80 * 65_536]) {
        content.write('A2\x03\0\0\0', 'latin1');
        const part = content.subarray(0, sizeBytes);
        await bucket.put(ONE, makeBody(part), options);
        const copy = { attachment: ONE, expected: { sizeBytes, md5Hex: undefined } };
        await copyVerified({ ...copy, from: bucket, to: files }, options);
        await expectStored(files, part);
        await bucket.remove(ONE, options);
        await copyVerified({ ...copy, from: files, to: bucket }, options);
        expectSameBytes(await read(bucket), part);
      }
    },
  );

  test('anything', async () => {
    const magic = fc.constantFrom('A1', 'A2', 'A', 'B1', 'a1');
    const keyId = fc.constantFrom(0, 1, 2, 3, 5, 65_535, 65_536, 0xffff_ffff);
    const rest = fc.uint8Array({ maxLength: 200 });
    await fc.assert(
      fc.asyncProperty(magic, keyId, rest, async (text, id, bytes) => {
        const key = Buffer.alloc(4);
        key.writeUInt32LE(id);
        await expectKept(Buffer.concat([Buffer.from(text), key, bytes]));
      }),
      { numRuns: 15 },
    );
  }, 60_000);
});

test('where no key is configured a lookalike, and with keys any other content, is stored as it is', async () => {
  const lookalike = await encrypt('A1', makeBytes(100), KEYED);
  const key = objectKey(UUID, 1, ORTHANC_NAMING, false);
  const stored = async (
    envelope: ReturnType<typeof openEnvelope> | undefined,
    bytes: Uint8Array,
  ) => {
    await createFileAttachments(disk, envelope).put(ONE, makeBody(bytes), options);
    const sink = makeSink();
    await disk.get(key, undefined, sink, options);
    return Buffer.from(sink.bytes());
  };
  expectSameBytes(await stored(undefined, lookalike), lookalike);
  expectSameBytes(await stored(openEnvelope(), makeBytes(100)), makeBytes(100));
  // For the C++ plugins, which read A1; a key that is for A2 alone gets no A1 object.
  expect((await stored(openEnvelope(), lookalike)).toString('latin1', 0, 6)).toBe('A1\x03\0\0\0');
  const a2 = openEnvelope(KEYRINGS[0], 'A2');
  expect((await stored(a2, lookalike)).toString('latin1', 0, 6)).toBe('A2\x03\0\0\0');
});
