// SPDX-License-Identifier: GPL-3.0-or-later
// Ctrl-C, the end of a terminal, and the signals of service managers.

import { StorageError } from '../../errors.ts';
import { createAbortController } from '../../store/abort.ts';

/** With the exit codes that shells use: 128 plus the number of the signal. */
const SIGNALS = [
  // Node undoes nohup, so this is caught there, too.
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;
/** Stores need less time to clean up after an aborted upload. */
const GRACE_MS = 5_000;

/** Ends the process by `process.exit`: listeners of 'exit' remove half-written files. */
export function exitWhenInterrupted(): void {
  for (const [name, code] of SIGNALS) process.once(name, () => process.exit(code));
}

/** From now on the first signal aborts the work, so that uploads leave no parts behind. A second signal ends the process at once. */
export function abortWhenInterrupted(): AbortController {
  const controller = createAbortController();
  for (const [name, code] of SIGNALS) {
    process.removeAllListeners(name);
    process.once(name, () => {
      exitWhenInterrupted();
      process.exitCode = code;
      setTimeout(() => process.exit(code), GRACE_MS).unref();
      controller.abort(new StorageError('ABORTED', `ended by ${name}; run it again to go on`));
    });
  }
  return controller;
}
