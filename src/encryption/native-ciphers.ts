// SPDX-License-Identifier: GPL-3.0-or-later
// The TypeScript twin of native/aes_object.cpp and native/segments_object.cpp.

import type { Body } from '../store/object-store.ts';
import type { AesMode } from './aes.ts';
import type { Ciphers } from './ciphers.ts';
import { contentInSegments } from './sizes.ts';

/** What it throws for calls out of order is a defect of ours, here and below. */
export interface NativeAes {
  begin(nonce: Uint8Array, additional: Uint8Array): void;
  update(source: Uint8Array, target: Uint8Array): void;
  seal(tag: Uint8Array): void;
  open(tag: Uint8Array): boolean;
  wipe(): void;
}

export interface NativeSegments {
  /** @param content what `contentInSegments` says */
  seal(position: number, content: Uint8Array, target: Uint8Array): void;
  open(position: number, sealed: Uint8Array, plaintext: Uint8Array): boolean;
  wipe(): void;
}

export interface CiphersModule {
  readonly Aes: new (mode: number, key: Uint8Array) => NativeAes;
  readonly Segments: new (
    mode: number,
    key: Uint8Array,
    prefix: Uint8Array,
    additional: Uint8Array,
    plaintextBytes: number,
  ) => NativeSegments;
}

/** Encrypts contents where they lie, without copying them first. Both return false for a content that lies elsewhere: nothing was
 *  done then. */
export interface InPlace {
  encrypt(content: Body, start: number, target: Uint8Array, aes: NativeAes): boolean;
  seal(content: Body, position: number, target: Uint8Array, segments: NativeSegments): boolean;
}

// The numbers of native/aes.h.
const MODES = { seal: 0, open: 1, counter: 2 } as const satisfies Record<AesMode, number>;
const NOTHING = new Uint8Array();
const NOWHERE: InPlace = { encrypt: () => false, seal: () => false };

export function createNativeCiphers(
  { Aes, Segments }: CiphersModule,
  inPlace: InPlace = NOWHERE,
): Ciphers {
  return {
    createAes(mode, key) {
      const aes = new Aes(MODES[mode], key);
      return {
        begin: (nonce, additional = NOTHING) => {
          aes.begin(nonce, additional);
        },
        update: (source, target) => {
          aes.update(source, target);
        },
        updateFrom: (content, start, target) => {
          if (inPlace.encrypt(content, start, target, aes)) return;
          content.readInto(start, target);
          aes.update(target, target);
        },
        seal: (tag) => {
          aes.seal(tag);
        },
        open: (tag) => aes.open(tag),
        wipe: () => {
          aes.wipe();
        },
      };
    },
    createSealer({ dek, prefix, aad }, plaintextBytes) {
      const segments = new Segments(MODES.seal, dek, prefix, aad, plaintextBytes);
      return {
        seal: (content, position, target) => {
          if (inPlace.seal(content, position, target, segments)) return;
          const { start, end } = contentInSegments(position, target.length, plaintextBytes);
          segments.seal(position, content.read(start, end), target);
        },
        wipe: () => {
          segments.wipe();
        },
      };
    },
    createOpener: ({ dek, prefix, aad }, plaintextBytes) =>
      new Segments(MODES.open, dek, prefix, aad, plaintextBytes),
  };
}
