// SPDX-License-Identifier: GPL-3.0-or-later
// 256 MB in and out: what is in memory of it at any time.

import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { DecryptingSink } from '../../src/encryption/decrypting-sink.ts';
import { encryptBody } from '../../src/encryption/encrypted-body.ts';
import { Pacer } from '../../src/encryption/pacer.ts';
import { ciphertextSize } from '../../src/encryption/sizes.ts';
import { bodyFrom } from '../../src/store/bodies.ts';
import type { Body } from '../../src/store/object-store.ts';
import { createAes } from '../support/aes.ts';
import { makeBytes, never } from '../support/bodies.ts';
import { DICOM, KEYRING, UUID } from '../unit/encryption/support.ts';

const MB = 1024 * 1024;
const SIZE = 256 * MB;
const PIECE_BYTES = 256 * 1024;

/** Buffers that nobody holds any more stay until the collector runs. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  return collect;
}

/** A content of 256 MB that repeats 1 MB. */
function createVirtualBody(): Body & { largestRead(): number } {
  const block = makeBytes(MB);
  let largest = 0;
  const body = bodyFrom(SIZE, (start, target) => {
    largest = Math.max(largest, target.length);
    for (let at = 0; at < target.length; ) {
      const from = (start + at) % MB;
      const part = block.subarray(from, Math.min(MB, from + target.length - at));
      target.set(part, at);
      at += part.length;
    }
  });
  return { ...body, largestRead: () => largest };
}

test.each(['A1', 'A2'] as const)('%s: 256 MB there and back', async (format) => {
  const { master } = KEYRING;
  if (master === undefined) throw new Error('no master key');
  const content = createVirtualBody();
  const expected = makeBytes(MB);
  const target = { format, master, uuid: UUID, contentType: DICOM, createAes };
  const body = await encryptBody(content, target, new Pacer(), never());
  expect(body.sizeBytes).toBe(ciphertextSize(format, SIZE));

  let largestWrite = 0;
  let writtenBytes = 0;
  let isSame = true;
  const sink = new DecryptingSink(
    {
      begin: (sizeBytes) => {
        expect(sizeBytes).toBe(SIZE);
      },
      write(offset, bytes) {
        largestWrite = Math.max(largestWrite, bytes.length);
        writtenBytes += bytes.length;
        const from = offset % MB;
        const part = expected.subarray(from, from + bytes.length);
        isSame &&= Buffer.compare(part, bytes.subarray(0, part.length)) === 0;
      },
    },
    {
      find: (id) => KEYRING.find(id),
      hasKey: (id) => KEYRING.ids.includes(id),
      createAes,
      identity: { uuid: UUID, contentType: DICOM },
      plain: 'refuse',
      wanted: undefined,
    },
    { start: 0, header: undefined },
  );
  sink.begin(body.sizeBytes, body.sizeBytes);
  const collect = collector();
  collect();
  const before = process.memoryUsage().arrayBuffers;
  let most = 0;
  for (let start = 0; start < body.sizeBytes; start += PIECE_BYTES) {
    sink.write(start, body.read(start, Math.min(start + PIECE_BYTES, body.sizeBytes)));
    if (start % (32 * MB) === 0) {
      // Freed in the background, and counted when the loop turns.
      collect();
      await setImmediate();
      collect();
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
    }
  }
  expect(sink.finish()).toBe(true);
  expect(writtenBytes).toBe(SIZE);
  expect(isSame).toBe(true);
  expect(most).toBeLessThan(MB);
  expect(content.largestRead()).toBeLessThanOrEqual(PIECE_BYTES + 16);
  expect(largestWrite).toBeLessThanOrEqual(PIECE_BYTES);
});
