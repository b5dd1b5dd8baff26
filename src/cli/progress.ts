// SPDX-License-Identifier: GPL-3.0-or-later

/** A line on a terminal that says how far a command is. Nothing where standard error is a file or a pipe. */
export interface ProgressLine {
  show(text: () => string): void;
  clear(): void;
}

const INTERVAL_MS = 200;
const CLEAR = '\r\u001b[K';

export function createProgressLine(isShown = process.stderr.isTTY === true): ProgressLine {
  let nextMs = 0;
  return {
    show(text) {
      if (!isShown || performance.now() < nextMs) return;
      nextMs = performance.now() + INTERVAL_MS;
      process.stderr.write(`${CLEAR}${text().slice(0, (process.stderr.columns ?? 80) - 1)}`);
    },
    clear() {
      if (isShown) process.stderr.write(CLEAR);
    },
  };
}

/** @param share 0 to 1; undefined: nobody knows how much there is */
export function formatBar(share: number | undefined): string {
  if (share === undefined) return '';
  const width = 20;
  const done = Math.round(Math.min(1, share) * width);
  return `[${'#'.repeat(done)}${'.'.repeat(width - done)}] `;
}
