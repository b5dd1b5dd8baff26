// SPDX-License-Identifier: GPL-3.0-or-later

import type { Secret } from './config/secret.ts';
import { StorageError } from './errors.ts';

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

// Long enough for a message with a key and a cause, short enough that a server's answer in HTML cannot fill a disk.
const LINE_MAX_CHARACTERS = 2000;
const CAUSES_MAX = 5;
const HIDDEN = '[secret]';

/** A logger whose every message becomes exactly one line: control characters escaped, length bounded, secrets removed.
 *  @param write takes the finished line, without a line end
 *  @param secrets the values that no line may hold, asked for at each line: the logger is there before the configuration is */
export function createLogger(
  write: (level: LogLevel, line: string) => void,
  secrets: () => readonly Secret[] = () => [],
): Logger {
  const log = (level: LogLevel) => (message: string) => {
    write(level, toLine(hideValues(redact(message), secrets())));
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
    return { code: 'INTERNAL', error: redact(messageOf(error)), cause: describeCauses(error) };
  }
  return {
    code: error.code,
    key: error.key,
    requestId: error.requestId,
    error: redact(error.message),
    cause: describeCauses(error.cause),
  };
}

/** `errorFields` as one line. */
export function describeError(error: unknown): string {
  return toLine(formatFields(errorFields(error)));
}

/** The text without what gives access: signatures and tokens in URLs, keys in connection strings, authorization headers, private
 *  keys. A net below the rule that no message holds them, for text that comes from elsewhere (an SDK's own log). */
export function redact(text: string): string {
  // Most lines hold none of it, and this runs for every line.
  if (!MAY_HOLD_SECRET.test(text)) return text;
  return REDACTIONS.reduce(
    (line, [pattern, replacement]) => line.replace(pattern, replacement),
    text,
  );
}

const NAMES = [
  'X-(?:Amz|Goog)-(?:Signature|Credential|Security-Token)',
  'AWSAccessKeyId|AWSSecretKey|SecretKey|SecretAccessKey|SessionToken|secret_?access_?key|session_?token',
  'AccountKey|SharedAccessKey|SharedAccessSignature|sig|Signature',
  'client_secret|client_assertion|assertion|access_token|refresh_token|id_token|private_key|password',
].join('|');

const REDACTIONS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, HIDDEN],
  // Up to the end of the line: schemes differ in what follows them.
  [/\b((?:Proxy-)?Authorization["']?\s*[:=]\s*)[^\r\n]+/gi, `$1${HIDDEN}`],
  [/\b(AWS4-HMAC-SHA256|Bearer|SharedKey(?:Lite)?)\s+[^\r\n"']+/g, `$1 ${HIDDEN}`],
  [/(:\/\/)[^/\s@"']+@/g, `$1${HIDDEN}@`],
  // name=value as in queries and connection strings; "name": "value" and name: 'value' as in JSON and inspected objects.
  [new RegExp(`\\b(${NAMES})(=)[^&;\\s"']+`, 'gi'), `$1$2${HIDDEN}`],
  [
    new RegExp(`\\b(${NAMES})(["']?\\s*[:=]\\s*)(["'])(?:\\\\.|(?!\\3).)*\\3`, 'gi'),
    `$1$2${HIDDEN}`,
  ],
];

const MAY_HOLD_SECRET = new RegExp(
  `${NAMES}|PRIVATE KEY|Authorization|AWS4-HMAC|Bearer|SharedKey|://[^/\\s]*@`,
  'i',
);

// A shorter "secret" would blank out ordinary words.
const SECRET_MIN_CHARACTERS = 6;

function hideValues(text: string, secrets: readonly Secret[]): string {
  return secrets
    .map((secret) => secret.reveal())
    .filter((value) => value.length >= SECRET_MIN_CHARACTERS)
    .flatMap((value) => [value, encodeURIComponent(value)])
    .reduce((line, value) => line.replaceAll(value, HIDDEN), text);
}

function toLine(text: string): string {
  const line = text.replace(/[\p{Cc}\u2028\u2029]/gu, escapeCharacter);
  if (line.length <= LINE_MAX_CHARACTERS) return line;
  const left = line.length - LINE_MAX_CHARACTERS;
  return `${line.slice(0, LINE_MAX_CHARACTERS)}… (${left} more characters)`;
}

function escapeCharacter(character: string): string {
  if (character === '\n') return '\\n';
  if (character === '\r') return '\\r';
  if (character === '\t') return '\\t';
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
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
