// SPDX-License-Identifier: GPL-3.0-or-later
// Ctrl-C, the end of a terminal, and the signals of service managers.

import { StorageError } from '../../errors.ts';
import { createAbortController } from '../../store/abort.ts';

/** With the exit codes that shells give them: 128 and the signal's number. */
const SIGNALS = [
  // Also under nohup, since Node undoes that.
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;
/** Stores need less to clean up after an upload that was cut off. */
const GRACE_MS = 5_000;

/** Ends the process through 'exit', where half-written files are removed. */
export function exitWhenInterrupted(): void {
  for (const [name, code] of SIGNALS) process.once(name, () => process.exit(code));
}

/** From now on the first signal aborts, so that uploads leave no parts behind. A second one ends the process at once. */
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
