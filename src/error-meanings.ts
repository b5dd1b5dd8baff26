// SPDX-License-Identifier: GPL-3.0-or-later

import type { StorageErrorCode } from './errors.ts';

export interface Meaning {
  readonly what: string;
  /** undefined: nothing is to be done. */
  readonly todo?: string;
}

/** What each code means to who runs Orthanc. The error's own message has the particulars. */
export const ERROR_MEANINGS: Readonly<Record<StorageErrorCode, Meaning>> = {
  NOT_FOUND: {
    what: 'The object is not in the store.',
    todo: 'See below where the files of that study lie. "orthanc-object-storage verify" lists all that is missing.',
  },
  ACCESS_DENIED: {
    what: 'The store refuses the credentials, or what they may do.',
    todo: 'Check the key or role, the bucket\'s policy and this machine\'s clock, by "orthanc-object-storage check".',
  },
  BAD_CONFIG: {
    what: 'A setting does not fit what the store says.',
    todo: 'The message names the setting. Correct it and restart Orthanc.',
  },
  BAD_RANGE: {
    what: 'The object is shorter than the index says.',
    todo: 'Compare bucket and index by "orthanc-object-storage verify".',
  },
  SHORT_BODY: {
    what: 'The connection ended in the middle of an object, again and again.',
    todo: 'Look for a proxy, a firewall or a network that cuts connections.',
  },
  INTEGRITY: {
    what: 'The bytes are not those that were stored.',
    todo: 'Keep the object. Take an older version of it, or a backup, and look for others by "orthanc-object-storage verify --deep".',
  },
  UNKNOWN_KEY: {
    what: 'The object is encrypted with a key that is not configured.',
    todo: 'Add that key to "PreviousMasterKeys" and restart Orthanc.',
  },
  THROTTLED: {
    what: 'The store asks for fewer requests.',
    todo: 'Lower "MaxConnections", or raise the limits of the account.',
  },
  UNAVAILABLE: {
    what: 'The store could not be reached, or failed.',
    todo: "Check network, DNS and proxy, and the provider's own status page.",
  },
  TIMEOUT: {
    what: 'The store took longer than the settings allow.',
    todo: 'Look at the latencies. If they are usual for this network, raise "RequestTimeout".',
  },
  ABORTED: { what: 'Orthanc, or its client, no longer waited.' },
  CLOSED: { what: 'Orthanc was stopping.' },
  INTERNAL: {
    what: 'A defect of the plugin.',
    todo: "Please report it, with this line of Orthanc's log.",
  },
};
