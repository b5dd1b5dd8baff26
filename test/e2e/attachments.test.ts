// SPDX-License-Identifier: GPL-3.0-or-later
// Everything that Orthanc does with attachments: of all sizes, twice, many at once, and away again.

import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { makeBytes } from '../support/bodies.ts';
import { makeDicom, makeMultiFrameDicom } from '../support/dicom.ts';
import type { Orthanc } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorld, describeProviders, type Provider, type World } from '../support/world.ts';

const attachment = (id: string) => `/instances/${id}/attachments/report`;

interface Large {
  readonly sizeMb: number;
  /** In the query of a part, which tells it from the requests that begin and end the upload. */
  readonly part: RegExp;
  /** At least. */
  readonly parts: number;
  readonly others: number;
}

/** Too large for one request. */
const LARGE: Readonly<Record<Provider, Large>> = {
  // A multipart upload, begun and completed.
  s3: { sizeMb: 200, part: /partNumber=/, parts: 2, others: 2 },
  // Blocks, and their list at the end.
  azure: { sizeMb: 100, part: /comp=block(&|$)/, parts: 2, others: 1 },
  // A session, which takes it in one piece.
  google: { sizeMb: 50, part: /upload_id=/, parts: 1, others: 1 },
};

describeProviders('attachments', (provider) => {
  let world: World;
  let orthanc: Orthanc;

  beforeAll(async () => {
    world = await createWorld({ provider });
    orthanc = await world.start('default', {
      configuration: { MaximumStorageCacheSize: 0, UserContentType: { report: 1030 } },
    });
  });

  afterEach(async () => {
    for (const id of (await orthanc.json('/patients')) as string[]) {
      await orthanc.request('DELETE', `/patients/${id}`);
    }
  });

  afterAll(() => world.close());

  const count = async () => (await world.objects()).length;

  /** @param path of an attachment's data, or of a file */
  async function expectContent(path: string, expected: Uint8Array): Promise<void> {
    const bytes = await orthanc.get(path);
    expect(bytes.length, path).toBe(expected.length);
    expect(Buffer.compare(bytes, expected), path).toBe(0);
  }

  test.each([0, 1, 70_000])('a user-defined attachment of %i bytes', async (sizeBytes) => {
    const { ID } = await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 1000 }));
    const bytes = makeBytes(sizeBytes);
    world.proxy.forget();
    expect((await orthanc.request('PUT', attachment(ID), bytes)).status).toBe(200);
    await expectContent(`${attachment(ID)}/data`, bytes);
    // What has no bytes is not even asked for, and one byte has room in a cache of size 0 of 1.12.7's.
    const { GET = 0, ...others } = world.proxy.counts();
    expect(others).toEqual({ [world.createMethod]: 1 });
    expect(GET).toBeLessThanOrEqual(1);
    if (sizeBytes > 1) expect(GET).toBe(1);
    expect((await world.objects()).filter((key) => key.endsWith('.unk'))).toHaveLength(1);

    expect((await orthanc.request('DELETE', attachment(ID))).status).toBe(200);
    expect((await world.objects()).filter((key) => key.endsWith('.unk'))).toEqual([]);
    await orthanc.request('DELETE', `/instances/${ID}`);
    expect(await world.objects()).toEqual([]);
  });

  test('the same instance twice: the first stays, and no orphan', async () => {
    const first = makeDicom({ sopInstanceUid: '1.2.3.2', pixelBytes: 2000 });
    const second = Buffer.from(first);
    second[second.length - 1] = 0xff;
    const { ID } = await orthanc.upload(first);
    expect((await orthanc.upload(second)).Status).toBe('AlreadyStored');
    expect(await count()).toBe(1);
    await expectContent(`/instances/${ID}/file`, first);
    await orthanc.request('DELETE', `/instances/${ID}`);
    expect(await count()).toBe(0);
  });

  test('the same instance twice with OverwriteInstances: the second stays, and no orphan', async () => {
    const other = await world.start('overwriting', {
      configuration: { MaximumStorageCacheSize: 0, OverwriteInstances: true },
    });
    const first = makeDicom({ sopInstanceUid: '1.2.3.2', pixelBytes: 2000 });
    const second = Buffer.from(first);
    second[second.length - 1] = 0xff;
    const { ID } = await other.upload(first);
    expect((await other.upload(second)).Status).toBe('Success');
    expect(await count()).toBe(1);
    expect(Buffer.compare(await other.get(`/instances/${ID}/file`), second)).toBe(0);
    await other.request('DELETE', `/instances/${ID}`);
    expect(await count()).toBe(0);
    await other.kill();
  });

  test('deletes of an instance, a series and a patient leave nothing behind', async () => {
    const make = (patientId: string, number: number) =>
      orthanc.upload(
        makeDicom({ sopInstanceUid: `1.2.3.3.${number}`, patientId, pixelBytes: 4000 }),
      );
    const one = await Promise.all([1, 2, 3].map((number) => make('ONE', number)));
    const two = await Promise.all([4, 5, 6].map((number) => make('TWO', number)));
    const [a] = one;
    const [b] = two;
    if (a === undefined || b === undefined) throw new Error('no upload');
    await orthanc.request('PUT', attachment(a.ID), makeBytes(10));
    await orthanc.request('PUT', `/patients/${b.ParentPatient}/attachments/report`, makeBytes(10));
    expect(await count()).toBe(8);

    await orthanc.request('DELETE', `/instances/${a.ID}`);
    expect(await count()).toBe(6);
    await orthanc.request('DELETE', `/series/${a.ParentSeries}`);
    expect(await count()).toBe(4);
    await orthanc.request('DELETE', `/patients/${b.ParentPatient}`);
    expect(await count()).toBe(0);
  });

  test('compressing and uncompressing an attachment moves it, whole', async () => {
    const file = makeDicom({ sopInstanceUid: '1.2.3.4', pixelBytes: 100_000 });
    const { ID } = await orthanc.upload(file);
    const path = `/instances/${ID}/attachments/dicom`;
    for (const change of ['compress', 'uncompress']) {
      expect((await orthanc.request('POST', `${path}/${change}`, '')).status).toBe(200);
      await expectContent(`${path}/data`, file);
      expect(await count()).toBe(1);
    }
    expect((await orthanc.request('POST', `${path}/verify-md5`, '')).status).toBe(200);
    await orthanc.request('DELETE', `/instances/${ID}`);
  });

  test('8 writers and 16 readers at once', async () => {
    const files = Array.from({ length: 64 }, (_, index) =>
      makeDicom({
        sopInstanceUid: `1.2.3.5.${index}`,
        patientId: `P${index % 4}`,
        pixelBytes: 20_000 + index * 1000,
      }),
    );
    const uploads = await inParallel(files, 8, (file) => orthanc.upload(file));
    expect(await count()).toBe(files.length);
    const reads = [...uploads, ...uploads, ...uploads];
    await inParallel(reads, 16, async ({ ID }, index) => {
      const expected = files[index % files.length];
      if (expected === undefined) throw new Error('no file');
      await expectContent(`/instances/${ID}/file`, expected);
    });
    // Reading and writing mixed, the way an archive works by day.
    await Promise.all([
      inParallel(files, 8, (_file, index) =>
        orthanc.upload(makeDicom({ sopInstanceUid: `1.2.3.6.${index}`, pixelBytes: 30_000 })),
      ),
      inParallel(uploads, 16, ({ ID }) => orthanc.get(`/instances/${ID}/tags`)),
    ]);
    expect(await count()).toBe(2 * files.length);
    for (const id of (await orthanc.json('/patients')) as string[]) {
      await orthanc.request('DELETE', `/patients/${id}`);
    }
    expect(await count()).toBe(0);
  });

  test('an instance of many MB', async () => {
    const { sizeMb, part, parts, others } = LARGE[provider];
    const file = makeMultiFrameDicom('1.2.3.7', sizeMb);
    world.proxy.forget();
    const { ID } = await orthanc.upload(file);
    const requests = world.proxy.requests();
    const sent = requests.filter(({ query }) => part.test(query));
    expect(sent.length).toBeGreaterThanOrEqual(parts);
    expect(requests.length - sent.length).toBe(others);
    world.proxy.forget();
    await expectContent(`/instances/${ID}/file`, file);
    // Large answers may come in pieces, over several connections.
    expect(world.proxy.counts()).toEqual({ GET: expect.any(Number) as number });
    await orthanc.get(`/instances/${ID}/tags`);
    await orthanc.request('DELETE', `/instances/${ID}`);
    expect(await count()).toBe(0);
  });
});
