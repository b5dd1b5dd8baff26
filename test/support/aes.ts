// SPDX-License-Identifier: GPL-3.0-or-later
// The AES that tests and benches of encryption use: OOS_AES names the shim's as a module (native/test/aes_addon.cpp), which works in the
// box that it was built in; else node:crypto's.

import { createRequire } from 'node:module';
import { type CreateAes, createNodeAes } from '../../src/encryption/aes.ts';
import { type AesModule, createNativeAes } from '../../src/encryption/native-aes.ts';

export const createAes: CreateAes = load(process.env['OOS_AES']);

function load(path: string | undefined): CreateAes {
  if (path === undefined) return createNodeAes;
  const addon: AesModule = createRequire(path)(path);
  return createNativeAes(addon);
}
