// SPDX-License-Identifier: GPL-3.0-or-later

import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { StorageError } from '../errors.ts';

const KEY_BYTES = 32;

/** `keygen`: a new master key. */
export function keygenCommand(): Command {
  return new Command('keygen')
    .description('Makes a master key: 32 random bytes in base64, in a new file with mode 0600.')
    .argument('<file>', 'the key file; it must not be there yet')
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Example:
  orthanc-object-storage keygen /etc/orthanc/master-1.key

Exit codes: 0 done, 1 failed (the file is there already, say), 2 wrong usage.
Keep a copy of the key in a safe place: without it nothing that it encrypted can be read.`,
    )
    .action((file: string, options: { readonly json?: true }) => {
      writeKey(file);
      const path = resolve(file);
      if (options.json === true) {
        process.stdout.write(`${JSON.stringify({ file: path })}\n`);
        return;
      }
      process.stdout.write(
        `${path} holds a new master key. In StorageEncryption of Orthanc's configuration, with an id that no other key has:\n  "MasterKey": [1, ${JSON.stringify(path)}]\n`,
      );
    });
}

function writeKey(file: string): void {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'wx', 0o600);
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    const problem =
      code === 'EEXIST'
        ? 'is there already; a key that is overwritten takes all that it encrypted with it'
        : `cannot be written (${code})`;
    throw new StorageError('BAD_CONFIG', `${file}: ${problem}`, { cause });
  }
  const key = randomBytes(KEY_BYTES);
  try {
    writeSync(descriptor, `${key.toString('base64')}\n`);
    fsyncSync(descriptor);
  } finally {
    key.fill(0);
    closeSync(descriptor);
  }
}
