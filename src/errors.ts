// SPDX-License-Identifier: GPL-3.0-or-later

import type { StorageErrorCode } from './error-codes.ts';
import { type SafeText, safeLines } from './text/safe-text.ts';

export type { OrthancErrorName, StorageErrorCode } from './error-codes.ts';

export interface StorageErrorDetails {
  /** The object key, bucket or setting that the error is about. */
  readonly key?: string | undefined;
  /** The provider's id of the failed request. Its support asks for it. */
  readonly requestId?: string | undefined;
  /** Which of two stores failed: "file-system", or the provider's kind. */
  readonly store?: string | undefined;
  /** A retry cannot help, although this code usually means a failed transfer. */
  readonly isFinal?: boolean;
  readonly cause?: unknown;
}

/** The only error of stores, envelopes and the configuration. Its message says what failed, for which object, and what to do. It holds
 *  neither secrets nor patient data, so logs and clients may show it. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  declare readonly message: SafeText;
  readonly code: StorageErrorCode;
  readonly key: string | undefined;
  readonly requestId: string | undefined;
  readonly store: string | undefined;
  readonly isFinal: boolean;

  /** @param message one line, or a list of lines */
  constructor(
    code: StorageErrorCode,
    message: string | readonly string[],
    details: StorageErrorDetails = {},
  ) {
    super(
      safeLines(typeof message === 'string' ? [message] : message),
      details.cause === undefined ? undefined : { cause: details.cause },
    );
    this.code = code;
    this.key = details.key;
    this.requestId = details.requestId;
    this.store = details.store;
    this.isFinal = details.isFinal === true;
  }
}

/** @param message one line, or one for each problem */
export function badConfig(
  message: string | readonly string[],
  details?: StorageErrorDetails,
): StorageError {
  return new StorageError('BAD_CONFIG', message, details);
}

/** Anything but a StorageError is a defect of ours, so it becomes INTERNAL. */
export function toStorageError(thrown: unknown): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new StorageError('INTERNAL', message, { cause: thrown });
}

/** The store has answered, and will answer the same: the request has had no effect, and will have none. */
export function isRefusal({ code }: StorageError): boolean {
  return code === 'ACCESS_DENIED' || code === 'BAD_CONFIG';
}

/** The code of a Node error, such as ENOENT. */
export function errorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
    ? thrown.code
    : undefined;
}

export function codeAndMessage({ code, message }: StorageError): string {
  return `${code}: ${message}`;
}
