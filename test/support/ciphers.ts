// SPDX-License-Identifier: GPL-3.0-or-later
// The ciphers that tests and benches of encryption use: OOS_CIPHERS names the shim's as a module (native/test/ciphers_addon.cpp), which
// works in the box that it was built in; else node:crypto's.

import { createRequire } from 'node:module';
import { type Ciphers, nodeCiphers } from '../../src/encryption/ciphers.ts';
import {
  type CiphersModule,
  createNativeCiphers,
  type InPlace,
} from '../../src/encryption/native-ciphers.ts';

/** @param inPlace as the plugin has it for contents of requests */
export function chooseCiphers(inPlace?: InPlace): Ciphers {
  const path = process.env['OOS_CIPHERS'];
  if (path === undefined) return nodeCiphers;
  const addon: CiphersModule = createRequire(path)(path);
  return createNativeCiphers(addon, inPlace);
}

export const ciphers: Ciphers = chooseCiphers();
