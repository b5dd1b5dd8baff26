// SPDX-License-Identifier: GPL-3.0-or-later

import { clearProgress, isTerminal, tellProgress } from './output.ts';

/** A line on a terminal that says how far a command is. Nothing where standard error is a file or a pipe. */
export interface ProgressLine {
  show(text: () => string): void;
  clear(): void;
}

const INTERVAL_MS = 200;

export function createProgressLine(isShown = isTerminal()): ProgressLine {
  let nextMs = 0;
  return {
    show(text) {
      if (!isShown || performance.now() < nextMs) return;
      nextMs = performance.now() + INTERVAL_MS;
      tellProgress(text());
    },
    clear() {
      if (isShown) clearProgress();
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
