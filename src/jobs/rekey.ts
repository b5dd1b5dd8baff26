// SPDX-License-Identifier: GPL-3.0-or-later
// Re-encrypts objects: to the master key, to another format, each with a key of its own. Beside a running Orthanc: an object is
// replaced in one put, so that whoever reads finds the old one or the new one, and both are readable.

import type { NamingSettings } from '../config/settings.ts';
import { createByteBudget } from '../encryption/byte-budget.ts';
import type { Envelope } from '../encryption/envelope.ts';
import { describeEncryption, type EncryptionDescription, readHead } from '../encryption/inspect.ts';
import type { EncryptionFormat } from '../encryption/sizes.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { ContentType, type ParsedKey, parseKey } from '../naming.ts';
import { abortReason } from '../store/abort.ts';
import type { Body, ObjectInfo, ObjectStore, Sink } from '../store/object-store.ts';

export interface RekeyPlan {
  /** Only objects under this key id; undefined: all that are not under the master key. */
  readonly fromKeyId: number | undefined;
  /** Undefined: each object keeps its format. Else objects under the master key are converted too. */
  readonly toFormat: EncryptionFormat | undefined;
  /** Reads headers only. */
  readonly isDryRun: boolean;
  readonly concurrency: number;
  /** Of the contents that are in memory at once; a larger one is there alone. */
  readonly maxMemoryBytes: number;
}

/** What became of one object. */
export type RekeyOutcome =
  /** Plain, or another program's. */
  | 'not ours'
  /** Under another key id than the one asked for, or already as it shall be. */
  | 'left alone'
  | 'rekeyed'
  /** Orthanc removed it meanwhile. */
  | 'gone'
  | 'failed';

export interface RekeyedObject {
  readonly key: string;
  readonly sizeBytes: number;
  readonly outcome: RekeyOutcome;
  /** Of a failure. */
  readonly reason?: string;
}

export interface RekeyDependencies {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly envelope: Envelope;
  readonly plan: RekeyPlan;
  /** Objects that need not be looked at again. */
  readonly isDone: (key: string) => boolean;
  /** Told of each object, in the order of the listing: what is behind the last one that was told of is not done. */
  readonly onObject: (object: RekeyedObject) => void;
  readonly signal: AbortSignal;
}

/** Goes through the bucket once. A failure of one object does not end it.
 *  @throws StorageError where listing fails, or the signal's reason */
export async function rekey(deps: RekeyDependencies): Promise<void> {
  const { store, naming, plan, isDone, onObject, signal } = deps;
  const budget = createByteBudget(plan.maxMemoryBytes);
  const underWay: Promise<RekeyedObject>[] = [];

  const tellOldest = async () => {
    const object = await underWay.shift();
    if (signal.aborted) throw abortReason(signal);
    if (object !== undefined) onObject(object);
  };

  for await (const info of store.list(folderOf(naming), { signal })) {
    if (isDone(info.key)) continue;
    underWay.push(rekeyOne(deps, info, budget));
    if (underWay.length >= plan.concurrency) await tellOldest();
  }
  while (underWay.length > 0) await tellOldest();
}

/** What a walk through the bucket lists. */
export function folderOf(naming: NamingSettings): string {
  return naming.rootPath === '' ? '' : `${naming.rootPath}/`;
}

async function rekeyOne(
  deps: RekeyDependencies,
  { key, sizeBytes }: ObjectInfo,
  budget: ReturnType<typeof createByteBudget>,
): Promise<RekeyedObject> {
  const { store, naming, plan, envelope, signal } = deps;
  try {
    const parsed = parseKey(key, naming);
    if (parsed === undefined || parsed.encrypted === false) {
      return { key, sizeBytes, outcome: 'not ours' };
    }
    const head = await readHead(store, key, { signal });
    const description = describeEncryption(head.bytes, head.totalBytes);
    if (description === undefined) return notEncrypted(key, sizeBytes, parsed);
    if (!isWanted(plan, description, envelope.masterKeyId)) {
      return { key, sizeBytes, outcome: 'left alone' };
    }
    if (!plan.isDryRun) {
      const lease = await budget.acquire(description.contentBytes, signal);
      try {
        await replace(deps, key, parsed, description);
      } finally {
        lease.release();
      }
    }
    return { key, sizeBytes, outcome: 'rekeyed' };
  } catch (error) {
    const failure = toStorageError(error);
    if (failure.code === 'NOT_FOUND') return { key, sizeBytes, outcome: 'gone' };
    return { key, sizeBytes, outcome: 'failed', reason: failure.message };
  }
}

function notEncrypted(key: string, sizeBytes: number, parsed: ParsedKey): RekeyedObject {
  // Where names do not tell, it is a plain object; else somebody put it there.
  if (parsed.encrypted === undefined) return { key, sizeBytes, outcome: 'not ours' };
  const reason = `"${key}": its name says that it is encrypted, and it is not`;
  return { key, sizeBytes, outcome: 'failed', reason };
}

function isWanted(
  { fromKeyId, toFormat }: RekeyPlan,
  { keyId, format }: EncryptionDescription,
  masterKeyId: number | undefined,
): boolean {
  if (fromKeyId !== undefined && keyId !== fromKeyId) return false;
  return keyId !== masterKeyId || (toFormat !== undefined && format !== toFormat);
}

/** Reads and verifies the old object, writes the new one, reads it back and compares. */
async function replace(
  deps: RekeyDependencies,
  key: string,
  { uuid, contentType }: ParsedKey,
  old: EncryptionDescription,
): Promise<void> {
  const { store, envelope, plan, signal } = deps;
  const options = { signal, plain: 'refuse' } as const;
  const target = createBuffer();
  const format = plan.toFormat ?? old.format;
  let type = contentType;
  if (type === undefined && old.format === 'A2') {
    type = await getByAnyType(deps, key, uuid, target);
  } else {
    await envelope.get(store, key, undefined, target, { uuid, contentType: type }, options);
  }
  if (type === undefined && format === 'A2') {
    throw new StorageError(
      'BAD_CONFIG',
      `"${key}": A2 is bound to the content type, which the name does not tell`,
    );
  }
  // The shortest time in which a removal by Orthanc would go unnoticed, and the object come back: that of the put.
  if ((await store.head(key, { signal })) === undefined) {
    throw new StorageError('NOT_FOUND', `"${key}" is gone`, { key });
  }
  const identity = { uuid, contentType: type ?? ContentType.Unknown };
  await envelope.put(store, key, target.body(), identity, { signal, format });
  const comparison = createComparison(target.bytes());
  await envelope.get(store, key, undefined, comparison, identity, options);
  if (!comparison.isSame()) {
    throw new StorageError('INTEGRITY', `"${key}": what was written reads back as something else`);
  }
}

/** For A2 in the legacy structure. @returns the type that the object turned out to have */
async function getByAnyType(
  { store, envelope, signal }: RekeyDependencies,
  key: string,
  uuid: string,
  sink: Sink,
): Promise<ContentType> {
  let failure: unknown;
  for (const contentType of Object.values(ContentType)) {
    try {
      const identity = { uuid, contentType };
      await envelope.get(store, key, undefined, sink, identity, { signal, plain: 'refuse' });
      return contentType;
    } catch (error) {
      failure = error;
      if (toStorageError(error).code !== 'INTEGRITY') throw error;
    }
  }
  throw failure;
}

function createBuffer(): Sink & { bytes(): Buffer; body(): Body } {
  let bytes = Buffer.alloc(0);
  return {
    begin: (sizeBytes) => {
      bytes = Buffer.allocUnsafeSlow(sizeBytes);
    },
    write: (offset, piece) => {
      bytes.set(piece, offset);
    },
    bytes: () => bytes,
    body: () => ({ sizeBytes: bytes.length, read: (start, end) => bytes.subarray(start, end) }),
  };
}

function createComparison(expected: Buffer): Sink & { isSame(): boolean } {
  let isSame = false;
  return {
    begin: (sizeBytes) => {
      isSame = sizeBytes === expected.length;
    },
    write: (offset, piece) => {
      isSame &&= expected.subarray(offset, offset + piece.length).equals(piece);
    },
    isSame: () => isSame,
  };
}
