// SPDX-License-Identifier: GPL-3.0-or-later
// Encrypts objects again, with the master key or in another format. Orthanc may run meanwhile. One put replaces an object, so a read
// finds the old object or the new one. If the provider supports conditional puts, only the version that was read is replaced. An object
// that Orthanc has removed meanwhile then stays removed.

import { randomBytes } from 'node:crypto';
import { type Digest, Digester } from '../../attachments/digest.ts';
import {
  ContentType,
  contentTypeOf,
  folderOf,
  ORTHANC_NAMING,
  type ParsedKey,
  parseKey,
} from '../../attachments/naming.ts';
import { PlaceFailures } from '../../attachments/place-failures.ts';
import type { NamingSettings } from '../../config/settings.ts';
import type { ObjectIdentity } from '../../encryption/a2.ts';
import type { Envelope } from '../../encryption/envelope.ts';
import {
  describeEncryption,
  type EncryptionDescription,
  readHead,
} from '../../encryption/inspect.ts';
import { A2_HEADER_BYTES, type EncryptionFormat, keyIdOf } from '../../encryption/sizes.ts';
import { badConfig, StorageError, toStorageError } from '../../errors.ts';
import { abortReason } from '../../store/abort.ts';
import { bodyOf, storeOf } from '../../store/bodies.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { Body, ObjectInfo, ObjectStore, OperationOptions } from '../../store/object-store.ts';
import { once } from '../../store/once.ts';
import type { Spool } from '../common/files.ts';

export interface RekeyPlan {
  /** Only objects under this key id; undefined: all that are not under the master key. */
  readonly fromKeyId: number | undefined;
  /** Undefined: each object keeps its format. Else objects under the master key are converted too. */
  readonly toFormat: EncryptionFormat | undefined;
  readonly isDryRun: boolean;
  readonly concurrency: number;
}

export type RekeyOutcome =
  /** Plain, or another program's. */
  | 'foreign'
  /** Under another key id than the one asked for, or already done. */
  | 'kept'
  | 'rekeyed'
  /** Orthanc removed it meanwhile. */
  | 'gone'
  | 'failed';

export interface RekeyedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly outcome: RekeyOutcome;
  readonly failure?: StorageError;
}

export interface RekeyDependencies {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly envelope: Envelope;
  readonly plan: RekeyPlan;
  readonly openSpool: () => Spool;
  /** Orthanc's index, for objects whose names do not tell the type. */
  readonly typeOf: (uuid: string) => ContentType | undefined;
  readonly isDone: (key: string) => boolean;
  /** Called for each object in the order of the listing. All later objects are not done yet. */
  readonly onObject: (object: RekeyedObject) => void;
  /** Called once, before the first write, if the server ignores conditions. A removal during a write is then not noticed. */
  readonly onUnconditionalPuts: () => void;
  readonly signal: AbortSignal;
}

/** Goes through the bucket once. A failure of one object does not end it.
 *  @throws StorageError if the listing fails, or too many objects in a row; the signal's reason after an abort */
export async function rekey(deps: RekeyDependencies): Promise<void> {
  await new Rekey(deps).run();
}

class Rekey {
  readonly #deps: RekeyDependencies;
  readonly #store: ObjectStore;
  readonly #envelope: Envelope;
  readonly #plan: RekeyPlan;
  readonly #folder: string;
  readonly #operation: OperationOptions;
  readonly #isConditional: () => Promise<boolean>;

  constructor(deps: RekeyDependencies) {
    this.#deps = deps;
    this.#store = deps.store;
    this.#envelope = deps.envelope;
    this.#plan = deps.plan;
    this.#folder = folderOf(deps.naming);
    this.#operation = { signal: deps.signal };
    this.#isConditional = once(async () => {
      const isSupported = await supportsConditionalPuts(deps.store, this.#folder, deps.signal);
      if (!isSupported) deps.onUnconditionalPuts();
      return isSupported;
    });
  }

  async run(): Promise<void> {
    const { isDone, onObject, signal } = this.#deps;
    const underWay: Promise<RekeyedObject>[] = [];
    const placeFailures = new PlaceFailures();

    const reportOldest = async () => {
      const object = await underWay.shift();
      if (signal.aborted) throw abortReason(signal);
      if (object === undefined) return;
      onObject(object);
      if (object.failure !== undefined) placeFailures.add(object.failure);
      // A foreign object was not read.
      else if (object.outcome !== 'foreign') placeFailures.succeeded();
    };

    try {
      for await (const info of this.#store.list(this.#folder, this.#operation)) {
        if (isDone(info.key)) continue;
        underWay.push(this.#rekey(info));
        if (underWay.length >= this.#plan.concurrency) await reportOldest();
      }
      while (underWay.length > 0) await reportOldest();
    } finally {
      // The caller closes the store next. Each of these still needs it to clean up.
      await Promise.all(underWay);
    }
  }

  async #rekey({ key, sizeBytes }: ObjectInfo): Promise<RekeyedObject> {
    try {
      return { key, sizeBytes, outcome: await this.#rekeyIfWanted(key) };
    } catch (error) {
      const failure = toStorageError(error);
      if (failure.code === 'NOT_FOUND') return { key, sizeBytes, outcome: 'gone' };
      return { key, sizeBytes, outcome: 'failed', failure };
    }
  }

  async #rekeyIfWanted(key: string): Promise<'foreign' | 'kept' | 'rekeyed'> {
    const parsed = parseKey(key, this.#deps.naming);
    if (parsed === undefined || parsed.encrypted === false) return 'foreign';
    const head = await readHead(this.#store, key, this.#operation);
    // If the name does not tell, the content may be plain and only begin like an encrypted object.
    if (parsed.encrypted === undefined && !this.#envelope.looksEncrypted(head)) return 'foreign';
    const description = describeEncryption(head.bytes, head.totalBytes);
    if (description === undefined) {
      if (parsed.encrypted === undefined) return 'foreign';
      const reason = `"${key}": its name says that it is encrypted, and it is not`;
      throw new StorageError('INTEGRITY', reason);
    }
    if (!this.#isWanted(description)) return 'kept';
    // Before the whole object is read.
    this.#envelope.requireKey(description.keyId);
    const identity = this.#identityOf(key, parsed, description);
    if (!this.#plan.isDryRun) await this.#replace(key, description, identity);
    return 'rekeyed';
  }

  #isWanted({ keyId, format }: EncryptionDescription): boolean {
    const { fromKeyId, toFormat } = this.#plan;
    if (fromKeyId !== undefined && keyId !== fromKeyId) return false;
    return keyId !== this.#envelope.masterKeyId || (toFormat !== undefined && format !== toFormat);
  }

  /** @throws StorageError BAD_CONFIG if the new format needs the content type and nobody knows it */
  #identityOf(
    key: string,
    { uuid, contentType }: ParsedKey,
    old: EncryptionDescription,
  ): ObjectIdentity {
    const type = contentType ?? this.#deps.typeOf(uuid);
    // The type of an A2 object is found by trial: only the right one decrypts it.
    if (type === undefined && old.format === 'A1' && this.#plan.toFormat === 'A2') {
      throw badConfig(
        `"${key}" cannot become A2, which is bound to the content type: the name does not tell it, and Orthanc's index, where --orthanc names it, does not know the object (an orphan, or stored since rekey began: run it again)`,
      );
    }
    return { uuid, contentType: type };
  }

  async #replace(key: string, old: EncryptionDescription, named: ObjectIdentity): Promise<void> {
    const isConditional = await this.#isConditional();
    const version = await this.#lookUpVersion(key);
    const onlyIfVersion = isConditional ? version : undefined;
    const spool = this.#deps.openSpool();
    try {
      await this.#store.get(key, undefined, spool.sink, this.#operation);
      const object = spool.body();
      const { identity, digest } = await this.#verify(key, object, old, named);
      const opened = this.#envelope.open(object, identity);
      try {
        // As late as possible: a removal by Orthanc is not noticed between this and the put.
        if (onlyIfVersion === undefined) await this.#lookUpVersion(key);
        const format = this.#plan.toFormat ?? old.format;
        const options = { ...this.#operation, format, onlyIfVersion };
        await this.#envelope.put(this.#store, key, opened.content, identity, options);
        await this.#requireWritten(key, format);
      } catch (error) {
        if (toStorageError(error).code !== 'NOT_FOUND') throw error;
        await this.#requireReplaced(key);
      } finally {
        opened.wipe();
      }
      const written = await this.#digestOf(this.#store, key, identity);
      if (written.sizeBytes !== digest.sizeBytes || written.md5Hex !== digest.md5Hex) {
        const reason = `"${key}": what was written reads back as something else`;
        throw new StorageError('INTEGRITY', reason);
      }
    } finally {
      spool.close();
    }
  }

  async #lookUpVersion(key: string): Promise<string | undefined> {
    const head = await this.#store.head(key, this.#operation);
    if (head === undefined) throw new StorageError('NOT_FOUND', `"${key}" is gone`, { key });
    return head.version;
  }

  async #describe(key: string): Promise<EncryptionDescription | undefined> {
    const head = await readHead(this.#store, key, this.#operation);
    return describeEncryption(head.bytes, head.totalBytes);
  }

  /** Compares headers, because the old object has the same content. */
  async #requireWritten(key: string, format: EncryptionFormat): Promise<void> {
    const now = await this.#describe(key);
    if (now?.keyId === this.#envelope.masterKeyId && now?.format === format) return;
    throw new StorageError(
      'INTEGRITY',
      `"${key}": the server says that it was written, and still has the old object: look for a proxy or cache in between, then run rekey again`,
      { key },
    );
  }

  /** The version that was read is gone. The object was removed, or another run has replaced it, or this run has and the answer got lost.
   *  @throws StorageError NOT_FOUND, or UNAVAILABLE if it must still be replaced */
  async #requireReplaced(key: string): Promise<void> {
    const now = await this.#describe(key);
    if (now !== undefined && !this.#isWanted(now)) return;
    const reason = `"${key}" was changed meanwhile; run rekey again`;
    throw new StorageError('UNAVAILABLE', reason, { key });
  }

  /** @returns the digest of the content, and the identity that decrypts the object; for A1 any identity does */
  async #verify(
    key: string,
    object: Body,
    old: EncryptionDescription,
    { uuid, contentType }: ObjectIdentity,
  ) {
    const isKnown = contentType !== undefined || old.format === 'A1';
    const candidates = isKnown ? [contentTypeOf(contentType ?? 0)] : Object.values(ContentType);
    let failure: unknown;
    for (const candidate of candidates) {
      const identity = { uuid, contentType: candidate };
      try {
        return { identity, digest: await this.#digestOf(storeOf(object), key, identity) };
      } catch (error) {
        failure = error;
        if (toStorageError(error).code !== 'INTEGRITY') throw error;
      }
    }
    throw failure;
  }

  async #digestOf(
    store: Pick<ObjectStore, 'get' | 'head'>,
    key: string,
    identity: ObjectIdentity,
  ): Promise<Digest> {
    const digester = new Digester();
    const options = { ...this.#operation, plain: 'refuse' } as const;
    await this.#envelope.get(store, key, undefined, digester, identity, options);
    return digester.digest();
  }
}

const AT_ONCE = 16;

/** How many files on the disk are encrypted (docs/formats.md) under keys that `isCounted` says yes to. */
export async function countEncryptedFiles(
  files: ObjectStore,
  envelope: Pick<Envelope, 'looksEncrypted'>,
  isCounted: (keyId: number) => boolean,
  options: OperationOptions,
): Promise<number> {
  let count = 0;
  await forEachAtOnce(files.list('', options), AT_ONCE, async ({ key, sizeBytes }) => {
    if (sizeBytes < A2_HEADER_BYTES || parseKey(key, ORTHANC_NAMING) === undefined) return;
    try {
      const head = await readHead(files, key, options);
      if (envelope.looksEncrypted(head) && isCounted(keyIdOf(head.bytes))) count += 1;
    } catch (error) {
      // Orthanc may delete or move files meanwhile.
      if (toStorageError(error).code !== 'NOT_FOUND') throw error;
    }
  });
  return count;
}

/** Whether the server obeys `onlyIfVersion`. Some S3 servers ignore it.
 *  @param folder where a probe object is written and removed again */
async function supportsConditionalPuts(
  store: Pick<ObjectStore, 'put' | 'head' | 'delete'>,
  folder: string,
  signal: AbortSignal,
): Promise<boolean> {
  const key = `${folder}rekey-probe-${randomBytes(8).toString('hex')}`;
  try {
    await store.put(key, bodyOf(Buffer.from('first')), { signal });
    const onlyIfVersion = (await store.head(key, { signal }))?.version;
    if (onlyIfVersion === undefined) return false;
    await store.put(key, bodyOf(Buffer.from('second')), { signal });
    await store.put(key, bodyOf(Buffer.from('third')), { signal, onlyIfVersion });
    return false;
  } catch (error) {
    if (toStorageError(error).code === 'NOT_FOUND') return true;
    throw error;
  } finally {
    // Also after an abort.
    await store.delete(key, { signal: new AbortController().signal });
  }
}
