// SPDX-License-Identifier: GPL-3.0-or-later
// Bodies of what is in memory, or can be brought there.

import type { Body } from './object-store.ts';

/** @param readInto fills the whole target with the bytes from `start` on */
export function bodyFrom(sizeBytes: number, readInto: Required<Body>['readInto']): Required<Body> {
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

/** Of bytes that are in memory anyway. */
export function bodyOf(bytes: Uint8Array): Required<Body> {
  return bodyFrom(bytes.length, copierOf(bytes));
}

/** Bytes that nobody changes any more. What is read is their own memory: to copy them for each attempt would be the most that a small
 *  request costs. */
export function viewOf(bytes: Uint8Array): Required<Body> {
  return {
    sizeBytes: bytes.length,
    readInto: copierOf(bytes),
    read: (start, end) =>
      start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end),
  };
}

function copierOf(bytes: Uint8Array): Required<Body>['readInto'] {
  return (start, target) => {
    target.set(bytes.subarray(start, start + target.length));
  };
}
