// SPDX-License-Identifier: GPL-3.0-or-later
// What the shim does natively for TypeScript alone: OOS_NATIVE names it as a module (native/test/helpers_addon.cpp), which works in the box
// that it was built in.

import { createRequire } from 'node:module';
import type { AesModule } from '../../src/encryption/native-aes.ts';
import type { RunFileSteps } from '../../src/local/file-steps.ts';

interface NativeModule extends AesModule {
  readonly runFileSteps: RunFileSteps;
}

const path = process.env['OOS_NATIVE'];

/** undefined: tests try what Node itself has. */
export const native: NativeModule | undefined =
  path === undefined ? undefined : createRequire(path)(path);
