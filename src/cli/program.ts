// SPDX-License-Identifier: GPL-3.0-or-later
// The commands and their options. main.ts runs them; the manual page and the completion of bash are made from them.

import { Command } from 'commander';
import { cacheCommand } from '../tools/cache/command.ts';
import { checkCommand } from '../tools/check/command.ts';
import { printErrorLine } from '../tools/common/output.ts';
import { keygenCommand } from '../tools/keygen/command.ts';
import { migrateCommand } from '../tools/migrate/command.ts';
import { rekeyCommand } from '../tools/rekey/command.ts';
import { verifyCommand } from '../tools/verify/command.ts';
import { decryptCommand, encryptCommand } from './crypt.ts';
import { inspectCommand } from './inspect.ts';
import { locateCommand } from './locate.ts';

/** Documented in --help. */
export const EXIT_USAGE = 2;

export function createProgram(version: string): Command {
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
    .version(version)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))
    .addHelpText(
      'after',
      '\nExit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C (128 plus the number of the signal).',
    );
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
  return program;
}

function withoutPassword(line: string): string {
  const start = line.indexOf('://') + '://'.length;
  const end = line.lastIndexOf('@');
  const isAddress = start >= '://'.length && end > start;
  return isAddress ? `${line.slice(0, start)}[secret]${line.slice(end)}` : line;
}
