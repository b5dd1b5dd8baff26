// SPDX-License-Identifier: GPL-3.0-or-later
// Bodies and sinks that notice what the contract forbids.

import { expect } from 'vitest';
import { StorageError, type StorageErrorCode } from '../../src/errors.ts';
import type { Body, Sink } from '../../src/store/object-store.ts';
import { expectDocumented } from './messages.ts';

/** Bytes that differ at each place, the same for the same seed. */
export function makeBytes(sizeBytes: number, seed = 1): Uint8Array {
  const words = new Uint32Array(Math.ceil(sizeBytes / 4));
  let state = seed >>> 0 || 1;
  for (let index = 0; index < words.length; index++) {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
  return new Uint8Array(words.buffer, 0, sizeBytes);
}

/** Alters one byte, whatever it is: to set it to a value would alter nothing once in 256 times.
 *  @returns the same bytes
 *  @throws where there is none */
export function damage<T extends Uint8Array>(bytes: T | undefined, at: number): T {
  const byte = bytes?.at(at);
  if (bytes === undefined || byte === undefined) throw new Error(`there is no byte ${at}`);
  bytes[at < 0 ? bytes.length + at : at] = byte ^ 0xff;
  return bytes;
}

export interface TestBody extends Body {
  /** How many bytes were read in all. */
  readBytes(): number;
  /** The largest piece that was read at once. */
  largestRead(): number;
  /** From now on a read is a defect: the request that the body belonged to is over. */
  end(): void;
  readsAfterEnd(): number;
}

export function makeBody(bytes: Uint8Array): TestBody {
  let readBytes = 0;
  let largest = 0;
  let ended = false;
  let late = 0;
  return {
    sizeBytes: bytes.length,
    read(start, end) {
      if (ended) {
        late += 1;
        throw new StorageError('ABORTED', 'the request is over');
      }
      if (!(start >= 0 && start <= end && end <= bytes.length)) {
        throw new RangeError(`read(${start}, ${end}) of ${bytes.length} bytes`);
      }
      readBytes += end - start;
      largest = Math.max(largest, end - start);
      return bytes.slice(start, end);
    },
    readInto(start, target) {
      target.set(this.read(start, start + target.length));
    },
    readBytes: () => readBytes,
    largestRead: () => largest,
    end: () => {
      ended = true;
    },
    readsAfterEnd: () => late,
  };
}

export interface TestSink extends Sink {
  bytes(): Uint8Array;
  totalBytes(): number | undefined;
  begins(): number;
  /** From now on a call is a defect. */
  end(): void;
  callsAfterEnd(): number;
}

export function makeSink(): TestSink {
  let target: Uint8Array | undefined;
  let total: number | undefined;
  let begins = 0;
  let ended = false;
  let late = 0;
  return {
    begin(sizeBytes, totalBytes) {
      if (ended) late += 1;
      begins += 1;
      target = new Uint8Array(sizeBytes);
      total = totalBytes;
    },
    write(offset, bytes) {
      if (ended) late += 1;
      if (target === undefined) throw new Error('write before begin');
      target.set(bytes, offset);
    },
    bytes: () => target ?? new Uint8Array(),
    totalBytes: () => total,
    begins: () => begins,
    end: () => {
      ended = true;
    },
    callsAfterEnd: () => late,
  };
}

/** Compares by content; a diff of a million bytes helps nobody. */
export function expectSameBytes(actual: Uint8Array, expected: Uint8Array): void {
  expect(actual.length).toBe(expected.length);
  expect(Buffer.compare(actual, expected)).toBe(0);
}

/** Awaits a rejection and checks what every StorageError owes its reader. */
export async function expectFailure(
  work: Promise<unknown>,
  code: StorageErrorCode,
  message?: RegExp,
): Promise<StorageError> {
  let thrown: unknown;
  try {
    await work;
  } catch (caught) {
    thrown = caught;
  }
  if (!(thrown instanceof StorageError)) {
    throw new Error(`expected a StorageError ${code}, got ${String(thrown)}`, { cause: thrown });
  }
  expect(thrown.code, thrown.message).toBe(code);
  if (message !== undefined) expect(thrown.message).toMatch(message);
  expect(thrown.message).not.toMatch(/\n/);
  // Elsewhere, stores of the tests fail with messages of their own.
  if (expect.getState().testPath?.includes('/test/faults/') === true)
    expectDocumented(thrown.message);
  return thrown;
}

export const never = (): AbortSignal => new AbortController().signal;
