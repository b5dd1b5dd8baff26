// SPDX-License-Identifier: GPL-3.0-or-later
// A bucket against Orthanc's index: what is missing, what nobody knows, what is not as it was stored.

import { setMaxListeners } from 'node:events';
import { ciphertextSize, type EncryptionFormat } from '../encryption/sizes.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { alternateKeys, contentTypeOf, folderOf, objectKey, parseKey } from '../naming.ts';
import type { OrthancApi } from '../orthanc-api.ts';
import type { ObjectInfo } from '../store/object-store.ts';
import { forEachAtOnce } from './at-once.ts';
import { listIndex } from './index-list.ts';
import type { Side } from './side.ts';
import { createUuidTable, type UuidEntry, type UuidTable } from './uuid-table.ts';
import { verifyContents } from './verify-contents.ts';

export type Finding =
  | { readonly kind: 'missing'; readonly uuid: string; readonly key: string }
  /** Its uuid is none of the index's. */
  | ({ readonly kind: 'orphan' } & Orphan)
  /** Its uuid is in the index, and by these settings it would have another key: the settings lack something, as StorageEncryption. */
  | { readonly kind: 'other-name'; readonly key: string; readonly expectedKey: string }
  | {
      readonly kind: 'wrong-size';
      readonly store: StoreName;
      readonly key: string;
      readonly sizeBytes: number;
      readonly expectedBytes: number;
    }
  /** Corrupt is what was read and is not what was stored; unreadable, what nobody can tell of: a store that fails, a key that is missing. */
  | {
      readonly kind: 'corrupt' | 'unreadable';
      readonly store: StoreName;
      readonly key: string;
      readonly reason: string;
    }
  | { readonly kind: 'deleted-orphan'; readonly key: string }
  /** Retention, a hold, a lock: it stays an orphan. */
  | { readonly kind: 'undeletable-orphan'; readonly key: string; readonly reason: string };

export type StoreName = 'object-storage' | 'file-system';

export interface Orphan {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modified: string;
}

export interface VerifyOptions {
  /** Reads each object and compares its MD5 with the index's. */
  readonly deep: boolean;
  /** Younger objects are no orphans: they are written before the index knows them. */
  readonly minAgeMs: number;
  /** undefined: nobody thinks of deleting any. */
  readonly deletion: OrphanDeletion | undefined;
  readonly atOnce: number;
  readonly signal: AbortSignal;
  readonly now: () => number;
  /** How many orphans, and as many missing ones, are kept to be looked at a second time. */
  readonly suspectsMax?: number;
}

export interface OrphanDeletion {
  readonly max: number;
  /** Whether a dry run has found it, too. */
  readonly isNoted: (orphan: Orphan) => boolean;
}

export interface VerifyCounts {
  indexed: number;
  objects: number;
  missing: number;
  orphans: number;
  /** Of attachments that the index knows, under names that these settings do not make. */
  otherName: number;
  /** Unknown to the index, but too young to tell. */
  recent: number;
  wrongSize: number;
  corrupt: number;
  unreadable: number;
  /** With a key that the settings would never make. */
  foreign: number;
  /** In the other store of a hybrid storage. */
  elsewhere: number;
  deletedOrphans: number;
  /** Seem to be orphaned or missing, and were too many to make sure: a further run finds them. */
  notLookedAt: number;
  /** Contents, with `deep`. */
  read: number;
  /** Of them, those whose MD5 the index does not have: only their sizes were compared. */
  notCompared: number;
}

export interface VerifyDependencies {
  readonly api: OrthancApi;
  readonly bucket: Side;
  /** Orthanc's own folder, with hybrid storage: what lies there is not missing. */
  readonly files: Side | undefined;
  readonly report: (finding: Finding) => void;
  readonly progress: (counts: VerifyCounts) => void;
}

const FORMATS: readonly EncryptionFormat[] = ['A1', 'A2'];

/** Orphans and missing ones are looked at a second time, since Orthanc goes on storing and deleting. They are kept meanwhile, so that
 *  there must be an end to it. */
const SUSPECTS_MAX = 100_000;

interface Missing {
  readonly uuid: string;
  readonly key: string;
}

export async function verify(
  deps: VerifyDependencies,
  options: VerifyOptions,
): Promise<VerifyCounts> {
  const { api, bucket, report } = deps;
  const { store, naming } = bucket;
  const { signal, suspectsMax = SUSPECTS_MAX } = options;
  // Each object under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, signal);
  const counts: VerifyCounts = {
    indexed: 0,
    objects: 0,
    missing: 0,
    orphans: 0,
    otherName: 0,
    recent: 0,
    wrongSize: 0,
    corrupt: 0,
    unreadable: 0,
    foreign: 0,
    elsewhere: 0,
    deletedOrphans: 0,
    notLookedAt: 0,
    read: 0,
    notCompared: 0,
  };
  const index = await readIndex(api, (size) => {
    counts.indexed = size;
    deps.progress(counts);
  });
  const { orphans, known } = await listOrphans();
  if (options.deletion !== undefined && orphans.length > 0 && known === 0) {
    throw new StorageError(
      'BAD_CONFIG',
      `the index of this Orthanc knows none of the ${counts.objects} objects in the bucket, so that it is hardly the bucket's: nothing is deleted, and nothing noted to be; give the address of the bucket's own Orthanc by --orthanc`,
    );
  }
  const missing = await findMissing();
  if (missing.length + orphans.length > 0) await makeSure();
  if (options.deep) await verifyContents(deps, options, counts);
  deps.progress(counts);
  return counts;

  /** Marks in the index what the bucket has.
   *  @returns what the index does not know, or not by that name, and of how many objects it knows the attachment */
  async function listOrphans() {
    const youngest = options.now() - options.minAgeMs;
    const found: ObjectInfo[] = [];
    let knownCount = 0;
    for await (const object of store.list(folderOf(naming), { signal })) {
      counts.objects += 1;
      deps.progress(counts);
      const parsed = parseKey(object.key, naming);
      const known = parsed === undefined ? undefined : index.get(parsed.uuid);
      if (known !== undefined) knownCount += 1;
      if (parsed === undefined) {
        counts.foreign += 1;
      } else if (known !== undefined && isNameOf(bucket, object.key, parsed.uuid, known.tag)) {
        index.mark(parsed.uuid);
        if (!sizesOf(bucket, parsed.encrypted, known.sizeBytes).includes(object.sizeBytes)) {
          noteWrongSize('object-storage', object, known.sizeBytes);
        }
      } else if (object.modified.getTime() > youngest) {
        counts.recent += 1;
      } else if (found.length < suspectsMax) {
        found.push(object);
      } else {
        counts.notLookedAt += 1;
      }
    }
    return { orphans: found, known: knownCount };
  }

  /** Of what the listing did not have, what is not on the disk, nor in the bucket by now. */
  async function findMissing(): Promise<readonly Missing[]> {
    const found: Missing[] = [];
    await forEachAtOnce(index.unmarked(), options.atOnce, async (entry) => {
      if (found.length < suspectsMax) {
        if (await isOnDisk(entry)) {
          counts.elsewhere += 1;
          return;
        }
        if ((await bucket.attachments.find(attachmentOf(entry), { signal })) !== undefined) return;
      }
      // Others may have come meanwhile.
      if (found.length < suspectsMax) {
        found.push({ uuid: entry.uuid, key: nameOf(entry.uuid, entry.tag) });
      } else {
        counts.notLookedAt += 1;
      }
    });
    return found;
  }

  async function isOnDisk(entry: UuidEntry): Promise<boolean> {
    const found = await deps.files?.attachments.find(attachmentOf(entry), { signal });
    if (found === undefined) return false;
    const { key, storedBytes, encryption } = found;
    const sizeBytes = encryption?.contentBytes ?? storedBytes;
    if (sizeBytes !== entry.sizeBytes) {
      noteWrongSize('file-system', { key, sizeBytes }, entry.sizeBytes);
    }
    return true;
  }

  /** Reads the index once more, where both may have changed meanwhile. */
  async function makeSure(): Promise<void> {
    const known = new Map<string, number>();
    const uuids = new Set(missing.map(({ uuid }) => uuid));
    for (const { key } of orphans) uuids.add(parseKey(key, naming)?.uuid ?? '');
    for await (const { uuid, contentType } of listIndex(api)) {
      if (uuids.has(uuid)) known.set(uuid, contentTypeOf(contentType));
    }
    for (const { uuid, key } of missing) {
      if (!known.has(uuid)) continue;
      counts.missing += 1;
      report({ kind: 'missing', uuid, key });
    }
    for (const { key, sizeBytes, modified } of orphans) {
      const uuid = parseKey(key, naming)?.uuid ?? '';
      const tag = known.get(uuid);
      if (tag !== undefined) {
        // Never an orphan: with the settings that it was written by, it is the attachment.
        if (!isNameOf(bucket, key, uuid, tag)) noteOtherName(key, uuid, tag);
        continue;
      }
      counts.orphans += 1;
      const orphan = { key, sizeBytes, modified: modified.toISOString() };
      report({ kind: 'orphan', ...orphan });
      await deleteIfNoted(orphan);
    }
  }

  async function deleteIfNoted(orphan: Orphan): Promise<void> {
    const { deletion } = options;
    if (deletion === undefined || counts.deletedOrphans >= deletion.max) return;
    if (!deletion.isNoted(orphan)) return;
    try {
      await store.delete(orphan.key, { signal });
    } catch (error) {
      const { code, message } = toStorageError(error);
      // One that must stay is no reason to keep the others.
      if (code !== 'ACCESS_DENIED') throw error;
      report({ kind: 'undeletable-orphan', key: orphan.key, reason: `${code}: ${message}` });
      return;
    }
    counts.deletedOrphans += 1;
    report({ kind: 'deleted-orphan', key: orphan.key });
  }

  function noteOtherName(key: string, uuid: string, tag: number): void {
    counts.otherName += 1;
    const expectedKey = nameOf(uuid, tag);
    report({ kind: 'other-name', key, expectedKey });
  }

  /** Of a new object. */
  function nameOf(uuid: string, tag: number): string {
    return objectKey(uuid, contentTypeOf(tag), naming, bucket.format !== undefined);
  }

  function noteWrongSize(
    name: StoreName,
    { key, sizeBytes }: Pick<ObjectInfo, 'key' | 'sizeBytes'>,
    expectedBytes: number,
  ): void {
    counts.wrongSize += 1;
    report({ kind: 'wrong-size', store: name, key, sizeBytes, expectedBytes });
  }
}

async function readIndex(api: OrthancApi, progress: (size: number) => void): Promise<UuidTable> {
  const table = createUuidTable();
  for await (const { uuid, contentBytes, contentType } of listIndex(api)) {
    table.set(uuid, contentBytes, contentTypeOf(contentType));
    progress(table.size);
  }
  return table;
}

function attachmentOf({ uuid, tag }: UuidEntry) {
  return { uuid, contentType: contentTypeOf(tag) };
}

/** Whether reads would find it there. */
function isNameOf({ naming, hasKeys }: Side, key: string, uuid: string, tag: number): boolean {
  const contentType = contentTypeOf(tag);
  return (hasKeys ? [false, true] : [false]).some(
    (encrypted) =>
      key === objectKey(uuid, contentType, naming, encrypted) ||
      alternateKeys(uuid, contentType, naming, encrypted).includes(key),
  );
}

/** That an object may have. @param encrypted undefined where its name does not tell */
function sizesOf(
  { hasKeys }: Side,
  encrypted: boolean | undefined,
  plainBytes: number,
): readonly number[] {
  if (!hasKeys || encrypted === false) return [plainBytes];
  const sealed = FORMATS.map((format) => ciphertextSize(format, plainBytes));
  return encrypted === true ? sealed : [plainBytes, ...sealed];
}
