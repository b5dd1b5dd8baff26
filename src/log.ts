// SPDX-License-Identifier: GPL-3.0-or-later

import { toStorageError } from './errors.ts';
import { createSecretHider, type SafeText, safeLine } from './text/safe-text.ts';
import type { Secret } from './text/secret.ts';

/** error: data is at risk or an operation failed. warning: something is degraded. info: a start or a stop. debug: one line per request. */
export type LogLevel = 'error' | 'warning' | 'info' | 'debug';

export type Logger = Readonly<Record<LogLevel, (message: string) => void>>;

/** The values of one log line. undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

const CAUSES_MAX = 5;
const NO_SECRETS: readonly Secret[] = [];

/** Each message becomes one line, with control characters escaped, a bounded length and no secrets.
 *  @param write gets the line without a line end
 *  @param secrets called for each line, since the logger exists before the configuration is read; another array for other secrets */
export function createLogger(
  write: (level: LogLevel, line: SafeText) => void,
  secrets: () => readonly Secret[] = () => NO_SECRETS,
): Logger {
  let known = NO_SECRETS;
  let hide = createSecretHider(known);
  const log = (level: LogLevel) => (message: string) => {
    const now = secrets();
    if (now !== known) {
      known = now;
      hide = createSecretHider(now);
    }
    write(level, hide(safeLine(message)));
  };
  return {
    error: log('error'),
    warning: log('warning'),
    info: log('info'),
    debug: log('debug'),
  };
}

/** `name=value name="other value"`, in the order given. */
export function formatFields(fields: LogFields): string {
  // A loop, since each request has such a line.
  let line = '';
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    if (line !== '') line += ' ';
    line += `${name}=${typeof value === 'string' ? formatValue(value) : String(value)}`;
  }
  return line;
}

/** The causes appear by name and code only: messages of SDKs may hold URLs with signatures. */
export function errorFields(error: unknown): LogFields {
  const { code, key, requestId, message, cause } = toStorageError(error);
  return { code, key, requestId, error: message, cause: describeCauses(cause) };
}

export function describeError(error: unknown): SafeText {
  return safeLine(formatFields(errorFields(error)));
}

function formatValue(text: string): string {
  return /^[^\s"=\\\p{Cc}]+$/u.test(text) ? text : JSON.stringify(text);
}

/** Such as "TimeoutError < AggregateError ECONNREFUSED < Error ECONNREFUSED". */
function describeCauses(thrown: unknown): string | undefined {
  const names: string[] = [];
  let current: unknown = thrown;
  for (let depth = 0; depth < CAUSES_MAX && current instanceof Error; depth++) {
    names.push(nameAndCode(current));
    current = current.cause ?? (current instanceof AggregateError ? current.errors[0] : undefined);
  }
  return names.length === 0 ? undefined : names.join(' < ');
}

function nameAndCode(error: Error): string {
  const code = 'code' in error ? error.code : undefined;
  const isCode = (typeof code === 'string' && code !== error.name) || typeof code === 'number';
  return isCode ? `${error.name} ${code}` : error.name;
}
