// SPDX-License-Identifier: GPL-3.0-or-later
// Checksums that Node lacks. hash-wasm needs a tenth of the time of JavaScript tables (docs/decisions.md).

import { createCRC32, createCRC64 } from 'hash-wasm';
import type { CreateChecksum } from './checksums.ts';

/** CRC32C, reflected. Google stores one of each object. @see RFC 3720, appendix B.4 */
const CASTAGNOLI = 0x82f63b78;
/** CRC64 of NVM Express 1.0 and later, reflected. S3 stores one of each object that was uploaded without a checksum.
 *  @see NVM Command Set Specification, 5.2.1.3.4 */
const NVME = '9a6c9329ac4bc9b5';

export async function loadCrc32c(): Promise<CreateChecksum> {
  return share(await createCRC32(CASTAGNOLI));
}

export async function loadCrc64Nvme(): Promise<CreateChecksum> {
  return share(await createCRC64(NVME));
}

/** Many checksums can be computed side by side: they share one WASM instance and keep their own state. */
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
