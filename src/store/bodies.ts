// SPDX-License-Identifier: GPL-3.0-or-later
// Bodies and sinks in memory.

import { setImmediate } from 'node:timers/promises';
import { abortReason } from './abort.ts';
import type { Body, ByteRange, ObjectStore, OperationOptions, Sink } from './object-store.ts';

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

/** Each read gives a copy. */
export function bodyOf(bytes: Uint8Array): Body {
  return bodyFrom(bytes.length, copierOf(bytes));
}

/** For bytes that do not change. Reads return views of them: copies would cost more than the rest of a small request. */
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

const PIECE_BYTES = 256 * 1024;

/** A store that has this body under every key. */
export function storeOf(body: Body): Pick<ObjectStore, 'get' | 'head'> {
  return {
    head: () => Promise.resolve({ sizeBytes: body.sizeBytes }),
    get: (_key, range, sink, options) => pour(body, sink, options, range),
  };
}

/** Writes a body to a sink in pieces. The event loop turns after each, so that other work and Ctrl-C are served. */
export async function pour(
  body: Body,
  sink: Sink,
  { signal }: OperationOptions,
  { start, end }: ByteRange = { start: 0, end: body.sizeBytes },
): Promise<void> {
  sink.begin(end - start, body.sizeBytes);
  for (let at = start; at < end; at += PIECE_BYTES) {
    sink.write(at - start, body.read(at, Math.min(at + PIECE_BYTES, end)));
    await setImmediate();
    if (signal.aborted) throw abortReason(signal);
  }
}

export class MemorySink implements Sink {
  #bytes: Uint8Array = new Uint8Array();

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  begin(sizeBytes: number): void {
    // Not zeroed: each byte is written before it is read.
    this.#bytes = Buffer.allocUnsafeSlow(sizeBytes);
  }

  write(offset: number, piece: Uint8Array): void {
    this.#bytes.set(piece, offset);
  }
}

/** For reads that only verify. */
export const NOWHERE: Sink = { begin: () => undefined, write: () => undefined };
