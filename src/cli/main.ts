// SPDX-License-Identifier: GPL-3.0-or-later
// The program orthanc-object-storage: the plugin's tools outside Orthanc.

import { CommanderError } from 'commander';
import { StorageError } from '../errors.ts';
import { safeLine } from '../text/safe-text.ts';
import { exitWhenInterrupted } from '../tools/common/interruption.ts';
import { exitWhenOutputCloses, printError } from '../tools/common/output.ts';
import { createProgram, EXIT_USAGE } from './program.ts';

// Set by scripts/bundle.mjs.
declare const __VERSION__: string;

// Documented in --help.
const EXIT_FAILURE = 1;

// The warning would appear in the output of a command.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';

exitWhenInterrupted();

exitWhenOutputCloses(EXIT_FAILURE);

// Node would print the message with its control characters.
process.on('uncaughtException', (error) => {
  fail(error);
  process.exit();
});

createProgram(__VERSION__).parseAsync().catch(fail);

function fail(error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  printError(error instanceof StorageError ? error.message : safeLine(message));
  // An interruption has already set its own code.
  process.exitCode ||= error instanceof CommanderError ? EXIT_USAGE : EXIT_FAILURE;
}
