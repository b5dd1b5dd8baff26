// SPDX-License-Identifier: GPL-3.0-or-later
// The check at start writes an object and reads it back, to see whether a server sends what its headers say. The vendors' own servers are
// trusted. Ceph RGW 18.2 with its dbstore backend answers a range with the right Content-Range and the first bytes of the object.

import { StorageError, type StorageErrorCode, toStorageError } from '../errors.ts';
import { MemorySink } from '../store/bodies.ts';
import type { ByteRange, Sink } from '../store/object-store.ts';

const PROBE_PAIRS = 512;
/** From the middle, so that neither the first nor the last bytes are right. */
const PROBE_RANGE: ByteRange = { start: 300, end: 500 };

/** The numbers from 0 to 511, two bytes each, so that no two ranges are equal. */
export const PROBE: Uint8Array = createProbe();

function createProbe(): Uint8Array {
  const bytes = Buffer.alloc(2 * PROBE_PAIRS);
  for (let pair = 0; pair < PROBE_PAIRS; pair++) bytes.writeUInt16BE(pair, 2 * pair);
  return bytes;
}

export interface ProbedServer {
  /** Such as its address. */
  readonly name: string;
  /** The setting with its address. */
  readonly setting: string;
}

/** Reads a range of the probe, and the whole.
 *  @throws StorageError BAD_CONFIG for other bytes, or an answer that is not the range; what `read` throws else */
export async function verifyProbe(
  read: (range: ByteRange | undefined, sink: Sink) => Promise<void>,
  { name, setting }: ProbedServer,
): Promise<void> {
  for (const range of [PROBE_RANGE, undefined]) {
    const { start, end } = range ?? { start: 0, end: PROBE.length };
    const memory = new MemorySink();
    let failure: StorageError | undefined;
    try {
      await read(range, memory);
    } catch (thrown) {
      failure = toStorageError(thrown);
      if (range === undefined || !ANSWER_CODES.has(failure.code)) throw thrown;
    }
    const hasBegun = memory.bytes.length === end - start;
    if (failure !== undefined && !hasBegun) {
      throw new StorageError(
        'BAD_CONFIG',
        `${name} does not answer ranges as HTTP demands, so that parts of images could not be read (${failure.message}); use another server, or correct ${setting}`,
        { cause: failure },
      );
    }
    const isRight = Buffer.compare(memory.bytes, PROBE.subarray(start, end)) === 0;
    if (failure === undefined && isRight) continue;
    const what = range === undefined ? 'reads of whole objects' : 'ranges';
    throw new StorageError(
      'BAD_CONFIG',
      `${name} answers ${what} with the wrong bytes: of an object that was just written, others came than ${start} to ${end}, with headers that say it were those; no image is safe there. Use another server, or another backend of it (Ceph's "dbstore" does so), or correct ${setting} if a proxy or cache is between`,
      { cause: failure },
    );
  }
}

/** The answer came, and is not what was asked for. */
const ANSWER_CODES: ReadonlySet<StorageErrorCode> = new Set([
  'INTEGRITY',
  'SHORT_BODY',
  'BAD_RANGE',
]);

/** To remove what a check leaves when its time is up. */
export const CLEANUP_MS = 1_000;

/** Removes the probe also after a failure. @throws the first failure */
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
