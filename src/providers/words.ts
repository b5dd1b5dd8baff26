// SPDX-License-Identifier: GPL-3.0-or-later
// What errors of SDKs and servers say, read with care: anything may be missing, or be something else.

/** A server's words may be a page of HTML. */
const MAX_WORDS = 300;

export function oneLine(words: string, maxLength = MAX_WORDS): string {
  return words.replace(/\s+/g, ' ').trim().slice(0, maxLength);
}

export function asRecord(value: unknown): Readonly<Record<string, unknown>> {
  // Not spread: an error's name is inherited, and the AWS SDK makes its $response non-enumerable.
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

export function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** @returns by how many minutes this machine's clock is ahead, or undefined where the server told no time */
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
