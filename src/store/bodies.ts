// SPDX-License-Identifier: GPL-3.0-or-later
// Bodies of what is in memory, or can be brought there.

import type { Body } from './object-store.ts';

/** @param readInto fills the whole target with the bytes from `start` on */
export function bodyFrom(sizeBytes: number, readInto: Body['readInto']): Body {
  return {
    sizeBytes,
    readInto,
    read(start, end) {
      const target = Buffer.allocUnsafeSlow(end - start);
      readInto(start, target);
      return target;
    },
  };
}

/** Of bytes in memory, which the reader gets copies of. */
export function bodyOf(bytes: Uint8Array): Body {
  return bodyFrom(bytes.length, copierOf(bytes));
}

/** Of bytes in memory that nobody changes any more. A read gives their own memory: a copy for each attempt would be the most that a
 *  small request costs. */
export function viewOf(bytes: Uint8Array): Body {
  return {
    sizeBytes: bytes.length,
    readInto: copierOf(bytes),
    read: (start, end) =>
      start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end),
  };
}

function copierOf(bytes: Uint8Array): Body['readInto'] {
  return (start, target) => {
    target.set(bytes.subarray(start, start + target.length));
  };
}
