// SPDX-License-Identifier: GPL-3.0-or-later
// The AES that tests and benches of encryption use: OOS_CIPHERS names the shim's as a module (native/test/ciphers_addon.cpp), which works in
// the box that it was built in; else node:crypto's.

import { createRequire } from 'node:module';
import { type CreateAes, createNodeAes } from '../../src/encryption/aes.ts';
import { type AesModule, createNativeAes, type InPlace } from '../../src/encryption/native-aes.ts';

/** @param inPlace as the plugin has it for contents of requests */
export function chooseAes(inPlace?: InPlace): CreateAes {
  const path = process.env['OOS_CIPHERS'];
  if (path === undefined) return createNodeAes;
  const addon: AesModule = createRequire(path)(path);
  return createNativeAes(addon, inPlace);
}

export const createAes: CreateAes = chooseAes();
