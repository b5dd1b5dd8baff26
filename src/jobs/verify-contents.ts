// SPDX-License-Identifier: GPL-3.0-or-later
// verify --deep: each content, read and decrypted, against the MD5 in Orthanc's index.

import { toStorageError } from '../errors.ts';
import { contentTypeOf, objectKey } from '../naming.ts';
import type { IndexedAttachment } from '../orthanc-api.ts';
import { forEachAtOnce } from './at-once.ts';
import { digestOf } from './copy.ts';
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
      const reason = await findFault(side, indexed, signal);
      if (reason === undefined) continue;
      counts.corrupt += 1;
      const { uuid, contentType } = indexed;
      const isSealed = side.format !== undefined;
      const key = objectKey(uuid, contentTypeOf(contentType), side.naming, isSealed);
      report({
        kind: 'corrupt',
        store: side.isFileSystem ? 'file-system' : 'object-storage',
        key,
        reason,
      });
    }
    counts.read += 1;
    progress(counts);
  });
}

/** @returns undefined where it is as it should be, and where it is not: whether it should be is another question */
async function findFault(
  { attachments }: Side,
  { uuid, contentType, contentBytes, md5Hex }: IndexedAttachment,
  signal: AbortSignal,
): Promise<string | undefined> {
  const attachment = { uuid, contentType: contentTypeOf(contentType) };
  try {
    const digest = await digestOf(attachments, attachment, { signal });
    if (digest.sizeBytes !== contentBytes) {
      return `${digest.sizeBytes} bytes instead of ${contentBytes}`;
    }
    if (md5Hex !== undefined && digest.md5Hex !== md5Hex) {
      return `MD5 ${digest.md5Hex} instead of ${md5Hex}`;
    }
    return undefined;
  } catch (error) {
    if (signal.aborted) throw error;
    const { code, message } = toStorageError(error);
    return code === 'NOT_FOUND' ? undefined : `${code}: ${message}`;
  }
}
