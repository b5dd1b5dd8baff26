// SPDX-License-Identifier: GPL-3.0-or-later
// All output of the commands. Keys and messages may hold control characters, which a terminal would obey.

import { type SafeText, safeJson, safeLine, TEXT_MAX_CHARACTERS } from '../../text/safe-text.ts';

/** Further ones are counted only. */
export const FAILURES_SHOWN = 20;

export function printLine(line: string): void {
  // Long enough for two keys of 1,024 escaped characters.
  process.stdout.write(`${safeLine(line, TEXT_MAX_CHARACTERS)}\n`);
}

export function printJson(value: unknown, indent?: number): void {
  process.stdout.write(`${safeJson(value, indent)}\n`);
}

export function printBytes(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(error);
    });
  });
}

export function printErrorLine(line: string): void {
  process.stderr.write(`${safeLine(line, TEXT_MAX_CHARACTERS)}\n`);
}

export function printError(message: SafeText): void {
  process.stderr.write(`${message}\n`);
}

/** Ends the process when the reader of its output has closed it. */
export function exitWhenOutputCloses(exitCode: number): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      // EPIPE is no failure: the reader has enough, as in `verify | head`.
      if (stream === process.stdout && error.code !== 'EPIPE') {
        printErrorLine(`standard output: ${error.message}`);
      }
      process.exit(exitCode);
    });
  }
}

const CLEAR = '\r\u001b[K';
const INTERVAL_MS = 200;

/** Shows the progress on a terminal. Prints nothing if standard error is a file or a pipe. */
export class ProgressLine {
  readonly isShown: boolean;
  #nextMs = 0;

  constructor(isWanted: boolean) {
    this.isShown = isWanted && process.stderr.isTTY === true;
  }

  show(text: () => string): void {
    if (!this.isShown || performance.now() < this.#nextMs) return;
    this.#nextMs = performance.now() + INTERVAL_MS;
    const width = (process.stderr.columns ?? 80) - 1;
    process.stderr.write(`${CLEAR}${safeLine(text()).slice(0, width)}`);
  }

  clear(): void {
    if (this.isShown) process.stderr.write(CLEAR);
  }
}

/** @param share 0 to 1; undefined if the total is not known */
export function formatBar(share: number | undefined): string {
  if (share === undefined) return '';
  const width = 20;
  const done = Math.round(Math.min(1, share) * width);
  return `[${'#'.repeat(done)}${'.'.repeat(width - done)}] `;
}
