// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError, type StorageErrorCode } from '../errors.ts';

/** A full or read-only disk, expired credentials, a server that is down: the next object would fail too. */
const CODES: ReadonlySet<StorageErrorCode> = new Set([
  'ACCESS_DENIED',
  'UNAVAILABLE',
  'THROTTLED',
  'TIMEOUT',
]);

/** Twice the number of objects in progress, so that a short outage does not end a long run. */
const IN_A_ROW_MAX = 50;

/** Ends a run when the store fails rather than single objects. */
export class PlaceFailures {
  #inARow = 0;

  /** @throws StorageError for the last of too many in a row */
  add(failure: StorageError): void {
    if (!CODES.has(failure.code)) return;
    this.#inARow += 1;
    if (this.#inARow < IN_A_ROW_MAX) return;
    throw new StorageError(
      failure.code,
      `ended after ${this.#inARow} failures in a row, of which the last is: ${failure.message}; correct that, then run it again`,
      { cause: failure },
    );
  }

  succeeded(): void {
    this.#inARow = 0;
  }
}
