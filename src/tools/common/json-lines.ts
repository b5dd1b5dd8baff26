// SPDX-License-Identifier: GPL-3.0-or-later

/** A line of a file that may be torn, or no JSON at all. @returns undefined then */
export function parseJsonLine(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
