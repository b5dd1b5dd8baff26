// SPDX-License-Identifier: GPL-3.0-or-later
// The attachments in Orthanc's own folder: as they are, save what the C++ plugins have left there encrypted.

import {
  type Attachment,
  type AttachmentFiles,
  type AttachmentStore,
  createAttachmentStore,
} from './attachments.ts';
import type { Envelope } from './encryption/envelope.ts';
import { describeEncryption, type Head, readHead } from './encryption/inspect.ts';
import { A2_HEADER_BYTES } from './encryption/sizes.ts';
import { ORTHANC_NAMING, objectKey } from './naming.ts';
import { storeOf } from './store/body-store.ts';
import type { Body, ObjectStore, OperationOptions, Sink } from './store/object-store.ts';

/** Writes files as they are, whatever the other side is, so that Orthanc itself can read them. The C++ plugins encrypt what goes to the
 *  disk, too, and their move-storage leaves there what it took from the bucket, as it was; that is read by the envelope.
 *  @param envelope undefined: there are no keys, and each file is taken as it is */
export function createFileAttachments(
  store: ObjectStore,
  envelope: Envelope | undefined,
): AttachmentStore {
  const plain = createAttachmentStore({ store, naming: ORTHANC_NAMING });
  return envelope === undefined ? plain : withSealedOnes(plain, store, envelope);
}

function withSealedOnes(
  plain: AttachmentStore,
  store: ObjectStore,
  envelope: Envelope,
): AttachmentStore {
  const { files } = plain;
  return {
    ...plain,

    async get(attachment, range, sink, options) {
      const key = keyOf(attachment);
      const isEmpty = range !== undefined && range.start === range.end;
      if (isEmpty || !envelope.looksEncrypted(await readHead(store, key, options))) {
        return await plain.get(attachment, range, sink, options);
      }
      const { signal } = options;
      await envelope.get(store, key, range, sink, attachment, { signal, plain: 'refuse' });
      return key;
    },

    async find(attachment, options) {
      const found = await plain.find(attachment, options);
      if (found === undefined) return undefined;
      const head = await readHead(store, found.key, options);
      if (!envelope.looksEncrypted(head)) return found;
      return { ...found, encryption: describeEncryption(head.bytes, head.totalBytes) };
    },

    ...(files === undefined ? {} : { files: openSealedOnes(files, envelope) }),
  };
}

function openSealedOnes(files: AttachmentFiles, envelope: Envelope): AttachmentFiles {
  return {
    receive: (attachment, fill, options) => files.receive(attachment, fill, options),

    async open(attachment, options) {
      const file = await files.open(attachment, options);
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

/** As a whole, before a part of it goes anywhere: of A1 nothing less can be. */
async function verify(
  file: Body,
  attachment: Attachment,
  envelope: Envelope,
  { signal }: OperationOptions,
): Promise<void> {
  const nowhere: Sink = { begin: () => undefined, write: () => undefined };
  const options = { signal, plain: 'refuse' } as const;
  await envelope.get(storeOf(file), keyOf(attachment), undefined, nowhere, attachment, options);
}

function keyOf({ uuid, contentType }: Attachment): string {
  return objectKey(uuid, contentType, ORTHANC_NAMING, false);
}

function headOf(file: Body): Head {
  const { sizeBytes } = file;
  return { bytes: file.read(0, Math.min(sizeBytes, A2_HEADER_BYTES)), totalBytes: sizeBytes };
}
