// SPDX-License-Identifier: GPL-3.0-or-later
// Our messages repeat what servers, proxies, files and clients say, and go to logs, terminals and REST clients. Here they lose secrets and
// what is not text, and are cut. Nothing else makes a SafeText.

import type { Secret } from './secret.ts';

declare const isSafe: unique symbol;

/** Text without secrets, of bounded length, without what a terminal would obey or a reader not see. One line, or several of ours. */
export type SafeText = string & { readonly [isSafe]: true };

/** More than any message needs. No pattern sees more, so that a server cannot keep the event loop busy. */
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

/** Lines of ours, each made safe. */
export function safeLines(lines: readonly string[]): SafeText {
  return lines.map((line) => safeLine(line)).join('\n') as SafeText;
}

/** JSON with its values unchanged: names of objects must be found again. Messages in it are safe already (StorageError). */
export function safeJson(value: unknown, indent?: number): SafeText {
  const json = JSON.stringify(value, undefined, indent) ?? 'null';
  // Such characters are only in JSON's texts, where an escape means the same.
  return json.replace(INVISIBLE_BUT_LINE_ENDS, escapeCharacter) as SafeText;
}

/** Words of others, for a message of ours. */
export function safeWords(words: string, maxCharacters: number): string {
  // A header's value ends with its line: line ends go after the secrets.
  const line = redact(words.slice(0, TEXT_MAX_CHARACTERS)).replace(/\s+/g, ' ').trim();
  return escapeInvisible(line).slice(0, maxCharacters);
}

// A shorter "secret" would blank out ordinary words.
const SECRET_MIN_CHARACTERS = 6;

/** No message should hold them. This is the safety net. */
export function hideSecrets(text: SafeText, secrets: readonly Secret[]): SafeText {
  return secrets
    .map((secret) => secret.reveal())
    .filter((value) => value.length >= SECRET_MIN_CHARACTERS)
    .flatMap((value) => [value, encodeURIComponent(value)])
    .reduce<string>((line, value) => line.replaceAll(value, HIDDEN), text) as SafeText;
}

/** Hides signatures and tokens in URLs, keys in connection strings, authorization headers and private keys, also where they are encoded: a
 *  URL within a URL, HTML, JSON within JSON. Takes time in proportion to the text. */
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

/** Secrets stand behind these. Names may be parts of longer ones, as in "X-Amz-Signature". */
const KEYWORD =
  /(?<line>authorization)|(?<header>security-token|metadata-token|customer-key|encryption-key|identity-header|cookie)|(?<scheme>aws4-hmac-sha256|goog4-(?:hmac|rsa)-sha256|bearer|sharedkeylite|sharedkey|negotiate|basic)|(?<token>eyJ|ya29\.)|signature|credential|sig|password|assertion|client_?secret|secret_?(?:access_?)?key|(?:account|shared_?access|private)_?key|access_?key_?id|(?:session|access|refresh|id|identity|subject)_?token/gi;

/** Each keyword holds one of these. It is quick to test. */
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

// These are tried behind the keyword only.
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
    // Schemes differ in what follows them.
    return span(text, match(ASSIGNMENT, text, at), REST_OF_LINE);
  }
  if (groups['token'] !== undefined) {
    const isToken = keyword === 'eyJ' || keyword === 'ya29.';
    const end = isToken ? match(REST_OF_TOKEN, text, at) : undefined;
    return end === undefined ? undefined : { start: index, end };
  }
  if (keyword === 'Basic') {
    const end = match(BASE64, text, at);
    // "Basic authentication" is none.
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

/** "name": "value" and name: 'value' as in JSON and inspected objects. What was cut off ends without its quote. */
function findQuoted(text: string, at: number | undefined): Span | undefined {
  const start = at === undefined ? undefined : match(QUOTE, text, at);
  if (at === undefined || start === undefined) return undefined;
  const quote = text[start - 1];
  // In JSON within JSON, a quote within the value has more backslashes than those around it.
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
  // Our own messages say so.
  const isExample = /^(?:sv=)?…$/.test(text.slice(value.start, value.end));
  return isExample ? undefined : value;
}

function span(text: string, start: number | undefined, pattern: RegExp): Span | undefined {
  const end = start === undefined ? undefined : match(pattern, text, start);
  return start === undefined || end === undefined ? undefined : { start, end };
}

/** @param pattern with the flag y
 *  @returns where it ends, if it matches there */
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

/** User and password of URLs. */
function hideUserInfo(text: string): string {
  if (!text.includes('@')) return text;
  // Odd places hold the separator: "://", or in JSON also ":\/\/".
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

/** Control characters, invisible ones, those that change direction or place of the text, and halves of characters. */
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
