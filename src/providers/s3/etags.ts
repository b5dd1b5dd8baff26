// SPDX-License-Identifier: GPL-3.0-or-later
// Whether the server's ETags are MD5s, which nothing tells: some servers give 32 other digits to what they encrypt by default, and so do
// gateways. It is asked only where a read does not match its ETag, that is of an object of another program's without a checksum.

import { createHash } from 'node:crypto';

export interface Etags {
  /** False once the server is known to have others. */
  mayBeMd5(): boolean;
  /** Tries it out, once.
   *  @returns true also where that failed: in doubt, an object that may be damaged is not handed on */
  areMd5(signal: AbortSignal): Promise<boolean>;
}

/** @param content that `store` stores, and removes
 *  @param store tells the ETag that it got */
export function createEtags(
  content: Uint8Array,
  store: (signal: AbortSignal) => Promise<string | undefined>,
): Etags {
  let known: boolean | undefined;
  return {
    mayBeMd5: () => known !== false,
    async areMd5(signal) {
      if (known !== undefined) return known;
      try {
        const etag = await store(signal);
        known = etag?.replaceAll('"', '') === createHash('md5').update(content).digest('hex');
        return known;
      } catch {
        return true;
      }
    },
  };
}
