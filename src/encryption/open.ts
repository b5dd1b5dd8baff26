// SPDX-License-Identifier: GPL-3.0-or-later

import { createEnvelope, type Envelope } from './envelope.ts';
import { type KeyFile, loadKeyring } from './keyring.ts';
import type { EncryptionFormat } from './sizes.ts';

export interface OpenedEnvelope {
  readonly envelope: Envelope;
  /** What the user should know though it is no error, such as key files that others can read. */
  readonly warnings: readonly string[];
}

/** From settings to what encrypts: reads the key files.
 *  @param settings without a format: new objects are not encrypted, old ones still read
 *  @throws StorageError BAD_CONFIG with one line per problem */
export function openEnvelope(
  settings: {
    readonly format: EncryptionFormat | undefined;
    readonly master: KeyFile | undefined;
    readonly previous: readonly KeyFile[];
    readonly maxInputBytes: number;
  },
  now: () => number,
): OpenedEnvelope {
  const { format, master, previous, maxInputBytes } = settings;
  const { keyring, warnings } = loadKeyring(master, previous);
  return { envelope: createEnvelope({ keyring, format, maxInputBytes, now }), warnings };
}
