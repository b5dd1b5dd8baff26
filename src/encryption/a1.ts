// SPDX-License-Identifier: GPL-3.0-or-later
// A1, the format of the C++ plugins:
//
//     offset  0    2            6          38          70                  size-16   size
//             "A1" key id u32LE  EIV 32     EDEK 32     ciphertext          tag 16
//             └──────────── additional authenticated data ──┘
//
//     EIV  = AES-256-CTR(KEK, counter block 0, IV)      ciphertext, tag = AES-256-GCM(DEK, the 32-byte IV)
//     EDEK = AES-256-CTR(KEK, counter block 0, DEK)
//
// All objects of one KEK use the same key stream for IV and DEK, so one known DEK opens all of them (docs/format-a2.md). A2 has no such
// weakness.

import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import type { Aes, CreateAes } from './aes.ts';
import { A1_HEADER_BYTES, KEY_ID_OFFSET, keyIdOf } from './sizes.ts';

export const A1_MAGIC = 'A1';
const IV_BYTES = 32;
const DEK_BYTES = 32;
const EIV_OFFSET = 6;
const EDEK_OFFSET = 38;
const BLOCK_BYTES = 16;
const COUNTER_OFFSET = 12;
const COUNTERS = 2 ** 32;
const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);
const ZERO_SECRET = Buffer.alloc(DEK_BYTES);

/** As randomBytes of node:crypto; tests have others. */
export type RandomBytes = (sizeBytes: number) => Uint8Array;

export interface A1Header {
  readonly format: 'A1';
  readonly keyId: number;
  /** All 70 bytes, which the tag covers. */
  readonly bytes: Uint8Array;
}

/** Of one object. The caller must wipe the buffers. */
export interface A1Secrets {
  readonly dek: Uint8Array;
  readonly iv: Uint8Array;
}

/** @param bytes A1_HEADER_BYTES that begin with "A1" */
export function readA1Header(bytes: Uint8Array): A1Header {
  const copy = Buffer.from(bytes);
  return { format: 'A1', keyId: keyIdOf(copy), bytes: copy };
}

/** New secrets, and a header that holds them encrypted with the KEK. */
export function createA1(
  keyId: number,
  kek: KeyObject,
  random: RandomBytes = randomBytes,
): { readonly header: A1Header; readonly secrets: A1Secrets } {
  const drawn = random(DEK_BYTES + IV_BYTES);
  const secrets = { dek: drawn.subarray(0, DEK_BYTES), iv: drawn.subarray(DEK_BYTES) };
  const masked = maskSecrets(kek, secrets);
  const bytes = Buffer.alloc(A1_HEADER_BYTES);
  bytes.write(A1_MAGIC, 'latin1');
  bytes.writeUInt32LE(keyId, KEY_ID_OFFSET);
  bytes.set(masked.iv, EIV_OFFSET);
  bytes.set(masked.dek, EDEK_OFFSET);
  return { header: { format: 'A1', keyId, bytes }, secrets };
}

/** Never fails: a wrong KEK gives wrong secrets, which only the tag reveals. */
export function openA1(header: A1Header, kek: KeyObject): A1Secrets {
  return maskSecrets(kek, {
    iv: header.bytes.subarray(EIV_OFFSET, EDEK_OFFSET),
    dek: header.bytes.subarray(EDEK_OFFSET, A1_HEADER_BYTES),
  });
}

/** Encrypts and decrypts: XOR is its own inverse. */
function maskSecrets(kek: KeyObject, { iv, dek }: A1Secrets): A1Secrets {
  const keyStream = createCipheriv('aes-256-ctr', kek, ZERO_BLOCK).update(ZERO_SECRET);
  const mask = (secret: Uint8Array) => secret.map((byte, index) => byte ^ (keyStream[index] ?? 0));
  const masked = { iv: mask(iv), dek: mask(dek) };
  keyStream.fill(0);
  return masked;
}

export function beginA1(
  mode: 'seal' | 'open',
  createAes: CreateAes,
  header: A1Header,
  secrets: A1Secrets,
): Aes {
  const aes = createAes(mode, secrets.dek);
  aes.begin(secrets.iv, header.bytes);
  return aes;
}

/** GCM encrypts in counter mode, so any part of a content can be encrypted or decrypted by itself. Only the tag needs all parts in order. */
export interface A1Counter {
  /** @param work called with an Aes that is ready for bytes [from, to) of the content; twice if the counter wraps within them */
  run(start: number, end: number, work: (aes: Aes, from: number, to: number) => void): void;
  wipe(): void;
}

export function createA1Counter(createAes: CreateAes, secrets: A1Secrets): A1Counter {
  const aes = createAes('counter', secrets.dek);
  const block = firstCounterBlock(secrets);
  const firstCounter = block.readUInt32BE(COUNTER_OFFSET);
  // GCM's counter has 32 bits. The cipher's has 128 and would carry.
  const wrapsAt = (COUNTERS - firstCounter) * BLOCK_BYTES;
  const skipped = Buffer.alloc(BLOCK_BYTES);

  function seek(position: number): void {
    const within = position % BLOCK_BYTES;
    const counter = firstCounter + (position - within) / BLOCK_BYTES;
    block.writeUInt32BE(counter % COUNTERS, COUNTER_OFFSET);
    aes.begin(block);
    aes.update(skipped.subarray(0, within), skipped.subarray(0, within));
  }

  return {
    run(start, end, work) {
      for (let from = start; from < end; ) {
        const to = from < wrapsAt ? Math.min(end, wrapsAt) : end;
        seek(from);
        work(aes, from, to);
        from = to;
      }
    },
    wipe: () => {
      aes.wipe();
      skipped.fill(0);
    },
  };
}

/** The counter block of the content's first 16 bytes.
 *  @see NIST SP 800-38D, 7.1: block i is E(DEK, inc32^i(J0)), so that decrypting the first block of the key stream gives inc32(J0) */
function firstCounterBlock(secrets: A1Secrets): Buffer {
  const keyStream = createCipheriv('aes-256-gcm', secrets.dek, secrets.iv).update(ZERO_BLOCK);
  const decipher = createDecipheriv('aes-256-ecb', secrets.dek, null).setAutoPadding(false);
  return decipher.update(keyStream);
}
