// SPDX-License-Identifier: GPL-3.0-or-later
// The ids that `verify --identify` makes of a file are those that Orthanc itself gives it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ensureBox } from '../../scripts/lib/box.mjs';
import { orthancIdsOf, readDicomIdentifiers } from '../../src/tools/verify/dicom.ts';
import { type DicomFile, makeDicom, readDicomFiles } from '../support/dicom.ts';
import { type Orthanc, startOrthanc, type Upload } from '../support/orthanc.ts';
import { boxName } from '../support/world.ts';

let folder: string;
let files: readonly DicomFile[];
let orthanc: Orthanc;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'oos-dicom-ids-'));
  const box = await ensureBox(boxName);
  files = await readDicomFiles(box, join(folder, 'dicom'));
  orthanc = await startOrthanc({ box, folder: join(folder, 'orthanc'), configuration: {} });
});

afterAll(async () => {
  await orthanc.kill();
  await rm(folder, { recursive: true, force: true });
});

/** @returns undefined where Orthanc does not take it */
async function storeAt(file: Uint8Array): Promise<object | undefined> {
  const { status, body } = await orthanc.request('POST', '/instances', file);
  if (status !== 200) return undefined;
  const upload = JSON.parse(body.toString()) as Upload;
  // A ZIP or a DICOMDIR is none.
  if (upload.ID === undefined) return undefined;
  return { instance: upload.ID, series: upload.ParentSeries, study: upload.ParentStudy };
}

function idsOf(file: Uint8Array): object | undefined {
  const read = readDicomIdentifiers(file);
  return read === undefined || read === 'incomplete' ? undefined : orthancIdsOf(read);
}

test('of real files in all transfer syntaxes', async () => {
  const unread: string[] = [];
  let same = 0;
  for (const { name, bytes } of files) {
    const expected = await storeAt(bytes);
    if (expected === undefined) continue;
    const ids = idsOf(bytes);
    if (ids === undefined) {
      unread.push(name);
      continue;
    }
    expect(ids, name).toEqual(expected);
    same += 1;
  }
  // Without the header of a file, or with identifiers of VR "UN": none rather than wrong ones.
  expect(unread).toEqual([
    'ExplVR_BigEndNoMeta.dcm',
    'ExplVR_LitEndNoMeta.dcm',
    'rtdose_rle.dcm',
    'rtdose_rle_1frame.dcm',
    'rtstruct.dcm',
  ]);
  expect(same).toBeGreaterThan(40);
});

test.each(['', '  A 1 ', 'a\\b', 'a '])('of a patient "%s"', async (patientId) => {
  const file = makeDicom({ sopInstanceUid: '1.2.3.77', patientId, pixelBytes: 2 });
  expect(idsOf(file)).toEqual(await storeAt(file));
});

test.each([
  ['ISO_IR 100', Buffer.from('\u00e9\u00df', 'latin1')],
  ['ISO_IR 192', Buffer.from('\u00e9')],
])('of a patient in the character set %s', async (characterSet, patientId) => {
  const file = withCharacters(characterSet, patientId);
  expect(idsOf(file)).toEqual(await storeAt(file));
});

test('none is guessed where the character set is not told, or another one', () => {
  for (const set of ['', 'ISO_IR 101', 'ISO 2022 IR 6\\ISO 2022 IR 87']) {
    expect(idsOf(withCharacters(set, Buffer.from([0xe9, 0x20])))).toBeUndefined();
  }
});

/** @param patientId of two bytes */
function withCharacters(characterSet: string, patientId: Buffer): Buffer {
  const file = makeDicom({ sopInstanceUid: '1.2.3.78', patientId: '@@', pixelBytes: 2 });
  patientId.copy(file, file.indexOf('@@'));
  const value = Buffer.from(characterSet.padEnd(characterSet.length + (characterSet.length % 2)));
  const head = Buffer.from([0x08, 0, 0x05, 0, 0x43, 0x53, value.length, 0]);
  const at = file.indexOf(Buffer.from([0x08, 0, 0x16, 0, 0x55, 0x49]));
  return Buffer.concat([file.subarray(0, at), head, value, file.subarray(at)]);
}
