// SPDX-License-Identifier: GPL-3.0-or-later
// The TypeScript twin of native/aes_object.cpp.

import type { Body } from '../store/object-store.ts';
import { type AesMode, type CreateAes, readPiece } from './aes.ts';

/** What it throws for calls out of order is a defect of ours. */
export interface NativeAes {
  begin(nonce: Uint8Array, additional: Uint8Array): void;
  update(source: Uint8Array, target: Uint8Array): void;
  seal(tag: Uint8Array): void;
  open(tag: Uint8Array): boolean;
  wipe(): void;
}

export interface AesModule {
  readonly Aes: new (mode: number, key: Uint8Array) => NativeAes;
}

/** Encrypts a content where it lies, without copying it first.
 *  @returns false for a content that lies elsewhere: nothing was done then */
export type EncryptInPlace = (
  content: Body,
  start: number,
  target: Uint8Array,
  aes: NativeAes,
) => boolean;

// The numbers of native/aes.h.
const MODES = { seal: 0, open: 1, counter: 2 } as const satisfies Record<AesMode, number>;
const NOTHING = new Uint8Array();

export function createNativeAes(
  { Aes }: AesModule,
  encryptInPlace: EncryptInPlace = () => false,
): CreateAes {
  return (mode, key) => {
    const aes = new Aes(MODES[mode], key);
    return {
      begin: (nonce, additional = NOTHING) => {
        aes.begin(nonce, additional);
      },
      update: (source, target) => {
        aes.update(source, target);
      },
      updateFrom: (content, start, target) => {
        if (encryptInPlace(content, start, target, aes)) return;
        aes.update(readPiece(content, start, target), target);
      },
      seal: (tag) => {
        aes.seal(tag);
      },
      open: (tag) => aes.open(tag),
      wipe: () => {
        aes.wipe();
      },
    };
  };
}
