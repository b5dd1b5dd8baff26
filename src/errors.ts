// SPDX-License-Identifier: GPL-3.0-or-later

import { type SafeText, safeLines } from './text/safe-text.ts';

/** One code of our errors. `docs/messages.md` and the page show the words. */
export interface ErrorCode {
  /** The OrthancPluginErrorCode that Orthanc gets; native/binding.cpp has the numbers. Orthanc answers 404 for InexistentFile, 416 for
   *  BadRange and 500 for the others. */
  readonly orthanc: string;
  /** One sentence. */
  readonly meaning: string;
  /** One or two sentences. */
  readonly advice: string;
}

/** The codes are API: logs and tests go by them. ACCESS_DENIED is not Unauthorized (401): viewers would ask their users for passwords. */
export const ERROR_CODES = {
  NOT_FOUND: {
    orthanc: 'InexistentFile',
    meaning: 'The object is nowhere.',
    advice: '"verify" lists all missing ones. Bring back an old version, or restore the bucket.',
  },
  ACCESS_DENIED: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The store refuses the credentials, or the object must not be read or changed.',
    advice: 'Renew the credentials, or add the permission that the message names.',
  },
  BAD_CONFIG: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'A setting is wrong, or the store does not accept it.',
    advice: 'Correct what the message names.',
  },
  BAD_RANGE: {
    orthanc: 'BadRange',
    meaning: 'Bytes behind the end of the object were asked for.',
    advice: 'A client did so, or the object is too short: "verify" tells which.',
  },
  SHORT_BODY: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'Fewer bytes came than were announced, at each attempt.',
    advice: 'Look at the network, and at proxies between.',
  },
  INTEGRITY: {
    orthanc: 'CorruptedFile',
    meaning: "The bytes are not those that were stored, or are another object's.",
    advice:
      'The message says which. Restore an old version of a damaged object; "verify --deep" finds others. Replace a proxy that mixes answers up.',
  },
  UNKNOWN_KEY: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The object is encrypted with a key that is not configured.',
    advice: 'Add the key to PreviousMasterKeys.',
  },
  THROTTLED: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The store limits the rate of requests.',
    advice: 'Wait, lower MaxConnections, or have the limit raised.',
  },
  UNAVAILABLE: {
    orthanc: 'NetworkProtocol',
    meaning:
      'The store cannot be reached or fails, or something else answers in its place; with provider=file-system, the disk is gone or full.',
    advice:
      'Look at the network, the proxy and the store. Mount the disk again, or make room on it.',
  },
  TIMEOUT: {
    orthanc: 'Timeout',
    meaning: 'The operation took longer than RequestTimeout, or a removal longer than 8 s.',
    advice: 'Compare the latencies in the status: the line is slow, or the store hangs.',
  },
  ABORTED: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The operation was ended, because nobody waited for it any more.',
    advice: 'Look for the line with TIMEOUT or CLOSED about the same object.',
  },
  CLOSED: {
    orthanc: 'Plugin',
    meaning: 'Orthanc was stopping.',
    advice: 'The client must repeat its request.',
  },
  INTERNAL: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The store answered what nobody knows, or the plugin has a defect.',
    advice: 'Report the line.',
  },
} as const satisfies Readonly<Record<string, ErrorCode>>;

export type StorageErrorCode = keyof typeof ERROR_CODES;
export type OrthancErrorName = (typeof ERROR_CODES)[StorageErrorCode]['orthanc'];

/** The code that only the shim gives (native/callbacks.cpp), beside TIMEOUT and CLOSED. No StorageError has it. */
export const RUNTIME_LOST: ErrorCode = {
  orthanc: 'StorageAreaPlugin',
  meaning: "The plugin's runtime ended or hangs, so that nobody answers.",
  advice:
    'A new one starts by itself in a tenth of a second. If a disk hangs, bring it back. Report the reason in the log.',
};

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
