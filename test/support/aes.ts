// SPDX-License-Identifier: GPL-3.0-or-later
// The AES that tests and benches of encryption use: the shim's where there is one, else node:crypto's.

import { type CreateAes, createNodeAes } from '../../src/encryption/aes.ts';
import { createNativeAes, type InPlace } from '../../src/encryption/native-aes.ts';
import { native } from './native.ts';

/** @param inPlace as the plugin has it for contents of requests */
export function chooseAes(inPlace?: InPlace): CreateAes {
  return native === undefined ? createNodeAes : createNativeAes(native, inPlace);
}

export const createAes: CreateAes = chooseAes();
