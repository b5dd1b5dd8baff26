// SPDX-License-Identifier: GPL-3.0-or-later
// Imports nothing, since the page takes it as well.

/** One code of our errors. docs/messages.md, docs/metrics.md and the page show the words. */
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
    advice:
      'Were bucket, RootPath or HybridMode changed? "verify" lists all that is missing: bring back old versions.',
  },
  ACCESS_DENIED: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The store refuses the credentials, or the object must not be read or changed.',
    advice:
      'Renew the credentials, or add the permission that the message names; "check" tries them.',
  },
  BAD_CONFIG: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'A setting is wrong, or the store does not accept it.',
    advice: 'Correct what the message names, and restart Orthanc.',
  },
  BAD_RANGE: {
    orthanc: 'BadRange',
    meaning: 'Bytes behind the end of the object were asked for.',
    advice: 'A client did so, or the object is too short: "verify" tells which.',
  },
  SHORT_BODY: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'Fewer bytes came than were announced, at each attempt.',
    advice: 'Look for a proxy, a firewall or a network that cuts connections.',
  },
  INTEGRITY: {
    orthanc: 'CorruptedFile',
    meaning: "The bytes are not those that were stored, or are another object's.",
    advice:
      'Keep the object, and bring back an old version; "verify --deep" finds others. Replace a proxy that mixes answers up.',
  },
  UNKNOWN_KEY: {
    orthanc: 'StorageAreaPlugin',
    meaning: 'The object is encrypted with a key that is not configured.',
    advice: 'Add that key to PreviousMasterKeys, and restart Orthanc.',
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
      "Look at network, name server and proxy, and at the store's own status. Mount the disk again, or make room on it.",
  },
  TIMEOUT: {
    orthanc: 'Timeout',
    meaning: 'The operation took longer than RequestTimeout, or a removal longer than 8 s.',
    advice:
      'Look at the latencies: if they are usual for this line, raise RequestTimeout. Otherwise the store hangs.',
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

/** @param code perhaps of a plugin that is newer than the page */
export function explainCode(code: string): Pick<ErrorCode, 'meaning' | 'advice'> {
  return Object.hasOwn(ERROR_CODES, code)
    ? ERROR_CODES[code as StorageErrorCode]
    : { meaning: 'This page does not know the code.', advice: 'Reload the page.' };
}

export type StorageErrorCode = keyof typeof ERROR_CODES;
export type OrthancErrorName = (typeof ERROR_CODES)[StorageErrorCode]['orthanc'];

/** The code that only the shim gives (native/callbacks.cpp), beside TIMEOUT and CLOSED. No StorageError has it. */
export const RUNTIME_LOST: ErrorCode = {
  orthanc: 'StorageAreaPlugin',
  meaning: "The plugin's runtime ended or hangs, so that nobody answers.",
  advice:
    'A new one starts by itself in a tenth of a second. If a disk hangs, bring it back. Report the reason in the log.',
};
