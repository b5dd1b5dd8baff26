// SPDX-License-Identifier: GPL-3.0-or-later

import { type SafeText, safeLines } from './text/safe-text.ts';

/** The codes are API: logs and tests go by them. Each has the name of the OrthancPluginErrorCode that Orthanc gets; native/binding.cpp
 *  has the numbers. Orthanc answers 404 for InexistentFile, 416 for BadRange and 500 for the others. ACCESS_DENIED is not Unauthorized
 *  (401): viewers would ask their users for passwords. */
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
} as const;

export type StorageErrorCode = keyof typeof ORTHANC_ERROR_NAMES;
export type OrthancErrorName = (typeof ORTHANC_ERROR_NAMES)[StorageErrorCode];

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

/** The code of a Node error, such as ENOENT. */
export function errorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string'
    ? thrown.code
    : undefined;
}

export function codeAndMessage({ code, message }: StorageError): string {
  return `${code}: ${message}`;
}
