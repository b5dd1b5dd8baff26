// SPDX-License-Identifier: GPL-3.0-or-later
// What the scripts say: one line when a long step begins, one when it has ended, with its duration.

/** A message that a user can act on; entry points print it without a stack. */
export class UserError extends Error {}

/** @param {string} text */
export const say = (text) => void process.stderr.write(`${text}\n`);

/** @param {number} durationMs @returns {string} such as "0.4 s", "12 s" or "2 min 5 s" */
export function formatDuration(durationMs) {
  const seconds = durationMs / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/**
 * Runs one long step, saying what it does and how long it took.
 * @template T
 * @param {string} title what is being done, as a present participle
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
export async function runStep(title, action) {
  const startMs = performance.now();
  say(`▸ ${title} …`);
  try {
    const result = await action();
    say(`✓ ${title}: ${formatDuration(performance.now() - startMs)}`);
    return result;
  } catch (error) {
    say(`✗ ${title}: failed after ${formatDuration(performance.now() - startMs)}`);
    throw error;
  }
}

/**
 * A message that a user can act on is shown alone, anything else with its stack.
 * @param {unknown} error
 */
export function explainError(error) {
  if (error instanceof UserError) return `error: ${error.message}`;
  return error instanceof Error ? String(error.stack) : String(error);
}

/**
 * Runs an entry point and sets the exit code. An error ends the process at once, and thereby
 * whatever else it has started.
 * @param {() => Promise<number | void>} main
 */
export function runMain(main) {
  main().then(
    (code) => {
      process.exitCode = code ?? 0;
    },
    (error) => {
      say(explainError(error));
      process.exit(1);
    },
  );
}
