// SPDX-License-Identifier: GPL-3.0-or-later
// What the check at start writes and reads back, at servers other than the vendors' own: whether what the server promises by its
// headers is what it sends. Ceph RGW 18.2 with its dbstore backend answers a range with the right Content-Range and the first bytes.

import { StorageError, type StorageErrorCode, toStorageError } from '../errors.ts';
import { createMemorySink } from '../store/bodies.ts';
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
    const { start, end } = range ?? { start: 0, end: PROBE.length };
    const memory = createMemorySink();
    let failure: StorageError | undefined;
    try {
      await read(range, memory.sink);
    } catch (thrown) {
      failure = toStorageError(thrown);
      if (range === undefined || !ANSWER_CODES.has(failure.code)) throw thrown;
    }
    const hasBegun = memory.bytes().length === end - start;
    if (failure !== undefined && !hasBegun) {
      throw new StorageError(
        'BAD_CONFIG',
        `${name} does not answer ranges as HTTP demands, so that parts of images could not be read (${failure.message}); use another server, or correct ${setting}`,
        { cause: failure },
      );
    }
    const isRight = Buffer.compare(memory.bytes(), PROBE.subarray(start, end)) === 0;
    if (failure === undefined && isRight) continue;
    const what = range === undefined ? 'reads of whole objects' : 'ranges';
    throw new StorageError(
      'BAD_CONFIG',
      `${name} answers ${what} with the wrong bytes: of an object that was just written, others came than ${start} to ${end}, with headers that say it were those; no image is safe there. Use another server, or another backend of it (Ceph's "dbstore" does so), or correct ${setting} if a proxy or cache is between`,
      { cause: failure },
    );
  }
}

/** Of answers that came, and are not what was asked for. */
const ANSWER_CODES: ReadonlySet<StorageErrorCode> = new Set([
  'INTEGRITY',
  'SHORT_BODY',
  'BAD_RANGE',
]);

/** Whatever becomes of the work, the probe is removed; what went wrong first is what is told. */
export async function withRemoval(
  work: () => Promise<void>,
  remove: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (thrown) {
    await remove().catch(() => undefined);
    throw thrown;
  }
  await remove();
}
