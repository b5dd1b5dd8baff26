// SPDX-License-Identifier: GPL-3.0-or-later
// The AES that tests and benches of encryption use: OOS_AES names the shim's as a module (native/test/aes_addon.cpp), which works in the
// box that it was built in; else node:crypto's.

import { createRequire } from 'node:module';
import { type CreateAes, createNodeAes } from '../../src/encryption/aes.ts';
import {
  type AesModule,
  createNativeAes,
  type EncryptInPlace,
} from '../../src/encryption/native-aes.ts';

/** @param encryptInPlace as the plugin has it for contents of requests */
export function chooseAes(encryptInPlace?: EncryptInPlace): CreateAes {
  const path = process.env['OOS_AES'];
  if (path === undefined) return createNodeAes;
  const addon: AesModule = createRequire(path)(path);
  return createNativeAes(addon, encryptInPlace);
}

export const createAes: CreateAes = chooseAes();
