// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError, type StorageErrorCode } from '../errors.ts';

/** A full or read-only disk, credentials that have expired, a server that is away: the next object would fail, too. */
const CODES: ReadonlySet<StorageErrorCode> = new Set([
  'ACCESS_DENIED',
  'UNAVAILABLE',
  'THROTTLED',
  'TIMEOUT',
]);

/** Twice as many as are under way at once: one moment of trouble does not end a long run. Each has been retried by then. */
const IN_A_ROW_MAX = 50;

/** Ends a run when the place fails, and not its objects. */
export class PlaceFailures {
  #inARow = 0;

  /** @throws StorageError for the last of too many in a row */
  add(failure: StorageError): void {
    if (!CODES.has(failure.code)) return;
    this.#inARow += 1;
    if (this.#inARow < IN_A_ROW_MAX) return;
    throw new StorageError(
      failure.code,
      `ended after ${this.#inARow} failures in a row, of which the last is: ${failure.message}; mend that, and run it again to go on`,
      { cause: failure },
    );
  }

  /** Of a read or a write. */
  succeeded(): void {
    this.#inARow = 0;
  }
}
