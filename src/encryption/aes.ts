// SPDX-License-Identifier: GPL-3.0-or-later
// AES-256 for both formats. The plugin takes it from the shim (native-aes.ts), the command line from node:crypto.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Body } from '../store/object-store.ts';
import { TAG_BYTES } from './sizes.ts';

/** GCM that encrypts, GCM that decrypts, and counter mode, which does both. */
export type AesMode = 'seal' | 'open' | 'counter';

/** One key, and one message at a time, in pieces or whole. The caller of `CreateAes` must wipe it. */
export interface Aes {
  /** Begins a message and abandons an unfinished one.
   *  @param nonce in counter mode, the first counter block
   *  @param additional authenticated data; none in counter mode */
  begin(nonce: Uint8Array, additional?: Uint8Array): void;
  /** The message's next bytes. @param target as long as the source: the same memory, or memory that does not overlap */
  update(source: Uint8Array, target: Uint8Array): void;
  /** As `update` of the bytes [start, start + target.length) of a content. @throws what reading it throws */
  updateFrom(content: Body, start: number, target: Uint8Array): void;
  /** Ends an encrypted message. @param tag receives 16 bytes */
  seal(tag: Uint8Array): void;
  /** Ends a decrypted message. @returns whether it is authentic; if not, the plaintext must not be used */
  open(tag: Uint8Array): boolean;
  /** Encrypts a part of a content as one message.
   *  @param target receives the message and the tag, its last 16 bytes
   *  @throws what reading the content throws */
  sealMessage(
    nonce: Uint8Array,
    additional: Uint8Array,
    content: Body,
    start: number,
    target: Uint8Array,
  ): void;
  /** Decrypts a whole message.
   *  @param sealed the message and its tag
   *  @returns as `open` */
  openMessage(
    nonce: Uint8Array,
    additional: Uint8Array,
    sealed: Uint8Array,
    target: Uint8Array,
  ): boolean;
  wipe(): void;
}

export type CreateAes = (mode: AesMode, key: Uint8Array) => Aes;

/** node:crypto allocates a buffer for each piece. */
const PIECE_BYTES = 256 * 1024;
const NOTHING = new Uint8Array();

interface Message {
  update(piece: Uint8Array): Uint8Array;
  seal(): Uint8Array;
  /** @throws if it is not authentic */
  open(tag: Uint8Array): void;
}

export const createNodeAes: CreateAes = (mode, key) => {
  // A copy, as in the shim, because callers may wipe theirs.
  const ownKey = Buffer.from(key);
  let message: Message | undefined;

  function current(): Message {
    if (message === undefined) throw new Error('AES: no message has begun');
    return message;
  }

  function update(source: Uint8Array, target: Uint8Array): void {
    for (let start = 0; start < source.length; start += PIECE_BYTES) {
      const result = current().update(source.subarray(start, start + PIECE_BYTES));
      target.set(result, start);
      release(result);
    }
  }

  const aes: Aes = {
    begin(nonce, additional = NOTHING) {
      message = begin(mode, ownKey, nonce, additional);
    },
    update,
    updateFrom(content, start, target) {
      for (let at = 0; at < target.length; at += PIECE_BYTES) {
        const piece = target.subarray(at, at + PIECE_BYTES);
        content.readInto(start + at, piece);
        update(piece, piece);
      }
    },
    seal(tag) {
      tag.set(current().seal());
      message = undefined;
    },
    open(tag) {
      const ended = current();
      message = undefined;
      try {
        ended.open(tag);
        return true;
      } catch {
        return false;
      }
    },
    sealMessage(nonce, additional, content, start, target) {
      const tagStart = target.length - TAG_BYTES;
      aes.begin(nonce, additional);
      aes.updateFrom(content, start, target.subarray(0, tagStart));
      aes.seal(target.subarray(tagStart));
    },
    openMessage(nonce, additional, sealed, target) {
      const tagStart = sealed.length - TAG_BYTES;
      aes.begin(nonce, additional);
      update(sealed.subarray(0, tagStart), target);
      return aes.open(sealed.subarray(tagStart));
    },
    wipe() {
      ownKey.fill(0);
      message = undefined;
    },
  };
  return aes;
};

function begin(mode: AesMode, key: Uint8Array, nonce: Uint8Array, additional: Uint8Array): Message {
  switch (mode) {
    case 'seal': {
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(additional);
      const seal = () => {
        cipher.final();
        return cipher.getAuthTag();
      };
      return { update: (piece) => cipher.update(piece), seal, open: refuse };
    }
    case 'open': {
      const options = { authTagLength: TAG_BYTES };
      const decipher = createDecipheriv('aes-256-gcm', key, nonce, options).setAAD(additional);
      const open = (tag: Uint8Array) => {
        decipher.setAuthTag(tag);
        decipher.final();
      };
      return { update: (piece) => decipher.update(piece), seal: refuse, open };
    }
    case 'counter': {
      const cipher = createCipheriv('aes-256-ctr', key, nonce);
      return { update: (piece) => cipher.update(piece), seal: refuse, open: refuse };
    }
  }
}

function refuse(): never {
  throw new Error('AES: not in this mode');
}

type Transfer = (this: ArrayBufferLike, sizeBytes: number) => unknown;

// ES2024, in Node 22 and later.
const transfer = Reflect.get(ArrayBuffer.prototype, 'transfer') as Transfer | undefined;

/** Frees a buffer at once rather than at the next garbage collection. The buffer for the next piece then lies in memory that is in the
 *  processor's cache: a quarter less time per segment (test/bench/encryption.mjs). */
function release(bytes: Uint8Array): void {
  if (transfer === undefined || bytes.byteLength !== bytes.buffer.byteLength) return;
  transfer.call(bytes.buffer, 0);
}
