// SPDX-License-Identifier: GPL-3.0-or-later

type Transfer = (this: ArrayBufferLike, sizeBytes: number) => unknown;

// ES2024, from Node 22 on.
const transfer = Reflect.get(ArrayBuffer.prototype, 'transfer') as Transfer | undefined;

/** Gives the memory of a buffer back at once, where Node can do that, rather than when the collector runs. node:crypto makes a new
 *  buffer for each piece; the next one then lies in memory that is still in the processor's cache: a quarter less time per segment
 *  (test/bench/encryption.mjs).
 *  @param bytes nobody else's, and of no use afterwards */
export function release(bytes: Uint8Array): void {
  if (transfer === undefined || bytes.byteLength !== bytes.buffer.byteLength) return;
  transfer.call(bytes.buffer, 0);
}
