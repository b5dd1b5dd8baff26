// SPDX-License-Identifier: GPL-3.0-or-later
// Reads the words of servers and SDKs. Anything in them may be missing, of another type, or of any length.

import { safeWords, TEXT_MAX_CHARACTERS } from '../text/safe-text.ts';

const MAX_WORDS = 300;
const MAX_NAME = 100;

export function oneLine(words: string, maxLength = MAX_WORDS): string {
  return safeWords(words, maxLength);
}

/** A code or another name, short enough to leave room for the words. */
export function oneName(name: string | undefined): string | undefined {
  return name === undefined ? undefined : text(oneLine(name, MAX_NAME));
}

/** The beginning of a body as text. */
export function textOf(body: Uint8Array, start = 0): string {
  // A character has up to four bytes; half a one at the end does no harm.
  const bytes = body.subarray(start, start + 4 * TEXT_MAX_CHARACTERS);
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    .toString('utf8')
    .slice(0, TEXT_MAX_CHARACTERS);
}

/** @param xml without attributes, as errors are
 *  @returns undefined for an element that is missing or empty */
export function readElement(xml: string, name: string): string | undefined {
  const tag = `<${name}>`;
  const at = xml.indexOf(tag);
  if (at < 0) return undefined;
  const start = at + tag.length;
  const end = xml.indexOf('<', start);
  const value = xml.slice(start, end < 0 ? xml.length : end).trim();
  return text(
    value.replace(
      /&(lt|gt|quot|apos|amp|#39|#34);/g,
      (_, entity: string) => ENTITIES[entity] ?? '',
    ),
  );
}

const ENTITIES: Readonly<Record<string, string>> = {
  lt: '<',
  gt: '>',
  quot: '"',
  '#34': '"',
  apos: "'",
  '#39': "'",
  amp: '&',
};

/** Whether `what` follows `subject` closely.
 *  @param subject with the flag g */
export function isSaidOf(
  words: string,
  subject: RegExp,
  what: RegExp,
  within = MAX_WORDS,
): boolean {
  return [...words.matchAll(subject)].some(({ 0: found, index }) => {
    const start = index + found.length;
    return what.test(words.slice(start, start + within));
  });
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  // Not spread: an error's name is inherited, and the AWS SDK makes its $response non-enumerable.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** A copy with other words. Errors of SDKs hold whole requests and answers, and their stacks begin with the message. */
export function rephrase(error: Error, name: string, words: string): Error {
  const copy = new Error(words);
  copy.name = name;
  const frames = (error.stack ?? '').split('\n').filter((line) => line.startsWith('    at '));
  copy.stack = [`${name}: ${words}`, ...frames].join('\n');
  return copy;
}

/** @returns by how many minutes this machine's clock is ahead; undefined if the server gave no time */
export function minutesAhead(serverTime: Date | undefined): number | undefined {
  if (serverTime === undefined) return undefined;
  const minutes = (Date.now() - serverTime.getTime()) / 60_000;
  return Number.isNaN(minutes) ? undefined : minutes;
}

/** @param whose such as "Google's" */
export function describeClock(minutes: number | undefined, whose = "the server's"): string {
  if (minutes === undefined) return `this machine's clock differs too much from ${whose}`;
  return `this machine's clock is ${Math.round(Math.abs(minutes))} minutes ${minutes > 0 ? 'ahead of' : 'behind'} ${whose}`;
}
