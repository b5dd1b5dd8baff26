// SPDX-License-Identifier: GPL-3.0-or-later
// Attachments in Orthanc's own folder. Encrypted are only files of the C++ plugins, and lookalikes of such files.

import type { Envelope } from '../encryption/envelope.ts';
import { headOf, readHead } from '../encryption/inspect.ts';
import { NOWHERE, storeOf } from '../store/bodies.ts';
import type { Body, LocalFiles, ObjectStore, OperationOptions } from '../store/object-store.ts';
import {
  type Attachment,
  type AttachmentFiles,
  type AttachmentStore,
  createAttachmentStore,
} from './attachments.ts';
import { ORTHANC_NAMING, objectKey } from './naming.ts';

/** Writes contents unencrypted, so that Orthanc itself can read them, except for lookalikes (`putPlain`). The C++ plugins encrypt files too,
 *  and their move-storage leaves encrypted objects in the folder. The envelope decrypts both.
 *  @param envelope undefined: nothing is decrypted, since there are no keys or only Orthanc reads the folder */
export function createFileAttachments(
  store: ObjectStore,
  envelope: Envelope | undefined,
): AttachmentStore {
  const naming = ORTHANC_NAMING;
  if (envelope === undefined) return createAttachmentStore({ store, naming });
  const { files } = store;
  return {
    ...createAttachmentStore({ store, naming, envelope, encryptsNew: false }),

    // Reading the head costs no request here, and avoids reading a plain file whole for one range.
    async get(attachment, range, sink, options) {
      const key = keyOf(attachment);
      if (range !== undefined && range.start === range.end) {
        sink.begin(0, 0);
      } else if (envelope.looksEncrypted(await readHead(store, key, options))) {
        const { signal } = options;
        await envelope.get(store, key, range, sink, attachment, { signal, plain: 'refuse' });
      } else {
        await store.get(key, range, sink, options);
      }
      return key;
    },

    ...(files === undefined ? {} : { files: withEncryptedOnes(files, envelope) }),
  };
}

function withEncryptedOnes(files: LocalFiles, envelope: Envelope): AttachmentFiles {
  return {
    receive: (attachment, fill, options) =>
      files.receive(
        keyOf(attachment),
        async (sink) => {
          const receiving = envelope.receivePlain(sink, attachment);
          try {
            await fill(receiving);
            receiving.finish();
          } finally {
            receiving.wipe();
          }
        },
        options,
      ),

    async open(attachment, options) {
      const file = await files.open(keyOf(attachment), options);
      try {
        if (!envelope.looksEncrypted(headOf(file.body))) return file;
        await verify(file.body, attachment, envelope, options);
        const opened = envelope.open(file.body, attachment);
        return {
          body: opened.content,
          async close() {
            opened.wipe();
            await file.close();
          },
        };
      } catch (error) {
        await file.close();
        throw error;
      }
    },
  };
}

/** Reads the whole file, since a part of an A1 object cannot be verified. */
async function verify(
  file: Body,
  attachment: Attachment,
  envelope: Envelope,
  { signal }: OperationOptions,
): Promise<void> {
  const options = { signal, plain: 'refuse' } as const;
  await envelope.get(storeOf(file), keyOf(attachment), undefined, NOWHERE, attachment, options);
}

function keyOf({ uuid, contentType }: Attachment): string {
  return objectKey(uuid, contentType, ORTHANC_NAMING, false);
}
