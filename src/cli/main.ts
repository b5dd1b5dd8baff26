// SPDX-License-Identifier: GPL-3.0-or-later
// The program orthanc-object-storage: the plugin's tools outside Orthanc.

import { Command, CommanderError } from 'commander';
import { StorageError } from '../errors.ts';
import { safeLine } from '../text/safe-text.ts';
import { cacheCommand } from '../tools/cache/command.ts';
import { checkCommand } from '../tools/check/command.ts';
import { exitWhenInterrupted } from '../tools/common/interruption.ts';
import { exitWhenOutputCloses, printError, printErrorLine } from '../tools/common/output.ts';
import { keygenCommand } from '../tools/keygen/command.ts';
import { migrateCommand } from '../tools/migrate/command.ts';
import { rekeyCommand } from '../tools/rekey/command.ts';
import { verifyCommand } from '../tools/verify/command.ts';
import { decryptCommand, encryptCommand } from './crypt.ts';
import { inspectCommand } from './inspect.ts';
import { locateCommand } from './locate.ts';

// Set by scripts/bundle.mjs.
declare const __VERSION__: string;

// Documented in --help.
const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

const program = new Command('orthanc-object-storage')
  .configureOutput({
    // Commander repeats arguments that it does not understand, which may be addresses with passwords.
    outputError: (text) => {
      for (const line of text.trimEnd().split('\n')) printErrorLine(withoutPassword(line));
    },
  })
  .description(
    'Tools for the Orthanc object storage plugin. They read the configuration file of Orthanc.',
  )
  .version(__VERSION__)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))
  .addHelpText(
    'after',
    '\nExit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C (128 plus the number of the signal).',
  );

// The warning would appear in the output of a command.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

exitWhenInterrupted();

exitWhenOutputCloses(EXIT_FAILURE);

// Node would print the message with its control characters.
process.on('uncaughtException', (error) => {
  fail(error);
  process.exit();
});

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
  cacheCommand(),
]) {
  program.addCommand(command.copyInheritedSettings(program));
  for (const subcommand of command.commands) subcommand.copyInheritedSettings(program);
}

program.parseAsync().catch(fail);

function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  printError(error instanceof StorageError ? error.message : safeLine(message));
  // An interruption has already set its own code.
  process.exitCode ||= error instanceof CommanderError ? EXIT_USAGE : EXIT_FAILURE;
}

function withoutPassword(line: string): string {
  const start = line.indexOf('://') + '://'.length;
  const end = line.lastIndexOf('@');
  const isAddress = start >= '://'.length && end > start;
  return isAddress ? `${line.slice(0, start)}[secret]${line.slice(end)}` : line;
}
