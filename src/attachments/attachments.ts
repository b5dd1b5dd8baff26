// SPDX-License-Identifier: GPL-3.0-or-later
// Attachments, which Orthanc knows by uuid and content type, in an object store, which knows keys.

import type { NamingSettings } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import { describeEncryption, type EncryptionDescription, readHead } from '../encryption/inspect.ts';
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
import { alternateKeys, type ContentType, objectKey } from './naming.ts';

export interface Attachment {
  readonly uuid: string;
  readonly contentType: ContentType;
}

/** Whole or nothing, as ObjectStore. All errors are StorageErrors. */
export interface AttachmentStore {
  /** @returns the key of the object */
  put(attachment: Attachment, body: Body, options: OperationOptions): Promise<string>;
  /** @param range of the content; undefined is the whole
   *  @returns the key of the object that had it
   *  @throws StorageError NOT_FOUND where it lies under none of its names */
  get(
    attachment: Attachment,
    range: ByteRange | undefined,
    sink: Sink,
    options: GetOptions,
  ): Promise<string>;
  /** Removes it under all its names; a missing one is success. */
  remove(attachment: Attachment, options: OperationOptions): Promise<string>;
  /** @returns where it lies, by one request per name; undefined where it lies under none */
  find(attachment: Attachment, options: OperationOptions): Promise<FoundObject | undefined>;
  readonly files?: AttachmentFiles;
}

/** As LocalFiles, for contents that are not encrypted. */
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
  /** By the object's header; undefined where it is not encrypted. */
  readonly encryption: EncryptionDescription | undefined;
}

/** A name that an object may have. */
interface Candidate {
  readonly key: string;
  /** 'either' in the legacy structure: the object's first bytes tell. */
  readonly content: 'encrypted' | 'plain' | 'either';
}

/** Without an envelope all is plain. With one, writes go by its format, and reads by each object's name and header: objects from before
 *  encryption was switched on, or off, are found by a second request. */
export function createAttachmentStore(deps: {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly envelope?: Envelope | undefined;
}): AttachmentStore {
  const { store, naming, envelope } = deps;
  const isOn = envelope?.format !== undefined;
  const doFirstBytesTell = envelope !== undefined && naming.structure === 'legacy';

  function keysOf(
    { uuid, contentType }: Attachment,
    encrypted: boolean,
  ): readonly [string, ...string[]] {
    return [
      objectKey(uuid, contentType, naming, encrypted),
      ...alternateKeys(uuid, contentType, naming, encrypted),
    ];
  }

  function candidatesOf(attachment: Attachment): readonly [Candidate, ...Candidate[]] {
    const [first, ...others] = keysOf(attachment, isOn);
    const named = (key: string, encrypted: boolean): Candidate => ({
      key,
      content: encrypted ? 'encrypted' : 'plain',
    });
    if (envelope === undefined)
      return [named(first, false), ...others.map((key) => named(key, false))];
    if (doFirstBytesTell) return [{ key: first, content: 'either' }];
    return [
      named(first, isOn),
      ...others.map((key) => named(key, isOn)),
      ...keysOf(attachment, !isOn).map((key) => named(key, !isOn)),
    ];
  }

  return {
    async put(attachment, body, options) {
      const [key] = keysOf(attachment, isOn);
      if (isOn) await envelope.put(store, key, body, attachment, options);
      else if (doFirstBytesTell) await envelope.putPlain(store, key, body, attachment, options);
      else await store.put(key, body, options);
      return key;
    },

    async get(attachment, range, sink, options) {
      const candidates = candidatesOf(attachment);
      // A store cannot be asked for an empty range.
      if (range !== undefined && range.start === range.end) {
        sink.begin(0, 0);
        return candidates[0].key;
      }
      const found = await firstFound(candidates, ({ key, content }) =>
        envelope === undefined || content === 'plain'
          ? store.get(key, range, sink, options)
          : envelope.get(store, key, range, sink, attachment, {
              signal: options.signal,
              // Encryption authenticates by itself.
              requireChecksum: content === 'either' && options.requireChecksum === true,
              plain: content === 'either' ? 'accept' : 'refuse',
            }),
      );
      return found.key;
    },

    async remove(attachment, options) {
      const candidates = candidatesOf(attachment);
      // Side by side: a store does not tell whether it removed something, and Orthanc waits with its index locked.
      await Promise.all(candidates.map(({ key }) => store.delete(key, options)));
      return candidates[0].key;
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
      : { files: nameFiles(store.files, (attachment) => keysOf(attachment, false)[0]) }),
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

/** @param judge for an object whose name does not tell whether it is encrypted */
async function findByHead(
  store: ObjectStore,
  key: string,
  options: OperationOptions,
  judge: Envelope | undefined,
): Promise<FoundObject | undefined> {
  try {
    const head = await readHead(store, key, options);
    const { bytes, totalBytes } = head;
    const isEncrypted = judge?.looksEncrypted(head) ?? true;
    const encryption = isEncrypted ? describeEncryption(bytes, totalBytes) : undefined;
    return { key, storedBytes: totalBytes, encryption };
  } catch (error) {
    if (error instanceof StorageError && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
}

/** Tries the next candidate only where the one before is not there.
 *  @returns the one that was found
 *  @throws StorageError the first NOT_FOUND where none is there; any other failure at once */
export async function firstFound<T>(
  candidates: readonly [T, ...T[]],
  attempt: (candidate: T) => Promise<void>,
): Promise<T> {
  let missing: StorageError | undefined;
  for (const candidate of candidates) {
    try {
      await attempt(candidate);
      return candidate;
    } catch (error) {
      const failure = toStorageError(error);
      if (failure.code !== 'NOT_FOUND') throw failure;
      missing ??= failure;
    }
  }
  throw missing ?? new StorageError('INTERNAL', 'there was nothing to try');
}
