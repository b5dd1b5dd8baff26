// SPDX-License-Identifier: GPL-3.0-or-later

import { ORTHANC_NAMING, parseKey } from '../../attachments/naming.ts';
import type { Envelope } from '../../encryption/envelope.ts';
import { readHead } from '../../encryption/inspect.ts';
import { A2_HEADER_BYTES, keyIdOf } from '../../encryption/sizes.ts';
import { toStorageError } from '../../errors.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { ObjectStore, OperationOptions } from '../../store/object-store.ts';

const AT_ONCE = 16;

/** Of the files on the disk that are encrypted (docs/formats.md), those under keys that the answer is yes for. */
export async function countSealedFiles(
  files: ObjectStore,
  envelope: Pick<Envelope, 'looksEncrypted'>,
  isCounted: (keyId: number) => boolean,
  options: OperationOptions,
): Promise<number> {
  let count = 0;
  await forEachAtOnce(files.list('', options), AT_ONCE, async ({ key, sizeBytes }) => {
    if (sizeBytes < A2_HEADER_BYTES || parseKey(key, ORTHANC_NAMING) === undefined) return;
    try {
      const head = await readHead(files, key, options);
      if (envelope.looksEncrypted(head) && isCounted(keyIdOf(head.bytes))) count += 1;
    } catch (error) {
      // Orthanc goes on deleting and moving meanwhile.
      if (toStorageError(error).code !== 'NOT_FOUND') throw error;
    }
  });
  return count;
}
