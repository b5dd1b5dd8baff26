// SPDX-License-Identifier: GPL-3.0-or-later
// Reads the four identifiers from which Orthanc makes its ids. The DICOM file may be hostile: each step goes at least 8 bytes forward,
// nothing recurses, and nothing reads beyond the given bytes.

import { createHash } from 'node:crypto';
import { constants, inflateRawSync } from 'node:zlib';

export interface DicomIdentifiers {
  readonly patientId: string;
  readonly studyUid: string;
  readonly seriesUid: string;
  readonly instanceUid: string;
}

/** Orthanc's ids are hashes, so they hold no patient data. */
export interface OrthancIds {
  readonly instance: string;
  readonly series: string;
  readonly study: string;
}

interface Syntax {
  readonly isExplicit: boolean;
  readonly isLittleEndian: boolean;
}

interface Element {
  readonly tag: number;
  /** Its VR is UN. */
  readonly isUnknown: boolean;
  readonly sizeBytes: number;
  readonly valueStart: number;
}

/** @see DICOM PS3.10, 7.1 */
const PREAMBLE_BYTES = 128;
const MAGIC = 'DICM';
const META_GROUP = 2;
const ITEM_GROUP = 0xfffe;
const UNDEFINED_LENGTH = 0xffff_ffff;
const ITEM = 0xfffe_e000;

const TRANSFER_SYNTAX = 0x0002_0010;
const CHARACTER_SET = 0x0008_0005;
const INSTANCE_UID = 0x0008_0018;
const PATIENT_ID = 0x0010_0020;
const STUDY_UID = 0x0020_000d;
const SERIES_UID = 0x0020_000e;
const WANTED: readonly number[] = [
  TRANSFER_SYNTAX,
  CHARACTER_SET,
  INSTANCE_UID,
  PATIENT_ID,
  STUDY_UID,
  SERIES_UID,
];

/** @see DICOM PS3.5, 7.1.2: two reserved bytes, then a length of 32 bits */
const LONG_VRS = new Set('OB OD OF OL OV OW SQ SV UC UN UR UT UV'.split(' '));

const META_SYNTAX: Syntax = { isExplicit: true, isLittleEndian: true };
const IMPLICIT = '1.2.840.10008.1.2';
const BIG_ENDIAN = '1.2.840.10008.1.2.2';
const DEFLATED = ['1.2.840.10008.1.2.1.99', '1.2.840.10008.1.2.4.95', '1.2.840.10008.1.2.4.205'];
/** Deflate makes at most 1,032 bytes of one, so this gives at most 17 MB. */
const DEFLATED_BYTES = 16_384;

/** Of nested sequences. Real files have less than ten levels. */
const DEPTH_MAX = 64;
/** Includes those in sequences. Real files have some hundreds up to the last identifier. */
const ELEMENTS_MAX = 50_000;
/** Of one identifier. The standard allows 64 characters. */
const VALUE_MAX_BYTES = 1_024;

/** @param head a file's first bytes
 *  @returns 'incomplete' if the identifiers lie behind them; undefined if Orthanc would refuse the file */
export function readDicomIdentifiers(
  head: Uint8Array,
): DicomIdentifiers | 'incomplete' | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  const metaStart = PREAMBLE_BYTES + MAGIC.length;
  if (bytes.toString('latin1', PREAMBLE_BYTES, metaStart) !== MAGIC) return undefined;
  const meta = readValues(bytes, metaStart, META_SYNTAX, (tag) => tag >>> 16 !== META_GROUP);
  if (meta === 'incomplete' || meta === undefined) return meta;
  const transferSyntax = textOf(meta.values.get(TRANSFER_SYNTAX));
  const isDeflated = DEFLATED.includes(transferSyntax);
  const dataset = isDeflated ? inflate(bytes.subarray(meta.end)) : bytes.subarray(meta.end);
  if (dataset === undefined) return undefined;
  const syntax = {
    isExplicit: transferSyntax !== IMPLICIT,
    isLittleEndian: transferSyntax !== BIG_ENDIAN,
  };
  const found = readValues(dataset, 0, syntax, (tag) => tag > SERIES_UID);
  if (found === 'incomplete' || found === undefined) return found;
  const { values } = found;
  const patientId = decode(values.get(PATIENT_ID), textOf(values.get(CHARACTER_SET)));
  const studyUid = textOf(values.get(STUDY_UID));
  const seriesUid = textOf(values.get(SERIES_UID));
  const instanceUid = textOf(values.get(INSTANCE_UID));
  const isWhole = studyUid !== '' && seriesUid !== '' && instanceUid !== '';
  if (patientId === undefined || !isWhole) return undefined;
  return { patientId, studyUid, seriesUid, instanceUid };
}

/** @see https://orthanc.uclouvain.be/book/faq/orthanc-ids.html */
export function orthancIdsOf(identifiers: DicomIdentifiers): OrthancIds {
  const { patientId, studyUid, seriesUid, instanceUid } = identifiers;
  return {
    instance: toId([patientId, studyUid, seriesUid, instanceUid]),
    series: toId([patientId, studyUid, seriesUid]),
    study: toId([patientId, studyUid]),
  };
}

function toId(parts: readonly string[]): string {
  const digest = createHash('sha1').update(parts.join('|')).digest('hex');
  return digest.match(/.{8}/g)?.join('-') ?? '';
}

/** Reads the wanted values outside of sequences.
 *  @param isPast whether an element is behind all wanted ones
 *  @returns undefined if it is not DICOM */
function readValues(
  bytes: Buffer,
  start: number,
  syntax: Syntax,
  isPast: (tag: number) => boolean,
):
  | { readonly values: ReadonlyMap<number, Buffer>; readonly end: number }
  | 'incomplete'
  | undefined {
  const values = new Map<number, Buffer>();
  // For each open sequence or item without a length: whether its elements have VRs.
  const open: boolean[] = [];
  let at = start;
  for (let count = 0; count < ELEMENTS_MAX; count += 1) {
    const isExplicit = open.at(-1) ?? syntax.isExplicit;
    const element = readElement(bytes, at, { ...syntax, isExplicit });
    if (element === undefined) return 'incomplete';
    const { tag, isUnknown, sizeBytes, valueStart } = element;
    const elementStart = at;
    const isOutermost = open.length === 0;
    at = valueStart;
    if (tag >>> 16 === ITEM_GROUP && tag !== ITEM) {
      if (open.pop() === undefined) return undefined;
    } else if (isOutermost && isPast(tag)) {
      return { values, end: elementStart };
    } else if (sizeBytes === UNDEFINED_LENGTH) {
      if (open.length >= DEPTH_MAX) return undefined;
      // @see DICOM PS3.5, 6.2.2: what is in a UN without a length has no VRs
      open.push(isExplicit && !isUnknown);
    } else {
      at += sizeBytes;
      if (!isOutermost || !WANTED.includes(tag)) continue;
      // Orthanc does not read a UN as text.
      if (isUnknown || sizeBytes > VALUE_MAX_BYTES) return undefined;
      if (at > bytes.length) return 'incomplete';
      values.set(tag, bytes.subarray(valueStart, at));
      // A file may end here.
      if (tag === SERIES_UID) return { values, end: at };
    }
  }
  return undefined;
}

/** @returns undefined if the bytes end before its value begins */
function readElement(
  bytes: Buffer,
  at: number,
  { isExplicit, isLittleEndian }: Syntax,
): Element | undefined {
  if (at + 8 > bytes.length) return undefined;
  const read16 = (offset: number) =>
    isLittleEndian ? bytes.readUInt16LE(offset) : bytes.readUInt16BE(offset);
  const read32 = (offset: number) =>
    isLittleEndian ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset);
  const group = read16(at);
  const tag = group * 0x1_0000 + read16(at + 2);
  if (!isExplicit || group === ITEM_GROUP) {
    return { tag, isUnknown: false, sizeBytes: read32(at + 4), valueStart: at + 8 };
  }
  const vr = bytes.toString('latin1', at + 4, at + 6);
  const isUnknown = vr === 'UN';
  if (!LONG_VRS.has(vr)) {
    return { tag, isUnknown, sizeBytes: read16(at + 6), valueStart: at + 8 };
  }
  if (at + 12 > bytes.length) return undefined;
  return { tag, isUnknown, sizeBytes: read32(at + 8), valueStart: at + 12 };
}

function inflate(bytes: Buffer): Buffer | undefined {
  try {
    // With Z_SYNC_FLUSH a truncated stream is no error.
    return inflateRawSync(bytes.subarray(0, DEFLATED_BYTES), {
      finishFlush: constants.Z_SYNC_FLUSH,
    });
  } catch {
    return undefined;
  }
}

function textOf(value: Buffer | undefined): string {
  return trim(value?.toString('latin1') ?? '');
}

/** Orthanc reads a value up to the first NUL, without trailing spaces. */
function trim(text: string): string {
  const value = text.split('\0', 1)[0] ?? '';
  let end = value.length;
  while (value[end - 1] === ' ') end -= 1;
  return value.slice(0, end);
}

/** @returns undefined if the character set would have to be guessed: a wrong id would be worse than none */
function decode(value: Buffer | undefined, characterSet: string): string | undefined {
  if (value === undefined) return '';
  if (value.every((byte) => byte < 0x80 && byte !== 0x1b)) return textOf(value);
  if (characterSet === 'ISO_IR 100') return textOf(value);
  return characterSet === 'ISO_IR 192' ? trim(value.toString('utf8')) : undefined;
}
