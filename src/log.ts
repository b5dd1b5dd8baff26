// SPDX-License-Identifier: GPL-3.0-or-later

/** By consequence: an error means data at risk or a refused operation, a warning something degraded, info one line per start or
 *  stop, debug one line per request. */
export type LogLevel = 'error' | 'warning' | 'info' | 'debug';

export interface Logger {
  error(message: string): void;
  warning(message: string): void;
  info(message: string): void;
  debug(message: string): void;
}
