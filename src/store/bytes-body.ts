// SPDX-License-Identifier: GPL-3.0-or-later

import type { Body } from './object-store.ts';

/** Of bytes that are in memory anyway. */
export function bodyOf(bytes: Uint8Array): Body {
  return {
    sizeBytes: bytes.length,
    read: (start, end) => bytes.slice(start, end),
    readInto: (start, target) => {
      target.set(bytes.subarray(start, start + target.length));
    },
  };
}
