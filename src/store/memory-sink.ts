// SPDX-License-Identifier: GPL-3.0-or-later

import type { Sink } from './object-store.ts';

/** Holds what it is given, for contents that are needed as a whole. */
export function createMemorySink(): { readonly sink: Sink; bytes(): Uint8Array } {
  let bytes = new Uint8Array();
  return {
    sink: {
      begin: (sizeBytes) => {
        // Each byte is written before the content is whole, and before that nobody reads it.
        bytes = Buffer.allocUnsafeSlow(sizeBytes);
      },
      write: (offset, piece) => {
        bytes.set(piece, offset);
      },
    },
    bytes: () => bytes,
  };
}

/** For reads of which only the success counts. */
export const NOWHERE: Sink = { begin: () => undefined, write: () => undefined };
