// SPDX-License-Identifier: GPL-3.0-or-later
// Finds out what an orphan is, by its content.

import { ContentType, parseKey } from '../../attachments/naming.ts';
import { codeAndMessage, toStorageError } from '../../errors.ts';
import { hasResource, type OrthancApi } from '../../orthanc/api.ts';
import { MemorySink } from '../../store/bodies.ts';
import type { ObjectInfo, OperationOptions } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';
import { type OrthancIds, orthancIdsOf, readDicomIdentifiers } from './dicom.ts';

export interface Identity extends Partial<OrthancIds> {
  /** Orthanc has that instance, with another attachment. */
  readonly isKnown?: boolean;
  readonly unidentified?: string;
}

/** In most files the first length is enough. */
const HEADS_BYTES = [65_536, 4_194_304] as const;

/** Reads the first bytes of the object. An A1 object is read as a whole, because its parts cannot be verified.
 *  @throws StorageError after an abort, or if Orthanc fails */
export async function identify(
  side: Side,
  { key }: Pick<ObjectInfo, 'key'>,
  api: OrthancApi,
  options: OperationOptions,
): Promise<Identity> {
  const ids = await readIds(side, key, options);
  if (typeof ids === 'string') return { unidentified: ids };
  const isKnown = await hasResource(api, { level: 'instances', id: ids.instance });
  return { ...ids, isKnown };
}

/** @returns the ids, or the reason why there are none */
async function readIds(
  { naming, attachments, hasKeys }: Side,
  key: string,
  options: OperationOptions,
): Promise<OrthancIds | string> {
  const parsed = parseKey(key, naming);
  if (parsed === undefined) return 'its name is none of an attachment';
  const { uuid, contentType = ContentType.Dicom, encrypted } = parsed;
  if (contentType === ContentType.DicomAsJson || contentType === ContentType.Unknown) {
    return 'it is no DICOM file by its name';
  }
  if (encrypted === true && !hasKeys) return 'it is encrypted, and the configuration has no keys';
  try {
    const attachment = { uuid, contentType };
    const found = await attachments.find(attachment, options);
    if (found === undefined) return 'it is gone';
    const totalBytes = found.encryption?.contentBytes ?? found.storedBytes;
    for (const headBytes of HEADS_BYTES) {
      const head = new MemorySink();
      const range = { start: 0, end: Math.min(headBytes, totalBytes) };
      await attachments.get(attachment, range, head, options);
      const read = readDicomIdentifiers(head.bytes);
      if (read === undefined) break;
      if (read !== 'incomplete') return orthancIdsOf(read);
      if (headBytes >= totalBytes) break;
    }
    return 'it is no DICOM file, or none whose identifiers can be read';
  } catch (error) {
    if (options.signal.aborted) throw error;
    return codeAndMessage(toStorageError(error));
  }
}
