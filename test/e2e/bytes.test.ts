// SPDX-License-Identifier: GPL-3.0-or-later
// Real DICOM goes in and comes back as it was, whichever way it takes.

import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type DicomFile, formatAssociation, readDicomFiles } from '../support/dicom.ts';
import { type Configuration, type Orthanc, sendByDicom } from '../support/orthanc.ts';
import { inParallel } from '../support/parallel.ts';
import { createWorlds, type Provider, type World, type Worlds } from '../support/world.ts';
import { readZip } from '../support/zip.ts';

/** One instance, as an Orthanc without the plugin has it. */
interface Known {
  readonly file: DicomFile;
  readonly id: string;
  readonly series: string;
  readonly tags: Buffer;
  readonly sopClass: string;
  readonly transferSyntax: string;
  /** What Orthanc makes of it when it comes by C-STORE. */
  readonly received: Buffer | undefined;
}

const CLIENTS = 8;
/** As many as Orthanc serves at once. */
const ASSOCIATIONS = 4;

let worlds: Worlds;
/** That of the Orthanc without the plugin, and of the files. */
let home: World;
let known: readonly Known[];
/** Of storescu. */
let associationFile: string;

beforeAll(async () => {
  worlds = await createWorlds();
  home = worlds.of('s3');
  associationFile = join(home.folder, 'storescu.cfg');
  known = await askPlainOrthanc();
});

afterAll(() => worlds.close());

async function askPlainOrthanc(): Promise<readonly Known[]> {
  const plain = await home.startPlain('plain');
  const instances: Omit<Known, 'received'>[] = [];
  for (const file of await readDicomFiles(home.box, join(home.folder, 'dicom'))) {
    const answer = await plain.request('POST', '/instances', file.bytes);
    if (answer.status !== 200) continue; // not DICOM, or damaged on purpose
    const upload = JSON.parse(answer.body.toString()) as Awaited<ReturnType<Orthanc['upload']>>;
    if (upload.Status !== 'Success') continue; // another form of an instance that is there
    const metadata = async (name: string) =>
      (await plain.get(`/instances/${upload.ID}/metadata/${name}`)).toString();
    instances.push({
      file,
      id: upload.ID,
      series: upload.ParentSeries,
      tags: await plain.get(`/instances/${upload.ID}/tags`),
      sopClass: await metadata('SopClassUid').catch(() => ''),
      transferSyntax: await metadata('TransferSyntax'),
    });
  }
  await deleteAll(plain);
  await writeFile(
    associationFile,
    formatAssociation(instances.filter(({ sopClass }) => sopClass !== '')),
  );
  await send(plain, instances);
  const received = await inParallel(instances, CLIENTS, ({ id }) =>
    plain.get(`/instances/${id}/file`).catch(() => undefined),
  );
  await plain.kill();
  return instances.map((instance, index) => ({ ...instance, received: received[index] }));
}

async function deleteAll(orthanc: Orthanc): Promise<void> {
  const patients = (await orthanc.json('/patients')) as string[];
  await inParallel(patients, CLIENTS, (id) => orthanc.request('DELETE', `/patients/${id}`));
}

async function send(orthanc: Orthanc, instances: readonly Omit<Known, 'received'>[]) {
  const paths = instances.filter(({ sopClass }) => sopClass !== '').map(({ file }) => file.path);
  const options = ['--no-halt', '--config-file', associationFile, 'All'];
  // Several associations at once: one spends most of its time waiting for TCP's delayed acknowledgements.
  const shares = Array.from({ length: ASSOCIATIONS }, (_, share) =>
    paths.filter((_path, index) => index % ASSOCIATIONS === share),
  );
  await Promise.all(
    shares.map((share) => sendByDicom(home.box, orthanc, 'storescu', [...options, ...share])),
  );
}

async function expectFilesAndTags(orthanc: Orthanc): Promise<void> {
  await inParallel(known, CLIENTS, async ({ id, file, tags }) => {
    expectSame(await orthanc.get(`/instances/${id}/file`), file.bytes, file.name);
    expectSame(await orthanc.get(`/instances/${id}/tags`), tags, `tags of ${file.name}`);
  });
}

/** Asks in all the ways in which Orthanc hands files out. */
async function expectIntact(orthanc: Orthanc): Promise<void> {
  await expectFilesAndTags(orthanc);
  await inParallel(known, CLIENTS, async ({ id, file }) => {
    const data = await orthanc.get(`/instances/${id}/attachments/dicom/data`);
    expectSame(data, file.bytes, `attachment of ${file.name}`);
    await expectRanges(orthanc, id, file);
  });
  const allSeries = [...new Set(known.map((instance) => instance.series))];
  await inParallel(allSeries, CLIENTS, async (series) => {
    const archive = readZip(await orthanc.get(`/series/${series}/archive`));
    const found = [...archive.values()].map(digest).sort();
    const expected = known.filter((instance) => instance.series === series);
    expect(found, series).toEqual(expected.map(({ file }) => digest(file.bytes)).sort());
  });
}

/** C-STORE gives a file a new head, so that it is not what was sent. */
async function expectReceived(orthanc: Orthanc): Promise<void> {
  await inParallel(known, CLIENTS, async ({ id, received, file }) => {
    if (received === undefined) return;
    expectSame(await orthanc.get(`/instances/${id}/file`), received, file.name);
  });
}

async function expectRanges(orthanc: Orthanc, id: string, { bytes, name }: DicomFile) {
  const last = bytes.length - 1;
  for (const [start, end] of [
    [0, 0],
    [100, 299],
    [last - 50, last],
  ] as const) {
    const answer = await orthanc.request(
      'GET',
      `/instances/${id}/attachments/dicom/data`,
      undefined,
      {
        range: `bytes=${start}-${end}`,
      },
    );
    expect(answer.status, name).toBe(206);
    expectSame(answer.body, bytes.subarray(start, end + 1), `${name} ${start}-${end}`);
  }
}

const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

function expectSame(actual: Buffer, expected: Uint8Array, what: string): void {
  expect(actual.length, what).toBe(expected.length);
  expect(Buffer.compare(actual, expected), what).toBe(0);
}

test('pydicom has files enough to mean something', () => {
  expect(known.length).toBeGreaterThan(35);
  expect(known.filter(({ received }) => received !== undefined).length).toBeGreaterThan(30);
  expect(new Set(known.map(({ transferSyntax }) => transferSyntax)).size).toBeGreaterThan(8);
});

interface Setting {
  readonly name: string;
  readonly provider: Provider;
  readonly configuration: Configuration;
  /** C-STORE as well: it shares all but Orthanc's receiving with the other way in. */
  readonly byDicom: boolean;
}

const NO_CACHE = { MaximumStorageCacheSize: 0 };
const COMPRESSED = { StorageCompression: true };
const settings: readonly Setting[] = [
  { name: 'as Orthanc comes', provider: 's3', configuration: {}, byDicom: true },
  { name: 'in Azure', provider: 'azure', configuration: NO_CACHE, byDicom: true },
  { name: 'in Google Cloud Storage', provider: 'google', configuration: NO_CACHE, byDicom: true },
  { name: 'without the storage cache', provider: 's3', configuration: NO_CACHE, byDicom: false },
  { name: 'with StorageCompression', provider: 's3', configuration: COMPRESSED, byDicom: false },
  {
    name: 'with StorageCompression and no cache',
    provider: 's3',
    configuration: { ...COMPRESSED, ...NO_CACHE },
    byDicom: true,
  },
];

// Side by side: an Orthanc that stops sleeps most of the time.
describe.concurrent.each(settings)('$name', ({ name, provider, configuration, byDicom }) => {
  test('comes in, goes out and leaves nothing', async () => {
    const world = worlds.of(provider);
    const folder = name.replaceAll(' ', '-');
    const options = {
      configuration: { ...configuration, ...world.configure({ RootPath: folder }) },
    };
    let orthanc = await world.start(folder, options);
    if (byDicom) {
      await send(orthanc, known);
      await expectReceived(orthanc);
      await deleteAll(orthanc);
      expect(await world.objects(folder)).toEqual([]);
    }

    await inParallel(known, CLIENTS, async ({ file }) => {
      expect((await orthanc.upload(file.bytes)).Status).toBe('Success');
    });
    await expectFilesAndTags(orthanc);
    expect(await orthanc.stop()).toBe(0);
    orthanc = await world.start(folder, options);
    await expectIntact(orthanc);
    await deleteAll(orthanc);
    expect(await world.objects(folder)).toEqual([]);
    await orthanc.kill();
  });
});
