// SPDX-License-Identifier: GPL-3.0-or-later
// Checksums that Node has no code for. hash-wasm's take a tenth of the time of tables in JavaScript (docs/decisions.md).

import { createCRC32, createCRC64 } from 'hash-wasm';
import type { CreateChecksum } from './checksums.ts';

/** CRC32C, Castagnoli's polynomial, reflected: Google keeps one of every object. @see RFC 3720, appendix B.4 */
const CASTAGNOLI = 0x82f63b78;
/** CRC64 of NVM Express 1.0 and later, reflected: S3 keeps one of whatever was uploaded without a checksum.
 *  @see NVM Command Set Specification, 5.2.1.3.4 */
const NVME = '9a6c9329ac4bc9b5';

export async function loadCrc32c(): Promise<CreateChecksum> {
  return share(await createCRC32(CASTAGNOLI));
}

export async function loadCrc64Nvme(): Promise<CreateChecksum> {
  return share(await createCRC64(NVME));
}

/** Any number of checksums may grow at the same time: they share one instance of the code and keep their few bytes of state. */
function share(hasher: Awaited<ReturnType<typeof createCRC32>>): CreateChecksum {
  const initial = hasher.init().save();
  return () => {
    let state = initial;
    return {
      update: (bytes) => {
        state = hasher.load(state).update(bytes).save();
      },
      toBase64: () => Buffer.from(hasher.load(state).digest('binary')).toString('base64'),
    };
  };
}
