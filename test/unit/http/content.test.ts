// SPDX-License-Identifier: GPL-3.0-or-later

import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { crc32 } from '../../../src/checksums/checksums.ts';
import { digest, PIECE_BYTES } from '../../../src/http/content.ts';
import { expectFailure, makeBody, makeBytes, never } from '../../support/bodies.ts';

const ALL = { crc32: true, md5: true, sha256: true };

test('contents that are digested at the same time do not mix', async () => {
  const contents = [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 7, 2 * PIECE_BYTES - 1].map(makeBytes);
  const digests = await Promise.all(
    contents.map((content) => digest(makeBody(content), ALL, never())),
  );
  expect(digests).toEqual(
    contents.map((content) => ({
      crc32: crc32(content, 0),
      md5Base64: createHash('md5').update(content).digest('base64'),
      sha256Hex: createHash('sha256').update(content).digest('hex'),
    })),
  );
});

test('a content is not read after an abort', async () => {
  const controller = new AbortController();
  const body = makeBody(makeBytes(2 * PIECE_BYTES));
  const work = digest(body, ALL, controller.signal);
  controller.abort();
  body.end();
  await expectFailure(work, 'ABORTED');
  expect(body.readsAfterEnd()).toBe(0);
});
