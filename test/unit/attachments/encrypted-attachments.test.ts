// SPDX-License-Identifier: GPL-3.0-or-later

import { deflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import {
  type AttachmentStore,
  createAttachmentStore,
} from '../../../src/attachments/attachments.ts';
import type { NamingSettings } from '../../../src/config/settings.ts';
import { Envelope } from '../../../src/encryption/envelope.ts';
import type { EncryptionFormat } from '../../../src/encryption/sizes.ts';
import { createAes } from '../../support/aes.ts';
import {
  expectFailure,
  expectSameBytes,
  makeBody,
  makeBytes,
  makeSink,
  never,
} from '../../support/bodies.ts';
import { createMemoryStore, KEYRING, type MemoryStore, UUID } from '../encryption/support.ts';

const FLAT: NamingSettings = { rootPath: '', structure: 'flat', legacyUnknownFiles: false };
const LEGACY: NamingSettings = { ...FLAT, structure: 'legacy' };
const DICOM = { uuid: UUID, contentType: 1 } as const;
const HEAD = { uuid: UUID, contentType: 3 } as const;
const CONTENT = makeBytes(100_000);

function open(
  store: MemoryStore,
  format: EncryptionFormat | undefined,
  naming = FLAT,
): AttachmentStore {
  const envelope = new Envelope({
    keyring: KEYRING,
    createAes,
    format,
    maxInputBytes: 2 ** 30,
  });
  return createAttachmentStore({ store, naming, envelope });
}

async function read(attachments: AttachmentStore, range?: { start: number; end: number }) {
  const sink = makeSink();
  await attachments.get(DICOM, range, sink, { signal: never() });
  return sink.bytes();
}

const put = (attachments: AttachmentStore, attachment: typeof DICOM | typeof HEAD = DICOM) =>
  attachments.put(attachment, makeBody(CONTENT), { signal: never() });

describe('encryption', () => {
  test('switched on: `.enc`, one request each way', async () => {
    const store = createMemoryStore({ openRanges: true });
    const attachments = open(store, 'A2');
    expect(await put(attachments)).toBe(`${UUID}.dcm.enc`);
    expect(await put(attachments, HEAD)).toBe(`${UUID}.dcm.head.enc`);
    expectSameBytes(await read(attachments), CONTENT);
    expectSameBytes(await read(attachments, { start: 5, end: 9 }), CONTENT.subarray(5, 9));
    expect(store.requests).toHaveLength(4);
    for (const object of store.objects.values())
      expect(object.includes(Buffer.from(CONTENT.subarray(0, 16)))).toBe(false);
  });

  test('switched on later: plain objects are found and removed', async () => {
    const store = createMemoryStore();
    await put(open(store, undefined));
    const attachments = open(store, 'A1');
    expectSameBytes(await read(attachments), CONTENT);
    expectSameBytes(await read(attachments, { start: 5, end: 9 }), CONTENT.subarray(5, 9));
    expect(await attachments.find(DICOM, { signal: never() })).toEqual({
      key: `${UUID}.dcm`,
      storedBytes: CONTENT.length,
    });
    await attachments.remove(DICOM, { signal: never() });
    expect(store.objects.size).toBe(0);
  });

  test.each(['A1', 'A2'] as const)(
    'switched off later: %s is found and removed',
    async (format) => {
      const store = createMemoryStore();
      await put(open(store, format));
      const attachments = open(store, undefined);
      expectSameBytes(await read(attachments), CONTENT);
      expect(await put(attachments)).toBe(`${UUID}.dcm`);
      expect(store.objects.size).toBe(2);
      await attachments.remove(DICOM, { signal: never() });
      expect(store.objects.size).toBe(0);
    },
  );

  test('plaintext under an encrypted name is refused, also where a plain object lies beside it', async () => {
    const store = createMemoryStore();
    store.objects.set(`${UUID}.dcm.enc`, Buffer.from(CONTENT));
    store.objects.set(`${UUID}.dcm`, Buffer.from(CONTENT));
    await expectFailure(read(open(store, 'A1')), 'INTEGRITY');
    await expectFailure(read(open(store, 'A2'), { start: 0, end: 1 }), 'INTEGRITY');
  });

  test('nothing is there under any name', async () => {
    const store = createMemoryStore();
    await expectFailure(read(open(store, 'A1')), 'NOT_FOUND');
    await open(store, 'A1').remove(DICOM, { signal: never() });
  });

  test('headers of old plugins, under all their names', async () => {
    const store = createMemoryStore();
    const naming = { ...FLAT, legacyUnknownFiles: true };
    for (const name of ['.unk', '.unk.enc', '.dcm.head', '.dcm.head.enc']) {
      store.objects.set(`${UUID}${name}`, Buffer.alloc(1));
    }
    await open(store, 'A1', naming).remove(HEAD, { signal: never() });
    expect(store.objects.size).toBe(0);
  });

  test.each([
    ['a text that begins as one', Buffer.from(`A1 protocol of the ward, ${'x'.repeat(200)}`)],
    ['what Orthanc has compressed, which begins with its size', compressedOf(12_609)],
    ['the same, larger', compressedOf(12_865 + 77 * 65_536)],
  ])(
    'legacy structure: %s is not encrypted, where it was stored without keys',
    async (_name, content) => {
      const store = createMemoryStore({ openRanges: true });
      const naming = LEGACY;
      const body = { ...makeBody(content) };
      await createAttachmentStore({ store, naming }).put(DICOM, body, { signal: never() });
      for (const reader of ['A1', 'A2', undefined] as const) {
        const attachments = open(store, reader, naming);
        expectSameBytes(await read(attachments), content);
        expectSameBytes(await read(attachments, { start: 1, end: 60 }), content.subarray(1, 60));
        const found = await attachments.find(DICOM, { signal: never() });
        expect(found?.encryption).toBeUndefined();
      }
    },
  );

  test('legacy structure: the first bytes tell', async () => {
    const store = createMemoryStore({ openRanges: true });
    const key = `${UUID.slice(0, 2)}/${UUID.slice(2, 4)}/${UUID}`;
    for (const format of ['A1', 'A2', undefined] as const) {
      expect(await put(open(store, format, LEGACY))).toBe(key);
      for (const reader of ['A1', 'A2', undefined] as const) {
        const attachments = open(store, reader, LEGACY);
        expectSameBytes(await read(attachments), CONTENT);
        expectSameBytes(
          await read(attachments, { start: 9, end: 70_000 }),
          CONTENT.subarray(9, 70_000),
        );
      }
    }
    await open(store, 'A2', LEGACY).remove(DICOM, { signal: never() });
    expect(store.objects.size).toBe(0);
  });
});

/** Eight bytes of size, then zlib's. */
function compressedOf(sizeBytes: number): Buffer {
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(sizeBytes));
  return Buffer.concat([size, deflateSync(Buffer.alloc(sizeBytes, 'a line of text '))]);
}
