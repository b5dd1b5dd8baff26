// SPDX-License-Identifier: GPL-3.0-or-later

import { setImmediate } from 'node:timers/promises';
import { abortReason } from './abort.ts';
import type { Body, ByteRange, ObjectStore, OperationOptions, Sink } from './object-store.ts';

const PIECE_BYTES = 256 * 1024;

/** A store whose only object is at hand, under whatever key, for who reads from stores. */
export function storeOf(body: Body): Pick<ObjectStore, 'get' | 'head'> {
  return {
    head: () => Promise.resolve({ sizeBytes: body.sizeBytes }),
    get: (_key, range, sink, options) => pour(body, sink, options, range),
  };
}

/** Hands a body on in pieces. The event loop turns between them: other work goes on, and Ctrl-C is heard. */
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
