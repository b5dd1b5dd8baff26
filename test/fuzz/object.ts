// SPDX-License-Identifier: GPL-3.0-or-later
// The fuzz target of the parsers of encrypted objects, and what feeds it: whatever the bytes are, they are refused by name, or they are
// an object as it was made.

import { DecryptingSink } from '../../src/encryption/decrypting-sink.ts';
import { describeEncryption } from '../../src/encryption/inspect.ts';
import type { Keyring } from '../../src/encryption/keyring.ts';
import { A2_HEADER_BYTES } from '../../src/encryption/sizes.ts';
import { StorageError } from '../../src/errors.ts';
import { createAes } from '../support/aes.ts';

/** An object of test/fixtures. */
export interface Specimen {
  readonly object: Buffer;
  readonly uuid: string;
  readonly contentType: number;
}

const EXPECTED: ReadonlySet<string> = new Set(['INTEGRITY', 'UNKNOWN_KEY']);

/** @param specimen what `bytes` were made from
 *  @param isGenuine of bytes that a program of ours made: A1 is not bound to a name, so that one object may stand for another
 *  @throws for a defect: an error that is none of ours, or altered bytes that were taken */
export function fuzzObject(
  bytes: Buffer,
  specimen: Specimen,
  keyring: Keyring,
  isGenuine: (bytes: Buffer) => boolean,
): void {
  refusedByName(() => describeEncryption(bytes.subarray(0, A2_HEADER_BYTES), bytes.length));
  const isTaken = !refusedByName(() => decrypt(bytes, specimen, keyring));
  if (isTaken && !isGenuine(bytes)) throw new Error('altered bytes were taken');
}

function refusedByName(work: () => unknown): boolean {
  try {
    work();
    return false;
  } catch (error) {
    if (error instanceof StorageError && EXPECTED.has(error.code)) return true;
    throw error;
  }
}

function decrypt(bytes: Buffer, { uuid, contentType }: Specimen, keyring: Keyring): void {
  const sink = new DecryptingSink(
    { begin: () => undefined, write: () => undefined },
    {
      find: (id) => keyring.find(id),
      hasKey: (id) => keyring.ids.includes(id),
      createAes,
      identity: { uuid, contentType },
      plain: 'refuse',
      wanted: undefined,
    },
    { start: 0, header: undefined },
  );
  sink.begin(bytes.length, bytes.length);
  sink.write(0, bytes);
  sink.finish();
}

/** @param random 0 to below 1
 *  @returns the specimen with one to three alterations, mostly in its header and at its end */
export function mutate({ object }: Specimen, other: Specimen, random: () => number): Buffer {
  let bytes: Buffer = Buffer.from(object);
  const below = (limit: number) => Math.floor(random() * limit);
  const place = () => {
    const near = Math.min(bytes.length, 100);
    const places = [below(near), bytes.length - 1 - below(near), below(bytes.length)];
    return Math.max(0, places[below(places.length)] ?? 0);
  };
  for (let left = 1 + below(3); left > 0; left -= 1) {
    const at = place();
    switch (below(6)) {
      case 0:
        if (bytes.length > 0) bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << below(8)), at);
        break;
      case 1:
        if (bytes.length > 0) bytes.writeUInt8(below(256), at);
        break;
      case 2:
        bytes = bytes.subarray(0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes, other.object.subarray(0, below(other.object.length + 1))]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(20))]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), other.object.subarray(at)]);
    }
  }
  return bytes;
}

/** The same numbers for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
