// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from './errors.ts';
import { hideSecrets, type SafeText, safeLine } from './text/safe-text.ts';
import type { Secret } from './text/secret.ts';

/** By consequence: an error means data at risk or a refused operation, a warning something degraded, info one line per start or
 *  stop, debug one line per request. */
export type LogLevel = 'error' | 'warning' | 'info' | 'debug';

export interface Logger {
  error(message: string): void;
  warning(message: string): void;
  info(message: string): void;
  debug(message: string): void;
}

/** Values of one log line; undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | bigint | boolean | undefined>>;

const CAUSES_MAX = 5;

/** A logger whose every message becomes exactly one line: control characters escaped, length bounded, secrets removed.
 *  @param write takes the finished line, without a line end
 *  @param secrets the values that no line may hold, asked for at each line: the logger is there before the configuration is */
export function createLogger(
  write: (level: LogLevel, line: SafeText) => void,
  secrets: () => readonly Secret[] = () => [],
): Logger {
  const log = (level: LogLevel) => (message: string) => {
    write(level, hideSecrets(safeLine(message), secrets()));
  };
  return {
    error: log('error'),
    warning: log('warning'),
    info: log('info'),
    debug: log('debug'),
  };
}

/** One line of `name=value`, in the order given; values with spaces, quotes or control characters come in quotes. */
export function formatFields(fields: LogFields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${formatValue(String(value))}`)
    .join(' ');
}

/** What a log line says of a failure: the code, the message, which object, the provider's request id, and by name and code what
 *  lies beneath. Never a stack, nor the messages of the causes: an SDK's may hold URLs with signatures. */
export function errorFields(error: unknown): LogFields {
  if (!(error instanceof StorageError)) {
    return { code: 'INTERNAL', error: safeLine(messageOf(error)), cause: describeCauses(error) };
  }
  return {
    code: error.code,
    key: error.key,
    requestId: error.requestId,
    error: error.message,
    cause: describeCauses(error.cause),
  };
}

/** `errorFields` as one line. */
export function describeError(error: unknown): SafeText {
  return safeLine(formatFields(errorFields(error)));
}

function formatValue(text: string): string {
  return /^[^\s"=\\\p{Cc}]+$/u.test(text) ? text : JSON.stringify(text);
}

/** Names and codes down the chain, such as "TimeoutError < AggregateError ECONNREFUSED < Error ECONNREFUSED". */
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

function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
}
