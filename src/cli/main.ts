// SPDX-License-Identifier: GPL-3.0-or-later
// orthanc-object-storage: what the plugin does, outside Orthanc.

import { Command } from 'commander';
import { StorageError } from '../errors.ts';
import { checkCommand } from './check.ts';

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
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_USAGE))
  .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 wrong usage.');

program.addCommand(checkCommand());

program.parseAsync().catch((error: unknown) => {
  const message =
    error instanceof StorageError || error instanceof Error ? error.message : String(error);
  process.stderr.write(`${message}\n`);
  process.exitCode = EXIT_FAILURE;
});
