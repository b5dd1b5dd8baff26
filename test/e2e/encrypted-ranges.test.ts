// SPDX-License-Identifier: GPL-3.0-or-later
// What parts of a large instance cost: of a plain object just their bytes, of one in A2 the segments that hold them.

import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeMultiFrameDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { rangeOf } from '../support/store-proxy.ts';
import { createWorld, type World } from '../support/world.ts';

const file = makeMultiFrameDicom('1.2.9.31', 200);
const KIB = 1024;
const SEALED_SEGMENT_BYTES = 65_552;

let world: World;
let keyFile: string;

beforeAll(async () => {
  world = await createWorld();
  keyFile = join(world.folder, 'master.key');
  await writeFile(keyFile, randomBytes(32).toString('base64'), { mode: 0o600 });
});

afterAll(() => world.close());

/** `tags` and `middle`: the most requests that each may take. */
describe.each([
  { name: 'plain', encryption: undefined, tags: 1, middle: 1 },
  { name: 'A2', encryption: 'A2', tags: 2, middle: 2 },
])('of 200 MB, $name', ({ name, encryption, tags, middle }) => {
  let orthanc: Orthanc;
  let id: string;

  beforeAll(async () => {
    const StorageEncryption =
      encryption === undefined ? {} : { MasterKey: [1, keyFile], Format: encryption };
    orthanc = await world.start(name, {
      configuration: {
        MaximumStorageCacheSize: 0,
        // On a busy machine 200 MB take longer than Orthanc's 30 s.
        HttpRequestTimeout: 300,
        ...world.configure({ RootPath: name, StorageEncryption }),
      },
    });
    id = (await orthanc.upload(file)).ID;
  });

  afterAll(() => orthanc.kill());

  /** What the store was asked for since `forget`: each request, and the bytes of all. */
  function asked() {
    const sizes = world.proxy.requests().map((request) => {
      expect(request.method).toBe('GET');
      const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(rangeOf(request) ?? '') ?? [];
      return Number(last) - Number(first) + 1;
    });
    return { requests: sizes.length, bytes: sizes.reduce((sum, size) => sum + size, 0) };
  }

  test('the tags take at most 256 KiB', async () => {
    world.proxy.forget();
    const read = (await orthanc.json(`/instances/${id}/simplified-tags`)) as object;
    expect(read).toMatchObject({ PatientName: 'Doe^Jane', NumberOfFrames: '200' });
    const { requests, bytes } = asked();
    expect(requests).toBeLessThanOrEqual(tags);
    expect(bytes).toBeLessThanOrEqual(256 * KIB);
  });

  test('a part in the middle takes the segments that hold it', async () => {
    const [start, end] = [100_000_000, 100_010_000];
    world.proxy.forget();
    const part = await orthanc.get(`/instances/${id}/attachments/dicom/data`, {
      range: `bytes=${start}-${end - 1}`,
    });
    expect(part.equals(file.subarray(start, end))).toBe(true);
    const { requests, bytes } = asked();
    expect(requests).toBeLessThanOrEqual(middle);
    expect(bytes).toBeLessThanOrEqual(
      encryption === undefined ? end - start : 2 * SEALED_SEGMENT_BYTES + KIB,
    );
  });
});
