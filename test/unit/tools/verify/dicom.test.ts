// SPDX-License-Identifier: GPL-3.0-or-later
// That the ids are Orthanc's own: test/e2e/dicom-ids.test.ts. Here: what is no file of DICOM's, and what wants to do harm.

import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { orthancIdsOf, readDicomIdentifiers } from '../../../../src/tools/verify/dicom.ts';
import { makeDicom } from '../../../support/dicom.ts';

const FILE = makeDicom({ sopInstanceUid: '1.2.3.4.5', pixelBytes: 2 });
const IDENTIFIERS = {
  patientId: 'PATIENT-1',
  studyUid: '1.2.3.4.1.403234',
  seriesUid: '1.2.3.4.2.403234',
  instanceUid: '1.2.3.4.5',
};
/** Where the data set begins. */
const DATASET = FILE.indexOf(Buffer.from([0x08, 0, 0x16, 0]));

/** @param inserted as the first elements of the data set */
function withElements(...inserted: readonly Buffer[]): Buffer {
  return Buffer.concat([FILE.subarray(0, DATASET), ...inserted, FILE.subarray(DATASET)]);
}

function withSyntax(uid: string, dataset: Buffer): Buffer {
  const meta = Buffer.from(FILE.subarray(0, DATASET));
  const at = meta.indexOf('1.2.840.10008.1.2.1\0');
  // The length of the group is not looked at.
  const value = Buffer.from(uid.length % 2 === 0 ? uid : `${uid}\0`);
  meta.writeUInt16LE(value.length, at - 2);
  return Buffer.concat([meta.subarray(0, at), value, meta.subarray(at + 20), dataset]);
}

const SEQUENCE = Buffer.from('08001111' + '5351' + '0000' + 'ffffffff', 'hex');
const UNKNOWN_SEQUENCE = Buffer.from('08001111' + '554e' + '0000' + 'ffffffff', 'hex');
const ITEM = Buffer.from('feff00e0ffffffff', 'hex');
const ITEM_END = Buffer.from('feff0de000000000', 'hex');
const SEQUENCE_END = Buffer.from('feffdde000000000', 'hex');
const otherUid = (header: string) =>
  Buffer.concat([Buffer.from(header, 'hex'), Buffer.from('9.9.9\0')]);

test('what is in a sequence is not taken for the outermost', () => {
  const inside = otherUid('20000d00' + '5549' + '0600');
  const implicit = otherUid('20000d00' + '06000000');
  const item = [SEQUENCE, ITEM, inside, ITEM_END, SEQUENCE_END];
  const nested = [SEQUENCE, ITEM, inside, ...item, inside, ITEM_END, SEQUENCE_END];
  const unknown = [UNKNOWN_SEQUENCE, ITEM, implicit, ITEM_END, SEQUENCE_END];
  const file = withElements(...nested, ...unknown);
  expect(readDicomIdentifiers(file)).toEqual(IDENTIFIERS);
});

test('deflated, also where the end is cut off', () => {
  const deflated = withSyntax('1.2.840.10008.1.2.1.99', deflateRawSync(FILE.subarray(DATASET)));
  expect(readDicomIdentifiers(deflated)).toEqual(IDENTIFIERS);
  expect(readDicomIdentifiers(deflated.subarray(0, -4))).toEqual(IDENTIFIERS);
});

test('a file that is cut anywhere is told as such, or is whole already', () => {
  const kinds = new Set<string>();
  for (let end = 132; end <= FILE.length; end += 1) {
    const read = readDicomIdentifiers(FILE.subarray(0, end));
    if (read !== 'incomplete') expect(read).toEqual(IDENTIFIERS);
    kinds.add(typeof read);
  }
  expect(kinds).toEqual(new Set(['string', 'object']));
  expect(readDicomIdentifiers(FILE.subarray(0, 131))).toBeUndefined();
});

test('neither depth nor what inflates to a thousand times its size does harm', () => {
  const zeros = Buffer.alloc(4_194_304);
  expect(readDicomIdentifiers(withElements(zeros))).toBeUndefined();
  const deep = Array.from({ length: 100_000 }, () => Buffer.concat([SEQUENCE, ITEM]));
  expect(readDicomIdentifiers(withElements(...deep))).toBeUndefined();
  expect(readDicomIdentifiers(withElements(SEQUENCE_END))).toBeUndefined();
  const bomb = withSyntax('1.2.840.10008.1.2.1.99', deflateRawSync(Buffer.alloc(200_000_000)));
  const before = process.memoryUsage().arrayBuffers;
  const startedMs = performance.now();
  readDicomIdentifiers(bomb);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40_000_000);
  expect(performance.now() - startedMs).toBeLessThan(1_000);
});

test('whatever stands there, it comes to an end without an error', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.constantFrom('1.2.840.10008.1.2', '1.2.840.10008.1.2.2', '1.2.840.10008.1.2.1.99', '1.2'),
      (bytes, syntax) => {
        readDicomIdentifiers(bytes);
        readDicomIdentifiers(withSyntax(syntax, Buffer.from(bytes)));
      },
    ),
  );
});

test('an identifier that is missing or no text makes no id', () => {
  const withoutStudy = Buffer.from(FILE);
  withoutStudy.writeUInt16LE(0x000c, FILE.indexOf(Buffer.from([0x20, 0, 0x0d, 0])) + 2);
  expect(readDicomIdentifiers(withoutStudy)).toBeUndefined();
  const long = Buffer.concat([
    Buffer.from('08001800' + '5549' + '0020', 'hex'),
    Buffer.alloc(8192),
  ]);
  expect(readDicomIdentifiers(withElements(long))).toBeUndefined();
});

test('ids name nobody', () => {
  const ids = orthancIdsOf(IDENTIFIERS);
  for (const id of Object.values(ids)) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{8}){4}$/);
});
