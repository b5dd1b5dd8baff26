// SPDX-License-Identifier: GPL-3.0-or-later
// AES-256 as both formats need it. The plugin has it from the shim (native-aes.ts), the command line from node:crypto.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Body } from '../store/object-store.ts';
import { release } from './release.ts';
import { TAG_BYTES } from './sizes.ts';

/** GCM that encrypts, GCM that decrypts, and counter mode, which is its own inverse. */
export type AesMode = 'seal' | 'open' | 'counter';

/** With one key, one message after the other: in pieces, or whole. Belongs to whoever made it, to be wiped. */
export interface Aes {
  /** Begins a message, whatever became of the one before.
   *  @param nonce in counter mode, the first counter block
   *  @param additional data that the tag covers; none in counter mode */
  begin(nonce: Uint8Array, additional?: Uint8Array): void;
  /** The message's next bytes. @param target as long as the source; the very same memory, or quite another */
  update(source: Uint8Array, target: Uint8Array): void;
  /** As `update` of the bytes [start, start + target.length) of a content. @throws what reading it throws */
  updateFrom(content: Body, start: number, target: Uint8Array): void;
  /** Ends a message that was encrypted. @param tag takes its 16 bytes */
  seal(tag: Uint8Array): void;
  /** Ends a message that was decrypted. @returns whether it is authentic; else what came out of it is worth nothing */
  open(tag: Uint8Array): boolean;
  /** Encrypts a whole message, which is a part of a content from `start` on.
   *  @param target takes the message and, in its last 16 bytes, the tag
   *  @throws what reading the content throws */
  sealMessage(
    nonce: Uint8Array,
    additional: Uint8Array,
    content: Body,
    start: number,
    target: Uint8Array,
  ): void;
  /** Decrypts a whole message.
   *  @param sealed the message, and its tag behind it
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

/** node:crypto makes a buffer for each piece: no more than this at a time. */
const PIECE_BYTES = 256 * 1024;
const NOTHING = new Uint8Array();

interface Message {
  update(piece: Uint8Array): Uint8Array;
  seal(): Uint8Array;
  /** @throws where it is not authentic */
  open(tag: Uint8Array): void;
}

export const createNodeAes: CreateAes = (mode, key) => {
  // Its own, as the shim's is: callers wipe theirs when they like.
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
