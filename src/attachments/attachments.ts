// SPDX-License-Identifier: GPL-3.0-or-later
// Attachments of Orthanc, by uuid and content type, in an object store, by key.

import type { NamingSettings } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import {
  describeEncryption,
  type EncryptionDescription,
  type Head,
  readHead,
} from '../encryption/inspect.ts';
import { StorageError, toStorageError } from '../errors.ts';
import type {
  Body,
  ByteRange,
  GetOptions,
  LocalFiles,
  ObjectStore,
  OpenFile,
  OperationOptions,
  Sink,
} from '../store/object-store.ts';
import { type ContentType, keysOf, objectKey } from './naming.ts';

export interface Attachment {
  readonly uuid: string;
  readonly contentType: ContentType;
}

/** Whole or nothing, as in ObjectStore. All errors are StorageErrors. */
export interface AttachmentStore {
  /** @returns the key of the object */
  put(attachment: Attachment, body: Body, options: OperationOptions): Promise<string>;
  /** @param range of the content; undefined: the whole
   *  @returns the key of the object
   *  @throws StorageError NOT_FOUND if no key of the attachment has an object */
  get(
    attachment: Attachment,
    range: ByteRange | undefined,
    sink: Sink,
    options: GetOptions,
  ): Promise<string>;
  /** Removes all its keys. Missing objects are success. */
  remove(attachment: Attachment, options: OperationOptions): Promise<string>;
  /** One request per key, until one has an object. */
  find(attachment: Attachment, options: OperationOptions): Promise<FoundObject | undefined>;
  readonly files?: AttachmentFiles;
}

/** As LocalFiles, with decrypted contents. */
export interface AttachmentFiles {
  open(attachment: Attachment, options: OperationOptions): Promise<OpenFile>;
  receive(
    attachment: Attachment,
    fill: (sink: Sink) => Promise<void>,
    options: OperationOptions,
  ): Promise<void>;
}

export interface FoundObject {
  readonly key: string;
  readonly storedBytes: number;
  /** From the object's header; undefined if it is not encrypted. */
  readonly encryption: EncryptionDescription | undefined;
  /** Its name says that it is encrypted, and it has no header, or no size, of an encrypted one. */
  readonly isDamaged?: true;
}

interface Candidate {
  readonly key: string;
  /** 'either' in the legacy structure, where only the object's first bytes tell. */
  readonly content: 'encrypted' | 'plain' | 'either';
}

/** Without an envelope, all objects are plain. With one, its format applies to writes; reads go by each object's key and header. Objects from
 *  before encryption was switched on or off need a second request. */
export function createAttachmentStore(deps: {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly envelope?: Envelope | undefined;
  /** False: new objects are not encrypted, although the envelope has a format. */
  readonly encryptsNew?: boolean;
}): AttachmentStore {
  const { store, naming, envelope, encryptsNew = true } = deps;
  const isOn = encryptsNew && envelope?.format !== undefined;
  const doFirstBytesTell = envelope !== undefined && naming.structure === 'legacy';

  const keyOf = ({ uuid, contentType }: Attachment) => objectKey(uuid, contentType, naming, isOn);

  function candidatesOf({ uuid, contentType }: Attachment): readonly Candidate[] {
    const named = (encrypted: boolean) =>
      keysOf(uuid, contentType, naming, encrypted).map((key): Candidate => {
        if (doFirstBytesTell) return { key, content: 'either' };
        return { key, content: encrypted ? 'encrypted' : 'plain' };
      });
    const isAlone = envelope === undefined || doFirstBytesTell;
    return isAlone ? named(isOn) : [...named(isOn), ...named(!isOn)];
  }

  return {
    async put(attachment, body, options) {
      const key = keyOf(attachment);
      if (isOn) await envelope.put(store, key, body, attachment, options);
      else if (doFirstBytesTell) await envelope.putPlain(store, key, body, attachment, options);
      else await store.put(key, body, options);
      return key;
    },

    async get(attachment, range, sink, options) {
      if (range !== undefined && range.start === range.end) {
        sink.begin(0, 0);
        return keyOf(attachment);
      }
      return await firstFound(candidatesOf(attachment), async ({ key, content }) => {
        if (envelope === undefined || content === 'plain') {
          await store.get(key, range, sink, options);
        } else {
          await envelope.get(store, key, range, sink, attachment, {
            signal: options.signal,
            // Encrypted objects need none: they are authenticated.
            requireChecksum: content === 'either' && options.requireChecksum === true,
            plain: content === 'either' ? 'accept' : 'refuse',
          });
        }
        return key;
      });
    },

    async remove(attachment, options) {
      // All at once: stores do not tell whether there was an object, and Orthanc waits with its index locked.
      await Promise.all(candidatesOf(attachment).map(({ key }) => store.delete(key, options)));
      return keyOf(attachment);
    },

    async find(attachment, options) {
      for (const { key, content } of candidatesOf(attachment)) {
        const found =
          content === 'plain'
            ? await findPlain(store, key, options)
            : await findByHead(store, key, options, content === 'either' ? envelope : undefined);
        if (found !== undefined) return found;
      }
      return undefined;
    },

    ...(store.files === undefined || envelope !== undefined
      ? {}
      : { files: nameFiles(store.files, keyOf) }),
  };
}

function nameFiles(files: LocalFiles, keyOf: (attachment: Attachment) => string): AttachmentFiles {
  return {
    open: (attachment, options) => files.open(keyOf(attachment), options),
    receive: (attachment, fill, options) => files.receive(keyOf(attachment), fill, options),
  };
}

async function findPlain(
  store: ObjectStore,
  key: string,
  options: OperationOptions,
): Promise<FoundObject | undefined> {
  const head = await store.head(key, options);
  return head === undefined
    ? undefined
    : { key, storedBytes: head.sizeBytes, encryption: undefined };
}

/** @param judge decides whether the object is encrypted; undefined: its key says so */
async function findByHead(
  store: ObjectStore,
  key: string,
  options: OperationOptions,
  judge: Envelope | undefined,
): Promise<FoundObject | undefined> {
  try {
    const head = await readHead(store, key, options);
    const isEncrypted = judge?.looksEncrypted(head) ?? true;
    const found = isEncrypted ? describeOrDamaged(head) : { encryption: undefined };
    return { key, storedBytes: head.totalBytes, ...found };
  } catch (error) {
    if (error instanceof StorageError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

function describeOrDamaged({ bytes, totalBytes }: Head): Omit<FoundObject, 'key' | 'storedBytes'> {
  try {
    const encryption = describeEncryption(bytes, totalBytes);
    if (encryption !== undefined) return { encryption };
  } catch (error) {
    if (toStorageError(error).code !== 'INTEGRITY') throw error;
  }
  return { encryption: undefined, isDamaged: true };
}

/** Tries the candidates in order, until one does not fail with NOT_FOUND.
 *  @throws StorageError any other failure at once; else the first NOT_FOUND */
export async function firstFound<T, Found>(
  candidates: readonly T[],
  attempt: (candidate: T) => Promise<Found>,
): Promise<Found> {
  let missing: StorageError | undefined;
  for (const candidate of candidates) {
    try {
      return await attempt(candidate);
    } catch (error) {
      const failure = toStorageError(error);
      if (failure.code !== 'NOT_FOUND') throw failure;
      missing ??= failure;
    }
  }
  throw missing ?? new StorageError('INTERNAL', 'there was nothing to try');
}
