// SPDX-License-Identifier: GPL-3.0-or-later
// verify --deep: reads and decrypts each content, and compares it with the MD5 in Orthanc's index.

import { Digester, requireDigest } from '../../attachments/digest.ts';
import { contentTypeOf, objectKey } from '../../attachments/naming.ts';
import { PlaceFailures } from '../../attachments/place-failures.ts';
import { codeAndMessage, type StorageError, toStorageError } from '../../errors.ts';
import type { IndexedAttachment, Resource } from '../../orthanc/api.ts';
import { listIndex } from '../../orthanc/index-list.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { Side } from '../common/sides.ts';
import type { VerifyCounts } from './findings.ts';
import type { Owner } from './owners.ts';
import type { VerifyDependencies, VerifyOptions } from './verify.ts';

/** If both stores have an attachment, both are read. @throws StorageError if a store fails too often in a row */
export async function verifyContents(
  { api, bucket, files, report, progress }: VerifyDependencies,
  { atOnce, signal }: VerifyOptions,
  counts: VerifyCounts,
  ownerOf: (resource: Resource) => Promise<Owner>,
): Promise<void> {
  const sides = (files === undefined ? [bucket] : [bucket, files]).map((side) => ({
    side,
    placeFailures: new PlaceFailures(),
  }));
  await forEachAtOnce(listIndex(api), atOnce, async (indexed) => {
    for (const { side, placeFailures } of sides) {
      const fault = await findFault(side, indexed, signal);
      if (fault === 'right') placeFailures.succeeded();
      if (fault === undefined || fault === 'right') continue;
      const { failure, ...found } = fault;
      counts[found.kind] += 1;
      const store = side.isFileSystem ? 'file-system' : 'object-storage';
      report({ ...found, store, ...(await ownerOf(indexed.resource)) });
      placeFailures.add(failure);
    }
    counts.read += 1;
    if (indexed.md5Hex === undefined) counts.notCompared += 1;
    progress(counts);
  });
}

interface Fault {
  readonly key: string;
  readonly kind: 'corrupt' | 'unreadable';
  readonly reason: string;
  readonly failure: StorageError;
}

/** @returns undefined if there is no content */
async function findFault(
  { attachments, naming, format }: Side,
  { uuid, contentType: number, contentBytes, md5Hex }: IndexedAttachment,
  signal: AbortSignal,
): Promise<Fault | 'right' | undefined> {
  const contentType = contentTypeOf(number);
  const digester = new Digester();
  let read: string | undefined;
  try {
    read = await attachments.get({ uuid, contentType }, undefined, digester, { signal });
    requireDigest(digester.digest(), { sizeBytes: contentBytes, md5Hex }, 'it');
    return 'right';
  } catch (error) {
    if (signal.aborted) throw error;
    const failure = toStorageError(error);
    const { code, key: failed } = failure;
    if (code === 'NOT_FOUND') return undefined;
    const isCorrupt = code === 'INTEGRITY' || code === 'SHORT_BODY';
    return {
      kind: isCorrupt ? 'corrupt' : 'unreadable',
      // The last resort is the name that a new object would have.
      key: read ?? failed ?? objectKey(uuid, contentType, naming, format !== undefined),
      reason: codeAndMessage(failure),
      failure,
    };
  }
}
