// SPDX-License-Identifier: GPL-3.0-or-later
// Our messages repeat texts of servers, proxies, files and clients, and go to logs, terminals and REST clients. This file removes secrets,
// escapes invisible characters and bounds the length. Nothing else makes a SafeText.

import type { Secret } from './secret.ts';

declare const isSafe: unique symbol;

/** Text without secrets, control characters and invisible characters, of bounded length. It may have several lines, all of them ours. */
export type SafeText = string & { readonly [isSafe]: true };

/** More than any message needs. Patterns see no more, so a server cannot keep the event loop busy. */
export const TEXT_MAX_CHARACTERS = 8 * 1024;
/** Enough for a message with a key and a cause. A server's answer in HTML cannot fill a disk. */
const LINE_MAX_CHARACTERS = 2000;
const HIDDEN = '[secret]';

export function safeLine(text: string, maxCharacters = LINE_MAX_CHARACTERS): SafeText {
  const line = escapeInvisible(redact(text.slice(0, TEXT_MAX_CHARACTERS)));
  const beyond = Math.max(0, text.length - TEXT_MAX_CHARACTERS);
  if (beyond === 0 && line.length <= maxCharacters) return line as SafeText;
  const shown = line.slice(0, maxCharacters);
  return `${shown}… (${line.length - shown.length + beyond} more characters)` as SafeText;
}

export function safeLines(lines: readonly string[]): SafeText {
  return lines.map((line) => safeLine(line)).join('\n') as SafeText;
}

/** Escapes, but hides nothing: clients need the names of objects as they are. Messages of StorageErrors are safe already. */
export function safeJson(value: unknown, indent?: number): SafeText {
  const json = JSON.stringify(value, undefined, indent) ?? 'null';
  // Within JSON, only strings can hold these characters, and there an escape means the same.
  return json.replace(INVISIBLE_BUT_LINE_ENDS, escapeCharacter) as SafeText;
}

/** A part of somebody else's text, for one of our messages. */
export function safeWords(words: string, maxCharacters: number): string {
  // Secrets first: a header's value ends at the end of its line.
  const line = redact(words.slice(0, TEXT_MAX_CHARACTERS)).replace(/\s+/g, ' ').trim();
  return escapeInvisible(line).slice(0, maxCharacters);
}

// A shorter value may be an ordinary word.
const SECRET_MIN_CHARACTERS = 6;

/** A safety net: no message should hold a secret. */
export function createSecretHider(secrets: readonly Secret[]): (text: SafeText) => SafeText {
  const values = secrets
    .map((secret) => secret.reveal())
    .filter((value) => value.length >= SECRET_MIN_CHARACTERS);
  const forms = new Set(values.flatMap((value) => [value, encodeURIComponent(value)]));
  return (text) => {
    let line: string = text;
    for (const form of forms) line = line.replaceAll(form, HIDDEN);
    return line as SafeText;
  };
}

/** Hides signatures and tokens in URLs, keys in connection strings, authorization headers and private keys, also within encoded URLs, HTML
 *  and JSON. Takes linear time. */
export function redact(text: string): string {
  const plain = hideUserInfo(hidePrivateKeys(text));
  // Most lines hold none.
  if (!MAY_HOLD_SECRET.test(plain)) return plain;
  let shown = '';
  let end = 0;
  for (const keyword of plain.matchAll(KEYWORD)) {
    const value = keyword.index < end ? undefined : findValue(plain, keyword);
    if (value === undefined) continue;
    shown += plain.slice(end, value.start) + HIDDEN;
    end = value.end;
  }
  return shown + plain.slice(end);
}

/** Secrets follow these names, which may be parts of longer ones, as in "X-Amz-Signature". */
const KEYWORD =
  /(?<line>authorization)|(?<header>security-token|metadata-token|customer-key|encryption-key|identity-header|cookie)|(?<scheme>aws4-hmac-sha256|goog4-(?:hmac|rsa)-sha256|bearer|sharedkeylite|sharedkey|negotiate|basic)|(?<token>eyJ|ya29\.)|signature|credential|sig|password|assertion|client_?secret|secret_?(?:access_?)?key|(?:account|shared_?access|private)_?key|access_?key_?id|(?:session|access|refresh|id|identity|subject)_?token/gi;

/** A quick first test: each keyword holds one of these. */
const MAY_HOLD_SECRET =
  /sig|secret|token|password|assertion|credential|account_?key|access_?key|private_?key|customer-key|encryption-key|authorization|-sha256|bearer|sharedkey|negotiate|basic|cookie|identity-header|eyJ|ya29/i;

/** In these spellings only: "negotiate" and "basic" are words. */
const SCHEMES: ReadonlySet<string> = new Set([
  'AWS4-HMAC-SHA256',
  'GOOG4-HMAC-SHA256',
  'GOOG4-RSA-SHA256',
  'Bearer',
  'SharedKey',
  'SharedKeyLite',
  'Negotiate',
]);

// These match only where the keyword ends.
const ASSIGNMENT = /\\{0,3}["']?\s{0,4}[:=]\s{0,4}/y;
const COLON = /\s{0,4}:\s{0,4}/y;
const QUOTE = /\\{0,3}["']/y;
const EQUALS = /=|%(?:25)?3D|&#(?:61|x3D);|\\u003d/iy;
const PARAMETER = /(?:[^&;\s"'<>]|&#\w{1,6};)+/y;
const REST_OF_TOKEN = /[\w.-]{20,}/y;
const BASE64 = /\s[A-Za-z\d+/]{6,}={0,2}/y;
const REST_OF_LINE = /[^\r\n]+/y;
const REST_OF_QUOTED_LINE = /[^\r\n"']+/y;

interface Span {
  readonly start: number;
  readonly end: number;
}

function findValue(
  text: string,
  { 0: keyword, index, groups = {} }: RegExpMatchArray & { readonly index: number },
): Span | undefined {
  const at = index + keyword.length;
  if (groups['line'] !== undefined) {
    return span(text, match(ASSIGNMENT, text, at), REST_OF_LINE);
  }
  if (groups['token'] !== undefined) {
    const isToken = keyword === 'eyJ' || keyword === 'ya29.';
    const end = isToken ? match(REST_OF_TOKEN, text, at) : undefined;
    return end === undefined ? undefined : { start: index, end };
  }
  if (keyword === 'Basic') {
    const end = match(BASE64, text, at);
    // The words "Basic authentication" are no token.
    const isToken = end !== undefined && /[A-Z\d+/=]/.test(text.slice(at + 2, end));
    return isToken ? { start: at + 1, end } : undefined;
  }
  if (groups['scheme'] !== undefined) {
    const isScheme = SCHEMES.has(keyword) && /\s/.test(text.charAt(at));
    return isScheme ? span(text, at + 1, REST_OF_QUOTED_LINE) : undefined;
  }
  return (
    findQuoted(text, match(ASSIGNMENT, text, at)) ??
    findParameter(text, match(EQUALS, text, at)) ??
    (groups['header'] === undefined
      ? undefined
      : span(text, match(COLON, text, at), REST_OF_QUOTED_LINE))
  );
}

/** "name": "value" and name: 'value', as in JSON and inspected objects. The last quote may be cut off. */
function findQuoted(text: string, at: number | undefined): Span | undefined {
  const start = at === undefined ? undefined : match(QUOTE, text, at);
  if (at === undefined || start === undefined) return undefined;
  const quote = text[start - 1];
  // In nested JSON, quotes within the value have more backslashes than its own.
  const backslashes = start - 1 - at;
  let run = 0;
  for (let end = start; end < text.length; end++) {
    if (text[end] === quote && run <= backslashes) return { start: at, end: end + 1 };
    run = text[end] === '\\' ? run + 1 : 0;
  }
  return { start: at, end: text.length };
}

/** name=value as in queries and connection strings. */
function findParameter(text: string, start: number | undefined): Span | undefined {
  const value = span(text, start, PARAMETER);
  if (value === undefined) return undefined;
  // Examples in our own messages.
  const isExample = /^(?:sv=)?…$/.test(text.slice(value.start, value.end));
  return isExample ? undefined : value;
}

function span(text: string, start: number | undefined, pattern: RegExp): Span | undefined {
  const end = start === undefined ? undefined : match(pattern, text, start);
  return start === undefined || end === undefined ? undefined : { start, end };
}

/** @param pattern sticky
 *  @returns the end of the match */
function match(pattern: RegExp, text: string, at: number): number | undefined {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : undefined;
}

function hidePrivateKeys(text: string): string {
  if (!text.includes('-----BEGIN ')) return text;
  const [before = '', ...parts] = text.split('-----BEGIN ');
  const shown = parts.map((part) => {
    const label = part.slice(0, part.indexOf('-----') + 1);
    if (!/^[A-Z ]{0,20}PRIVATE KEY-$/.test(label)) return `-----BEGIN ${part}`;
    const end = part.indexOf('-----END ');
    const rest = end < 0 ? '' : part.slice(end + '-----END '.length);
    const dashes = rest.indexOf('-----');
    return HIDDEN + (dashes < 0 ? '' : rest.slice(dashes + '-----'.length));
  });
  return [before, ...shown].join('');
}

function hideUserInfo(text: string): string {
  if (!text.includes('@')) return text;
  // The odd parts are separators: "://", or ":\/\/" in JSON.
  return text
    .split(/(:\\?\/\\?\/)/)
    .map((part, index) => {
      if (index === 0 || index % 2 === 1) return part;
      const end = part.search(/[/\s"'<>]/);
      const at = (end < 0 ? part : part.slice(0, end)).lastIndexOf('@');
      const isSecret = at > 0 && !/^user(?::password)?$/i.test(part.slice(0, at));
      return isSecret ? `${HIDDEN}${part.slice(at)}` : part;
    })
    .join('');
}

/** Also characters that change the text's direction, and lone surrogates. */
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;
const INVISIBLE_BUT_LINE_ENDS =
  /(?!\n)[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}]/gu;

function escapeInvisible(text: string): string {
  return text.replace(INVISIBLE, escapeCharacter);
}

const SHORT_ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

function escapeCharacter(character: string): string {
  return SHORT_ESCAPES[character] ?? character.replace(/[\s\S]/g, escapeUnit);
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;
}
