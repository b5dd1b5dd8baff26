// SPDX-License-Identifier: GPL-3.0-or-later

import type { NamingSettings } from '../config/settings.ts';
import type { EncryptionFormat } from '../encryption/sizes.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { AttachmentStore } from './attachments.ts';

/** One of the places that files lie in, as its objects and as Orthanc's attachments. */
export interface Side {
  /** Tells it from all others, for people and in files of earlier runs. */
  readonly name: string;
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly attachments: AttachmentStore;
  /** Of a folder that Orthanc alone will read: what finds in it what is encrypted, and shall be so no more. */
  readonly decrypting?: AttachmentStore | undefined;
  /** Orthanc's own folder, in which nothing is encrypted but what the C++ plugins have left there so, and lookalikes. */
  readonly isFileSystem: boolean;
  /** Whether there are keys to read what is encrypted. */
  readonly hasKeys: boolean;
  /** Of new objects; undefined: they are stored as they are. */
  readonly format: EncryptionFormat | undefined;
  /** Of new objects whose content would pass for an encrypted one. */
  readonly lookalikeFormat: EncryptionFormat | undefined;
}
