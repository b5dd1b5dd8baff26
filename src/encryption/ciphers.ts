// SPDX-License-Identifier: GPL-3.0-or-later
// What encrypts and decrypts: in the plugin the shim's ciphers (native-ciphers.ts), in the command line node:crypto.

import type { A2Secrets } from './a2.ts';
import { type CreateAes, createNodeAes } from './aes.ts';
import {
  createNodeOpener,
  createNodeSealer,
  type SegmentOpener,
  type SegmentSealer,
} from './segments.ts';

export interface Ciphers {
  readonly createAes: CreateAes;
  /** @param plaintextBytes of the object's whole content, here and below */
  createSealer(secrets: A2Secrets, plaintextBytes: number): SegmentSealer;
  createOpener(secrets: A2Secrets, plaintextBytes: number): SegmentOpener;
}

export const nodeCiphers: Ciphers = {
  createAes: createNodeAes,
  createSealer: createNodeSealer,
  createOpener: createNodeOpener,
};
