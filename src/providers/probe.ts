// SPDX-License-Identifier: GPL-3.0-or-later
// What the check at start writes and reads back, at servers other than the vendors' own: whether what the server promises by its
// headers is what it sends. Ceph RGW 18.2 with its dbstore backend answers a range with the right Content-Range and the first bytes.

import { StorageError, toStorageError } from '../errors.ts';
import { createMemorySink } from '../store/memory-sink.ts';
import type { ByteRange, Sink } from '../store/object-store.ts';

const PROBE_PAIRS = 512;
/** From the middle: neither the first bytes nor the last are right. */
const PROBE_RANGE: ByteRange = { start: 300, end: 500 };

/** 1,024 bytes that are another wherever one begins: the numbers from 0 to 511, two bytes each. */
export const PROBE: Uint8Array = createProbe();

function createProbe(): Uint8Array {
  const bytes = Buffer.alloc(2 * PROBE_PAIRS);
  for (let pair = 0; pair < PROBE_PAIRS; pair++) bytes.writeUInt16BE(pair, 2 * pair);
  return bytes;
}

/** Whom a message is about. */
export interface ProbedServer {
  /** Such as its address. */
  readonly name: string;
  /** What names it in the configuration. */
  readonly setting: string;
}

/** Reads a range of the probe, and the whole.
 *  @param read one read of it
 *  @throws StorageError BAD_CONFIG where other bytes come, or a range is answered by something else; what `read` throws else */
export async function verifyProbe(
  read: (range: ByteRange | undefined, sink: Sink) => Promise<void>,
  { name, setting }: ProbedServer,
): Promise<void> {
  for (const range of [PROBE_RANGE, undefined]) {
    const memory = createMemorySink();
    try {
      await read(range, memory.sink);
    } catch (thrown) {
      const error = toStorageError(thrown);
      if (range === undefined || !['INTEGRITY', 'SHORT_BODY', 'BAD_RANGE'].includes(error.code)) {
        throw thrown;
      }
      throw new StorageError(
        'BAD_CONFIG',
        `${name} does not answer ranges as HTTP demands, so that headers of images could not be read: ${error.message}; use another server, or correct ${setting}`,
        { cause: error },
      );
    }
    const { start, end } = range ?? { start: 0, end: PROBE.length };
    if (Buffer.compare(memory.bytes(), PROBE.subarray(start, end)) === 0) continue;
    const what = range === undefined ? 'reads of whole objects' : 'ranges';
    throw new StorageError(
      'BAD_CONFIG',
      `${name} answers ${what} with the wrong bytes: ${start} to ${end} of what was just written came back as others, with every header right; no image would be safe there. Use another server, or another backend of it (Ceph's "dbstore" does so), or correct ${setting}, if a proxy or cache is between`,
    );
  }
}
