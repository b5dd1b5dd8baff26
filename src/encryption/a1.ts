// SPDX-License-Identifier: GPL-3.0-or-later
// A1, the format of the C++ plugins, over bytes:
//
//     offset  0    2            6          38          70                  size-16   size
//             "A1" key id u32LE  EIV 32     EDEK 32     ciphertext          tag 16
//             └──────────── additional authenticated data ──┘
//
//     EIV  = AES-256-CTR(KEK, counter block 0, IV)      ciphertext, tag = AES-256-GCM(DEK, the 32-byte IV)
//     EDEK = AES-256-CTR(KEK, counter block 0, DEK)
//
// Both are encrypted with the same key stream, for every object of one KEK: whoever knows one DEK reads all of them
// (docs/format-a2.md). The format cannot be changed; A2 does not do it.

import {
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  type DecipherGCM,
  type KeyObject,
  randomBytes,
} from 'node:crypto';
import { A1_HEADER_BYTES, TAG_BYTES } from './sizes.ts';

export const A1_MAGIC = 'A1';
const IV_BYTES = 32;
const DEK_BYTES = 32;
const KEY_ID_OFFSET = 2;
const EIV_OFFSET = 6;
const EDEK_OFFSET = 38;
const BLOCK_BYTES = 16;
const COUNTERS = 2 ** 32;
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);

/** Only tests have another one than node:crypto's. */
export type RandomBytes = (sizeBytes: number) => Uint8Array;

export interface A1Header {
  readonly format: 'A1';
  readonly keyId: number;
  /** The 70 bytes, which the tag covers. */
  readonly bytes: Uint8Array;
}

/** What decrypts one object. The buffers belong to who asked for them, to be wiped. */
export interface A1Secrets {
  readonly dek: Uint8Array;
  readonly iv: Uint8Array;
}

/** @param bytes exactly A1_HEADER_BYTES, which begin with "A1" */
export function readA1Header(bytes: Uint8Array): A1Header {
  const copy = Buffer.from(bytes);
  return { format: 'A1', keyId: copy.readUInt32LE(KEY_ID_OFFSET), bytes: copy };
}

/** New secrets and the header that carries them under the KEK. */
export function createA1(
  keyId: number,
  kek: KeyObject,
  random: RandomBytes = randomBytes,
): { readonly header: A1Header; readonly secrets: A1Secrets } {
  const secrets = { dek: random(DEK_BYTES), iv: random(IV_BYTES) };
  const bytes = Buffer.alloc(A1_HEADER_BYTES);
  bytes.write(A1_MAGIC, 'latin1');
  bytes.writeUInt32LE(keyId, KEY_ID_OFFSET);
  bytes.set(mask(kek, secrets.iv), EIV_OFFSET);
  bytes.set(mask(kek, secrets.dek), EDEK_OFFSET);
  return { header: { format: 'A1', keyId, bytes }, secrets };
}

/** Cannot fail: a wrong KEK gives wrong secrets, which only the tag tells. */
export function openA1(header: A1Header, kek: KeyObject): A1Secrets {
  return {
    iv: mask(kek, header.bytes.subarray(EIV_OFFSET, EDEK_OFFSET)),
    dek: mask(kek, header.bytes.subarray(EDEK_OFFSET, A1_HEADER_BYTES)),
  };
}

/** CTR is its own inverse. */
function mask(kek: KeyObject, bytes: Uint8Array): Buffer {
  return createCipheriv('aes-256-ctr', kek, ZERO_BLOCK).update(bytes);
}

/** Takes the content in order; then `final` and `getAuthTag`. */
export function createA1Cipher(header: A1Header, secrets: A1Secrets): CipherGCM {
  const cipher = createCipheriv('aes-256-gcm', secrets.dek, secrets.iv);
  cipher.setAAD(header.bytes);
  return cipher;
}

/** Takes the ciphertext in order; then `setAuthTag` and `final`, which throws where the tag does not match. */
export function createA1Decipher(header: A1Header, secrets: A1Secrets): DecipherGCM {
  const decipher = createDecipheriv('aes-256-gcm', secrets.dek, secrets.iv, {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(header.bytes);
  return decipher;
}

/** GCM encrypts in counter mode, so that any part of the ciphertext can be made by itself; only the tag needs all that is before.
 *  @returns the counter block of the content's first block, for `encryptA1Part`
 *  @see NIST SP 800-38D, 7.1: block i is E(DEK, inc32^i(J0)), so that decrypting the first block of the key stream gives inc32(J0) */
export function firstCounterBlock(secrets: A1Secrets): Uint8Array {
  const keyStream = createCipheriv('aes-256-gcm', secrets.dek, secrets.iv).update(ZERO_BLOCK);
  const decipher = createDecipheriv('aes-256-ecb', secrets.dek, null).setAutoPadding(false);
  return decipher.update(keyStream);
}

/** The ciphertext of a part of the content.
 *  @param counterBlock of `firstCounterBlock`
 *  @param offset of the part in the content, a multiple of 16
 *  @returns as many bytes as the part has */
export function encryptA1Part(
  secrets: A1Secrets,
  counterBlock: Uint8Array,
  offset: number,
  part: Uint8Array,
): Uint8Array {
  const block = Buffer.from(counterBlock);
  const first = block.readUInt32BE(BLOCK_BYTES - 4) + offset / BLOCK_BYTES;
  const counter = first % COUNTERS;
  block.writeUInt32BE(counter, BLOCK_BYTES - 4);
  const ctr = () => createCipheriv('aes-256-ctr', secrets.dek, block);
  const untilWrap = (COUNTERS - counter) * BLOCK_BYTES;
  if (part.length <= untilWrap) return ctr().update(part);
  // GCM's counter is the last 32 bits alone; CTR would carry into the others.
  const before = ctr().update(part.subarray(0, untilWrap));
  block.writeUInt32BE(0, BLOCK_BYTES - 4);
  return Buffer.concat([before, ctr().update(part.subarray(untilWrap))]);
}
