// SPDX-License-Identifier: GPL-3.0-or-later
// orthanc-object-storage: what the plugin does, outside Orthanc.

import { Command, CommanderError } from 'commander';
import { StorageError } from '../errors.ts';
import { checkCommand } from './check.ts';
import { decryptCommand, encryptCommand } from './crypt.ts';
import { inspectCommand } from './inspect.ts';
import { exitWhenInterrupted } from './interruption.ts';
import { keygenCommand } from './keygen.ts';
import { locateCommand } from './locate.ts';
import { migrateCommand } from './migrate.ts';
import { rekeyCommand } from './rekey.ts';
import { verifyCommand } from './verify.ts';

// Set by scripts/bundle.mjs.
declare const __VERSION__: string;

// The exit codes, documented in --help.
const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const program = new Command('orthanc-object-storage')
  .description(
    'Tools for the Orthanc object storage plugin. They read the configuration file of Orthanc.',
  )
  .version(__VERSION__)
  .exitOverride(exitWithUsage)
  .configureOutput({ outputError })
  .addHelpText(
    'after',
    '\nExit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C (128 and the number of the signal).',
  );

// Of no use to who runs a command, and it would be in the way of what the command says.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

exitWhenInterrupted();

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    // EPIPE: who reads has enough, as in `verify | head`.
    if (stream === process.stdout && error.code !== 'EPIPE') {
      process.stderr.write(`standard output: ${error.message}\n`);
    }
    process.exit(EXIT_FAILURE);
  });
}

for (const command of [
  checkCommand(),
  keygenCommand(),
  inspectCommand(),
  encryptCommand(),
  decryptCommand(),
  rekeyCommand(),
  migrateCommand(),
  verifyCommand(),
  locateCommand(),
]) {
  // Commander does not hand these down to commands that were made elsewhere.
  program.addCommand(command.exitOverride(exitWithUsage).configureOutput({ outputError }));
}

program.parseAsync().catch((error: unknown) => {
  const message =
    error instanceof StorageError || error instanceof Error ? error.message : String(error);
  process.stderr.write(`${message}\n`);
  // An interruption has set its own; 0 can only be of what came before.
  process.exitCode ||= error instanceof CommanderError ? EXIT_USAGE : EXIT_FAILURE;
});

/** Commander repeats what it does not understand, which may be an address with a password. */
function outputError(text: string, write: (text: string) => void): void {
  write(text.replace(/(:\/\/)[^\n]*@/g, '$1[secret]@'));
}

function exitWithUsage(error: CommanderError): never {
  process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE);
}
