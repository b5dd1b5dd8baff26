// SPDX-License-Identifier: GPL-3.0-or-later
// DICOM files for tests: pydicom's real ones, and one of any size.

import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { type Box, runInBoxOrFail } from '../../scripts/lib/box.mjs';

/** Where Debian's python3-pydicom has them. */
const FOLDER = '/usr/lib/python3/dist-packages/pydicom/data/test_files';

export interface DicomFile {
  readonly name: string;
  /** In `folder` of `readDicomFiles`, which boxes see. */
  readonly path: string;
  readonly bytes: Buffer;
}

/** Copies pydicom's files out of the box, also those that no Orthanc accepts.
 *  @param folder that the box sees; is made */
export async function readDicomFiles(box: Box, folder: string): Promise<readonly DicomFile[]> {
  await mkdir(folder, { recursive: true });
  await runInBoxOrFail(box, ['cp', '-r', `${FOLDER}/.`, folder], { binds: [folder] });
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
  return await Promise.all(
    paths.map(async (path) => ({
      name: path.slice(folder.length + 1),
      path,
      bytes: await readFile(path),
    })),
  );
}

/** A configuration of storescu's that lets each file go in its own transfer syntax.
 *  @see dcmtk's asconfig.txt */
export function formatAssociation(
  contexts: readonly { readonly sopClass: string; readonly transferSyntax: string }[],
): string {
  const syntaxes = [...new Set(contexts.map(({ transferSyntax }) => transferSyntax))];
  const pairs = contexts.map(
    ({ sopClass, transferSyntax }) => `${sopClass}\\Syntax${syntaxes.indexOf(transferSyntax)}`,
  );
  return [
    '[[TransferSyntaxes]]',
    ...syntaxes.flatMap((uid, index) => [`[Syntax${index}]`, `TransferSyntax1 = ${uid}`]),
    '[[PresentationContexts]]',
    '[All]',
    ...[...new Set(pairs)].map((pair, index) => `PresentationContext${index + 1} = ${pair}`),
    '[[Profiles]]',
    '[All]',
    'PresentationContexts = All',
    '',
  ].join('\n');
}

export interface MadeDicom {
  readonly sopInstanceUid: string;
  readonly patientId?: string;
  readonly patientName?: string;
  readonly study?: { readonly date: string; readonly description: string };
  readonly pixelBytes: number;
}

const EXPLICIT_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
const SECONDARY_CAPTURE = '1.2.840.10008.5.1.4.1.1.7';
/** Width of the made images; the height follows from the size. */
const COLUMNS = 1000;

/** A secondary capture, 8 bit greyscale, of a series of its own for each patient.
 *  @param made `pixelBytes` is rounded up to whole rows */
export function makeDicom(made: MadeDicom): Buffer {
  const { sopInstanceUid, patientId = 'PATIENT-1', patientName = 'Doe^Jane' } = made;
  const rows = Math.max(2, Math.ceil(made.pixelBytes / COLUMNS / 2) * 2);
  if (rows > 0xff_ff) throw new RangeError(`${made.pixelBytes} bytes need too many rows`);
  const size = [rows, COLUMNS, 1] as const;
  return Buffer.concat(makeParts(sopInstanceUid, patientId, patientName, size, made.study));
}

/** As `makeDicom`, of 1,000,000 bytes in each frame. */
export function makeMultiFrameDicom(
  sopInstanceUid: string,
  frames: number,
  patientId = 'PATIENT-1',
): Buffer {
  return Buffer.concat(makeParts(sopInstanceUid, patientId, 'Doe^Jane', [1000, 1000, frames]));
}

function makeParts(
  sopInstanceUid: string,
  patientId: string,
  patientName: string,
  [rows, columns, frames]: readonly [number, number, number],
  study?: MadeDicom['study'],
): readonly Buffer[] {
  const meta = Buffer.concat([
    element(0x0002, 0x0001, 'OB', Buffer.from([0, 1])),
    text(0x0002, 0x0002, 'UI', SECONDARY_CAPTURE),
    text(0x0002, 0x0003, 'UI', sopInstanceUid),
    text(0x0002, 0x0010, 'UI', EXPLICIT_LITTLE_ENDIAN),
    text(0x0002, 0x0012, 'UI', '1.2.276.0.7230010.3.0.3.6.4'),
  ]);
  const pixels = Buffer.alloc(rows * columns * frames);
  // Cheap, and different everywhere, so that pieces in the wrong place are noticed.
  const words = new Uint32Array(pixels.buffer, pixels.byteOffset, pixels.length >> 2);
  for (let index = 0; index < words.length; index += 1) {
    words[index] = Math.imul(4 * index, 0x9e37_79b1);
  }
  return [
    Buffer.alloc(128),
    Buffer.from('DICM'),
    element(0x0002, 0x0000, 'UL', uint32(meta.length)),
    meta,
    text(0x0008, 0x0016, 'UI', SECONDARY_CAPTURE),
    text(0x0008, 0x0018, 'UI', sopInstanceUid),
    ...(study === undefined ? [] : [text(0x0008, 0x0020, 'DA', study.date)]),
    text(0x0008, 0x0060, 'CS', 'OT'),
    ...(study === undefined ? [] : [text(0x0008, 0x1030, 'LO', study.description)]),
    text(0x0010, 0x0010, 'PN', patientName),
    text(0x0010, 0x0020, 'LO', patientId),
    text(0x0020, 0x000d, 'UI', `1.2.3.4.1.${numberOf(patientId)}`),
    text(0x0020, 0x000e, 'UI', `1.2.3.4.2.${numberOf(patientId)}`),
    element(0x0028, 0x0002, 'US', uint16(1)),
    text(0x0028, 0x0004, 'CS', 'MONOCHROME2'),
    text(0x0028, 0x0008, 'IS', String(frames)),
    element(0x0028, 0x0010, 'US', uint16(rows)),
    element(0x0028, 0x0011, 'US', uint16(columns)),
    element(0x0028, 0x0100, 'US', uint16(8)),
    element(0x0028, 0x0101, 'US', uint16(8)),
    element(0x0028, 0x0102, 'US', uint16(7)),
    element(0x0028, 0x0103, 'US', uint16(0)),
    Buffer.concat([tag(0x7fe0, 0x0010), Buffer.from('OW\0\0'), uint32(pixels.length)]),
    pixels,
  ];
}

function numberOf(name: string): number {
  return Buffer.from(name).reduce((sum, byte) => (sum * 31 + byte) % 1_000_000, 7);
}

function element(group: number, number: number, vr: string, value: Buffer): Buffer {
  // @see DICOM PS3.5, 7.1.2: OB has two reserved bytes and a length of 32 bits.
  const length = vr === 'OB' ? [Buffer.from([0, 0]), uint32(value.length)] : [uint16(value.length)];
  return Buffer.concat([tag(group, number), Buffer.from(vr), ...length, value]);
}

function text(group: number, number: number, vr: string, value: string): Buffer {
  const padding = vr === 'UI' ? '\0' : ' ';
  const even = value.length % 2 === 0 ? value : value + padding;
  return element(group, number, vr, Buffer.from(even));
}

function tag(group: number, number: number): Buffer {
  return Buffer.concat([uint16(group), uint16(number)]);
}

function uint16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
