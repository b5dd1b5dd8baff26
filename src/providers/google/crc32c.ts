// SPDX-License-Identifier: GPL-3.0-or-later
// CRC32C (Castagnoli), the checksum that Google keeps of every object. Node has none of its own; hash-wasm's takes a tenth of the
// time of the tables in Google's SDK (docs/decisions.md).

import { createCRC32 } from 'hash-wasm';

/** Reflected polynomial of CRC32C. @see RFC 3720, appendix B.4 */
const POLYNOMIAL = 0x82f63b78;

export interface Checksum {
  update(bytes: Uint8Array): void;
  /** As Google writes it: base64 of the four bytes, big-endian. */
  toBase64(): string;
}

export type CreateChecksum = () => Checksum;

/** Any number of checksums may grow at the same time: they share one instance of the code and keep their eight bytes of state. */
export async function loadCrc32c(): Promise<CreateChecksum> {
  const hasher = await createCRC32(POLYNOMIAL);
  const initial = hasher.init().save();
  return () => {
    let state = initial;
    return {
      update(bytes) {
        state = hasher.load(state).update(bytes).save();
      },
      toBase64: () => Buffer.from(hasher.load(state).digest('binary')).toString('base64'),
    };
  };
}
