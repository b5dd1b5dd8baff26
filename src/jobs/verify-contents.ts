// SPDX-License-Identifier: GPL-3.0-or-later
// verify --deep: each content, read and decrypted, against the MD5 in Orthanc's index.

import { toStorageError } from '../errors.ts';
import { contentTypeOf, objectKey } from '../naming.ts';
import type { IndexedAttachment } from '../orthanc-api.ts';
import { forEachAtOnce } from './at-once.ts';
import { digestOf, insist } from './digest.ts';
import { listIndex } from './index-list.ts';
import type { Side } from './side.ts';
import type { VerifyCounts, VerifyDependencies, VerifyOptions } from './verify.ts';

/** Where an attachment lies in both stores of a hybrid storage, both are read. */
export async function verifyContents(
  { api, bucket, files, report, progress }: VerifyDependencies,
  { atOnce, signal }: VerifyOptions,
  counts: VerifyCounts,
): Promise<void> {
  const sides = files === undefined ? [bucket] : [bucket, files];
  await forEachAtOnce(listIndex(api), atOnce, async (indexed) => {
    for (const side of sides) {
      const fault = await findFault(side, indexed, signal);
      if (fault === undefined) continue;
      counts[fault.kind] += 1;
      const { uuid, contentType } = indexed;
      const isSealed = side.format !== undefined;
      const key = objectKey(uuid, contentTypeOf(contentType), side.naming, isSealed);
      report({ ...fault, store: side.isFileSystem ? 'file-system' : 'object-storage', key });
    }
    counts.read += 1;
    progress(counts);
  });
}

interface Fault {
  readonly kind: 'corrupt' | 'unreadable';
  readonly reason: string;
}

/** @returns undefined where it is as it should be, and where it is not: whether it should be is another question */
async function findFault(
  { attachments }: Side,
  { uuid, contentType, contentBytes, md5Hex }: IndexedAttachment,
  signal: AbortSignal,
): Promise<Fault | undefined> {
  const attachment = { uuid, contentType: contentTypeOf(contentType) };
  const expected = { sizeBytes: contentBytes, md5Hex };
  try {
    insist(await digestOf(attachments, attachment, { signal }), expected, 'it');
    return undefined;
  } catch (error) {
    if (signal.aborted) throw error;
    const { code, message } = toStorageError(error);
    if (code === 'NOT_FOUND') return undefined;
    const isCorrupt = code === 'INTEGRITY' || code === 'SHORT_BODY';
    return { kind: isCorrupt ? 'corrupt' : 'unreadable', reason: `${code}: ${message}` };
  }
}
