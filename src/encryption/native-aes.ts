// SPDX-License-Identifier: GPL-3.0-or-later
// The TypeScript twin of native/aes.cpp.

import type { Body } from '../store/object-store.ts';
import type { Aes, AesMode, CreateAes } from './aes.ts';
import { TAG_BYTES } from './sizes.ts';

/** Wrong use throws an Error. */
export interface NativeAes extends Pick<Aes, 'update' | 'seal' | 'open' | 'openMessage' | 'wipe'> {
  begin(nonce: Uint8Array, additional: Uint8Array): void;
  /** @param target receives the message and the tag */
  sealMessage(
    nonce: Uint8Array,
    additional: Uint8Array,
    source: Uint8Array,
    target: Uint8Array,
  ): void;
}

export interface AesModule {
  readonly Aes: new (mode: number, key: Uint8Array) => NativeAes;
}

/** Encrypts contents in Orthanc's memory without copying them first. Both return false for other contents, and do nothing. */
export interface InPlace {
  update(aes: NativeAes, content: Body, start: number, target: Uint8Array): boolean;
  sealMessage(
    aes: NativeAes,
    nonce: Uint8Array,
    additional: Uint8Array,
    content: Body,
    start: number,
    target: Uint8Array,
  ): boolean;
}

// The numbers of native/aes.h.
const MODES = { seal: 0, open: 1, counter: 2 } as const satisfies Record<AesMode, number>;
const NOTHING = new Uint8Array();

export function createNativeAes({ Aes }: AesModule, inPlace?: InPlace): CreateAes {
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
        if (inPlace?.update(aes, content, start, target)) return;
        content.readInto(start, target);
        aes.update(target, target);
      },
      seal: (tag) => {
        aes.seal(tag);
      },
      open: (tag) => aes.open(tag),
      sealMessage: (nonce, additional, content, start, target) => {
        if (inPlace?.sealMessage(aes, nonce, additional, content, start, target)) return;
        const message = target.subarray(0, target.length - TAG_BYTES);
        content.readInto(start, message);
        aes.sealMessage(nonce, additional, message, target);
      },
      openMessage: (nonce, additional, sealed, target) =>
        aes.openMessage(nonce, additional, sealed, target),
      wipe: () => {
        aes.wipe();
      },
    };
  };
}
