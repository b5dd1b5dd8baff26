// SPDX-License-Identifier: GPL-3.0-or-later
// Which failures another attempt may change.

import { RestError } from '@azure/core-rest-pipeline';
import {
  isConnectError,
  isTransientFailure,
  type Repeatable,
  withRetries,
} from '../../http/retry.ts';
import type { Connection, SendOptions } from './client.ts';
import { errorCodeOf, findTransportError } from './errors.ts';

/** One call of the SDK, repeated as the settings say. */
export type Perform = <T>(
  signal: AbortSignal,
  options: SendOptions,
  call: (abortSignal: AbortSignal) => Promise<T>,
) => Promise<T>;

export function createPerform(
  connection: Connection,
  options: {
    readonly maxRetries: number;
    /** False at start: nobody listens, and the user waits for the message. */
    readonly retryConnecting: boolean;
    readonly random: () => number;
  },
): Perform {
  return (signal, sendOptions, call) =>
    withRetries(
      { ...options, signal, judge: (thrown) => judge(thrown, options.retryConnecting) },
      () => connection.send(signal, sendOptions, call),
    );
}

const TRANSIENT_STATUS: ReadonlySet<number | undefined> = new Set([408, 429, 500, 502, 503, 504]);
const THROTTLED_STATUS: ReadonlySet<number | undefined> = new Set([429, 503]);

function judge(thrown: unknown, retryConnecting: boolean): Repeatable | undefined {
  const network = findTransportError(thrown) ?? thrown;
  const plain = { isThrottled: false, retryAfterMs: undefined };
  const isTransient = isTransientFailure(network);
  if (isTransient !== undefined) {
    return isTransient && (retryConnecting || !isConnectError(network)) ? plain : undefined;
  }
  if (thrown instanceof RestError) {
    const status = thrown.statusCode;
    const code = errorCodeOf(thrown);
    // Altered on the way there; an answer that broke off or is no XML.
    if (code === 'Md5Mismatch' || code === 'PARSE_ERROR') return plain;
    if (!TRANSIENT_STATUS.has(status)) return undefined;
    return { isThrottled: THROTTLED_STATUS.has(status), retryAfterMs: readRetryAfter(thrown) };
  }
  // The machine's metadata service stumbles now and then; at start it may not be there at all.
  const isTokenMissing =
    thrown instanceof Error &&
    (thrown.name === 'CredentialUnavailableError' ||
      thrown.name === 'AggregateAuthenticationError');
  return isTokenMissing && retryConnecting ? plain : undefined;
}

/** Seconds, or a date. */
function readRetryAfter(error: RestError): number | undefined {
  const header = error.response?.headers.get('retry-after');
  if (header === undefined) return undefined;
  const seconds = Number(header);
  const delayMs = Number.isNaN(seconds) ? Date.parse(header) - Date.now() : seconds * 1_000;
  return Number.isNaN(delayMs) ? undefined : Math.max(0, delayMs);
}
