// SPDX-License-Identifier: GPL-3.0-or-later

import { inspect } from 'node:util';

/** Prints, serialises and inspects as "[secret]". */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return '[secret]';
  }

  toJSON(): string {
    return '[secret]';
  }

  [inspect.custom](): string {
    return '[secret]';
  }
}

/** All secrets in a value, at any depth. */
export function secretsIn(value: unknown): readonly Secret[] {
  if (value instanceof Secret) return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(secretsIn);
}

/** The kind of secret that a text seems to be; undefined: none. Words and names must pass, because Orthanc does not start with a folder or
 *  bucket that looks like a secret. */
export function describeSecret(text: string): string | undefined {
  const trimmed = text.trim();
  if (/-----BEGIN /.test(trimmed)) return 'a key or certificate in PEM';
  if (/^[{[]\s*["{[]/.test(trimmed) || /^(eyJ|ewog|ew0K|eyAi)[\w+/.=-]{30}/.test(trimmed)) {
    return 'JSON text or a token';
  }
  if (/(^|[?&;\s])(AccountKey|SharedAccess(Key|Signature)|sig|X-Amz-Signature)=/i.test(trimmed)) {
    return 'a connection string or a signature';
  }
  if (holdsPassword(trimmed)) return 'a password';
  return isKey(trimmed) ? 'what looks like a key' : undefined;
}

/** As in "user:password@host", with or without a scheme. */
function holdsPassword(text: string): boolean {
  const address = text.replace(/^[a-z][a-z0-9+.-]*:\/\//i, '');
  const end = address.search(/[/@\s]/);
  const colon = address.indexOf(':');
  return address[end] === '@' && colon >= 0 && colon + 1 < end;
}

/** Base64 or hexadecimal, such as master keys, secret keys of AWS and MinIO, and account keys of Azure. */
function isKey(text: string): boolean {
  if ([/^[0-9a-f]{48,}$/, /^[0-9A-F]{48,}$/, /^[a-z2-7]{48,}$/].some((kind) => kind.test(text))) {
    return (text.match(/\d/g) ?? []).length >= 3;
  }
  if (/^[A-Za-z0-9+/_-]{32,}={1,2}$/.test(text)) return true;
  if (!/^[A-Za-z0-9+/_-]{32,}$/.test(text)) return false;
  if (text.includes('+')) return true;
  if (![/[a-z]/, /[A-Z]/, /\d/].every((kind) => kind.test(text))) return false;
  // "PACS_01-CT_MR-2024/Room1a" is a name.
  if (text.split(/[/_-]/).every((part) => part.length <= 12)) return false;
  // AWS's secret keys have 40 characters. The example in its documentation has words in capitals.
  const words = text.length === 40 ? /[a-z]{4,}/g : /[a-z]{4,}|[A-Z]{5,}/g;
  return (text.match(words) ?? []).join('').length * 2 < text.length;
}

/** A name that a user wrote, unless it may be a secret. */
export function showName(name: string): string {
  const isPlain = name.length <= 40 && !/\p{Cc}/u.test(name) && describeSecret(name) === undefined;
  return isPlain && !isJumbled(name) ? name : `[not shown: ${name.length} characters]`;
}

/** In generated passwords, half of the characters differ in kind from the one before. In names, fewer do. */
function isJumbled(name: string): boolean {
  if (name.length < 20 || /[\s.:-]/.test(name)) return false;
  const changes = name.match(/(?<=[a-z])[A-Z\d]|(?<=[A-Z])[a-z\d]|(?<=\d)[A-Za-z]/g) ?? [];
  return changes.length * 2 >= name.length;
}

/** A path in quotes, unless it may be the secret itself. */
export function showPath(path: string): string {
  const isPath = /\//.test(path) || /^[^\s.]+\.\w{1,8}$/.test(path);
  return isPath &&
    path.length <= 1024 &&
    !/\p{Cc}/u.test(path) &&
    describeSecret(path) === undefined
    ? `"${path}"`
    : '(not shown, since it may be the secret itself; a path belongs there)';
}
