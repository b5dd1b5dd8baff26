// SPDX-License-Identifier: GPL-3.0-or-later
// Ctrl-C, the end of a terminal or connection, and what service managers and schedulers send.

import { StorageError } from '../../errors.ts';
import { createAbortController } from '../../store/abort.ts';

/** With the exit codes that shells give them: 128 and the signal's number. */
const SIGNALS = [
  // Also below nohup: Node undoes what that has ignored.
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const;
/** More than stores take to clean up behind what was cut off. */
const GRACE_MS = 5_000;

/** Ends the process, through 'exit', so that what was half written goes. */
export function exitWhenInterrupted(): void {
  for (const [name, code] of SIGNALS) process.once(name, () => process.exit(code));
}

/** From now on the first signal aborts instead, so that uploads under way leave no parts behind, nor files their first half. A second
 *  one ends the process at once. */
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
