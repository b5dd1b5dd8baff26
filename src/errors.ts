// SPDX-License-Identifier: GPL-3.0-or-later

import { type SafeText, safeLines } from './text/safe-text.ts';

/** The closed set of reasons for which a storage operation fails. The codes are API: logs and tests go by them; messages are
 *  prose. */
export const STORAGE_ERROR_CODES = [
  'NOT_FOUND',
  'ACCESS_DENIED',
  'BAD_CONFIG',
  'BAD_RANGE',
  'SHORT_BODY',
  'INTEGRITY',
  'UNKNOWN_KEY',
  'THROTTLED',
  'UNAVAILABLE',
  'TIMEOUT',
  'ABORTED',
  'CLOSED',
  'INTERNAL',
] as const;

export type StorageErrorCode = (typeof STORAGE_ERROR_CODES)[number];

/** What Orthanc is told, by the names of its OrthancPluginErrorCode; native/binding.cpp knows their numbers. Of these, reads of
 *  InexistentFile end as HTTP 404 and BadRange as 416; all others are 500. None is Unauthorized, a 401: it would have viewers ask their
 *  users for passwords, where the store refuses the plugin. */
export const ORTHANC_ERROR_NAMES = {
  NOT_FOUND: 'InexistentFile',
  ACCESS_DENIED: 'StorageAreaPlugin',
  BAD_CONFIG: 'StorageAreaPlugin',
  BAD_RANGE: 'BadRange',
  SHORT_BODY: 'StorageAreaPlugin',
  INTEGRITY: 'CorruptedFile',
  UNKNOWN_KEY: 'StorageAreaPlugin',
  THROTTLED: 'StorageAreaPlugin',
  UNAVAILABLE: 'NetworkProtocol',
  TIMEOUT: 'Timeout',
  ABORTED: 'StorageAreaPlugin',
  CLOSED: 'Plugin',
  INTERNAL: 'StorageAreaPlugin',
} as const satisfies Record<StorageErrorCode, string>;

export type OrthancErrorName = (typeof ORTHANC_ERROR_NAMES)[StorageErrorCode];

export interface StorageErrorDetails {
  /** The object key, bucket or setting that the error is about. */
  readonly key?: string | undefined;
  /** The provider's own id of the failed request, for its support. */
  readonly requestId?: string | undefined;
  /** Which of two stores failed: "file-system", or the provider's kind. */
  readonly store?: string | undefined;
  /** Another attempt would meet the same, though errors of this code are mostly those of one transfer. */
  readonly isFinal?: boolean;
  /** The provider's error, or whatever else lies beneath. */
  readonly cause?: unknown;
}

/** The one error that leaves a store, an envelope or the configuration. The message says what failed, for which object, and what
 *  to do; it holds no secret and no patient data. Whatever others have said in it, it can be shown anywhere as it is. */
export class StorageError extends Error {
  override readonly name = 'StorageError';
  declare readonly message: SafeText;
  readonly code: StorageErrorCode;
  readonly key: string | undefined;
  readonly requestId: string | undefined;
  readonly store: string | undefined;
  readonly isFinal: boolean;

  /** @param message one line, or several of ours */
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

/** Turns whatever was thrown into a StorageError; what is not one already is a defect of ours, hence INTERNAL. */
export function toStorageError(thrown: unknown): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return new StorageError('INTERNAL', message, { cause: thrown });
}

/** The code of an error of Node's, such as ENOENT; undefined where it has none. */
export function errorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
    ? thrown.code
    : undefined;
}

/** For reports that have no place for more. */
export function codeAndMessage({ code, message }: StorageError): string {
  return `${code}: ${message}`;
}
