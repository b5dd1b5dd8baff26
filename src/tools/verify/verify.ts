// SPDX-License-Identifier: GPL-3.0-or-later
// A bucket against Orthanc's index: what is missing, what nobody knows, what is not as it was stored.

import { setMaxListeners } from 'node:events';
import {
  alternateKeys,
  contentTypeOf,
  folderOf,
  objectKey,
  parseKey,
} from '../../attachments/naming.ts';
import { ciphertextSize, type EncryptionFormat } from '../../encryption/sizes.ts';
import { codeAndMessage, StorageError, toStorageError } from '../../errors.ts';
import type { IndexedAttachment, OrthancApi } from '../../orthanc/api.ts';
import { listIndex } from '../../orthanc/index-list.ts';
import { sleepUntilAborted } from '../../store/abort.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { ObjectInfo } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';
import { createUuidTable, type UuidEntry, type UuidTable } from '../common/uuid-table.ts';
import { verifyContents } from './contents.ts';
import { type Identity, identify } from './identify.ts';
import { createOwnerLookup, type Owner } from './owners.ts';

export type Finding =
  | ({ readonly kind: 'missing'; readonly uuid: string; readonly key: string } & Owner)
  /** Its uuid is none of the index's. With `identify`, what it is. */
  | ({ readonly kind: 'orphan' } & Orphan & Identity)
  /** Its uuid is in the index, and by these settings it would have another key: the settings lack something, as StorageEncryption. */
  | ({
      readonly kind: 'other-name';
      readonly key: string;
      readonly expectedKey: string;
    } & Owner)
  | ({ readonly kind: 'wrong-size' } & WrongSize & Owner)
  /** Corrupt is what was read and is not what was stored; unreadable, what nobody can tell of: a store that fails, a key that is missing. */
  | ({
      readonly kind: 'corrupt' | 'unreadable';
      readonly store: StoreName;
      readonly key: string;
      readonly reason: string;
    } & Owner)
  | { readonly kind: 'deleted-orphan'; readonly key: string }
  /** Retention, a hold, a lock: it stays an orphan. */
  | { readonly kind: 'undeletable-orphan'; readonly key: string; readonly reason: string }
  /** A file that the index does not know: nobody removes it. */
  | ({ readonly kind: 'orphan-on-disk' } & Orphan & Identity)
  /** A file of which the bucket has the object, while nobody reads or removes files (HybridMode off). */
  | { readonly kind: 'copy-on-disk'; readonly key: string; readonly sizeBytes: number }
  /** A file of which the bucket has no object, while nobody reads files. */
  | ({ readonly kind: 'only-on-disk'; readonly uuid: string; readonly key: string } & Owner);

export type StoreName = 'object-storage' | 'file-system';

export interface Orphan {
  readonly key: string;
  readonly sizeBytes: number;
  readonly modified: string;
}

export interface WrongSize {
  readonly store: StoreName;
  readonly key: string;
  readonly sizeBytes: number;
  readonly expectedBytes: number;
}

export interface VerifyOptions {
  /** Reads each object and compares its MD5 with the index's. */
  readonly deep: boolean;
  /** Younger objects are no orphans: they are written before the index knows them. */
  readonly minAgeMs: number;
  /** Reads the orphans that are DICOM files, to tell whose they are. */
  readonly identify?: boolean;
  /** undefined: nobody thinks of deleting any. */
  readonly deletion: OrphanDeletion | undefined;
  readonly atOnce: number;
  readonly signal: AbortSignal;
  readonly now: () => number;
  /** How many orphans, and as many missing ones, are kept to be looked at a second time. */
  readonly suspectsMax?: number;
  readonly graceMs?: number;
}

export interface OrphanDeletion {
  readonly max: number;
  /** Whether a dry run has found it, too. */
  readonly isNoted: (orphan: Orphan) => boolean;
}

export interface VerifyCounts {
  indexed: number;
  objects: number;
  /** Objects in the bucket whose attachment the index knows, under whatever name. */
  known: number;
  /** The index is hardly the bucket's, so that what it does not know are no orphans: how many it knows of what is there, and how many not. */
  alarm: { readonly known: number; readonly unknown: number } | null;
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
  /** Attachments in Orthanc's own folder, where it is looked through; and what they are, beside those that the index knows and the bucket
   *  has not. */
  files: number;
  orphansOnDisk: number;
  copiesOnDisk: number;
  /** While nobody reads them. */
  onlyOnDisk: number;
}

export interface VerifyDependencies {
  readonly api: OrthancApi;
  readonly bucket: Side;
  /** Orthanc's own folder, with hybrid storage: what lies there is not missing. */
  readonly files: Side | undefined;
  /** The same folder where it shall be looked through, with hybrid storage or without. */
  readonly disk?: Side | undefined;
  readonly report: (finding: Finding) => void;
  readonly progress: (counts: VerifyCounts) => void;
}

const FORMATS: readonly EncryptionFormat[] = ['A1', 'A2'];

/** Orphans and missing ones are looked at a second time, since Orthanc goes on storing and deleting. They are kept meanwhile, so that
 *  there must be an end to it. */
const SUSPECTS_MAX = 100_000;

/** From the file that Orthanc writes to its index. */
const GRACE_MS = 10_000;

/** An index that knows less than one in so many is hardly the bucket's: docs/decisions.md. */
const KNOWN_ONE_IN = 5;

interface Missing {
  readonly kind: 'missing' | 'only-on-disk';
  readonly uuid: string;
  readonly key: string;
}

export async function verify(
  deps: VerifyDependencies,
  options: VerifyOptions,
): Promise<VerifyCounts> {
  const { api, bucket, files, disk, report } = deps;
  const { store, naming } = bucket;
  const { signal, atOnce, deletion, suspectsMax = SUSPECTS_MAX } = options;
  // Each object under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, signal);
  const youngest = options.now() - options.minAgeMs;
  const ownerOf = createOwnerLookup(api);
  const counts = noCounts();
  const index = await readIndex(api, (size) => {
    counts.indexed = size;
    deps.progress(counts);
  });
  const otherNames: ObjectInfo[] = [];
  const orphans: ObjectInfo[] = [];
  const orphansOnDisk: ObjectInfo[] = [];
  const wrongSizes: (WrongSize & { readonly uuid: string })[] = [];
  /** What the index does not know, of any age: how many, and the first of their uuids. */
  const strangers = { count: 0, uuids: new Set<string>() };
  await listBucket();
  if (disk !== undefined) await listDisk(disk);
  const missing = await findMissing();
  await settle();
  if (options.deep) await verifyContents(deps, options, counts, ownerOf);
  deps.progress(counts);
  return counts;

  /** Marks in the index what the bucket has. */
  async function listBucket(): Promise<void> {
    for await (const object of store.list(folderOf(naming), { signal })) {
      counts.objects += 1;
      deps.progress(counts);
      const parsed = parseKey(object.key, naming);
      if (parsed === undefined) {
        counts.foreign += 1;
        continue;
      }
      const { uuid, encrypted } = parsed;
      const known = index.get(uuid);
      if (known === undefined) {
        noteStranger(uuid);
        keepUnlessYoung(object, orphans);
        continue;
      }
      counts.known += 1;
      if (!isNameOf(bucket, object.key, uuid, known.tag)) {
        keepUnlessYoung(object, otherNames);
        continue;
      }
      index.mark(uuid);
      const { key, sizeBytes } = object;
      if (!sizesOf(bucket, encrypted, known.sizeBytes).includes(sizeBytes)) {
        const expectedBytes = known.sizeBytes;
        noteWrongSize(uuid, { store: 'object-storage', key, sizeBytes, expectedBytes });
      }
    }
  }

  /** What the bucket does not have of it is looked for later. */
  async function listDisk({ store: folder, naming: layout }: Side): Promise<void> {
    for await (const file of folder.list('', { signal })) {
      const { key, sizeBytes } = file;
      const uuid = parseKey(key, layout)?.uuid;
      // Orthanc's index lies there as well.
      if (uuid === undefined) continue;
      counts.files += 1;
      deps.progress(counts);
      if (index.get(uuid) === undefined) {
        noteStranger(uuid);
        keep(file, orphansOnDisk);
      } else if (index.isMarked(uuid)) {
        counts.copiesOnDisk += 1;
        if (files === undefined) report({ kind: 'copy-on-disk', key, sizeBytes });
      }
    }
  }

  function noteStranger(uuid: string): void {
    strangers.count += 1;
    if (strangers.uuids.size < suspectsMax) strangers.uuids.add(uuid);
  }

  function keepUnlessYoung(object: ObjectInfo, suspects: ObjectInfo[]): void {
    if (object.modified.getTime() > youngest) counts.recent += 1;
    else keep(object, suspects);
  }

  function keep<T>(suspect: T, suspects: T[]): void {
    if (suspects.length < suspectsMax) suspects.push(suspect);
    else counts.notLookedAt += 1;
  }

  /** Of what the listing did not have, what is not on the disk, nor in the bucket by now. */
  async function findMissing(): Promise<readonly Missing[]> {
    const found: Missing[] = [];
    await forEachAtOnce(index.unmarked(), atOnce, async (entry) => {
      const { uuid, tag } = entry;
      if (found.length >= suspectsMax) {
        counts.notLookedAt += 1;
        return;
      }
      const file = await findOnDisk(entry);
      if (file !== undefined && files !== undefined) {
        counts.elsewhere += 1;
        return;
      }
      if ((await bucket.attachments.find(attachmentOf(entry), { signal })) !== undefined) return;
      // Others may have come meanwhile.
      keep(
        file === undefined
          ? { kind: 'missing', uuid, key: nameOf(uuid, tag) }
          : { kind: 'only-on-disk', uuid, key: file },
        found,
      );
    });
    return found;
  }

  /** @returns its key there */
  async function findOnDisk(entry: UuidEntry): Promise<string | undefined> {
    const found = await (files ?? disk)?.attachments.find(attachmentOf(entry), { signal });
    if (found === undefined) return undefined;
    const { key, storedBytes, encryption } = found;
    const sizeBytes = encryption?.contentBytes ?? storedBytes;
    const expectedBytes = entry.sizeBytes;
    if (sizeBytes !== expectedBytes) {
      noteWrongSize(entry.uuid, { store: 'file-system', key, sizeBytes, expectedBytes });
    }
    return key;
  }

  /** Reads the index once more, where all may have changed meanwhile, and tells of what stays. */
  async function settle(): Promise<void> {
    const isStrange = isHardlyOurs(countKnown(), strangers.count);
    const suspects = [missing, otherNames, orphans, orphansOnDisk, wrongSizes];
    if (!isStrange && suspects.every(({ length }) => length === 0)) return;
    const uuids = new Set(isStrange ? strangers.uuids : []);
    for (const { uuid } of [...missing, ...wrongSizes]) uuids.add(uuid);
    for (const { key } of [...otherNames, ...orphans]) uuids.add(uuidOf(bucket, key));
    for (const { key } of orphansOnDisk) uuids.add(uuidOf(disk, key));
    if (files !== undefined) await letBeIndexed(orphansOnDisk);
    const known = await readIndexOf(api, uuids);
    if (isStrange) soundAlarm(known);
    requireOwnIndex();
    await forEachAtOnce(wrongSizes, atOnce, async ({ uuid, ...wrong }) => {
      const indexed = known.get(uuid);
      if (indexed === undefined) return;
      const owner = await ownerOf(indexed.resource);
      counts.wrongSize += 1;
      report({ kind: 'wrong-size', ...wrong, ...owner });
    });
    await forEachAtOnce(missing, atOnce, async (lost) => {
      const indexed = known.get(lost.uuid);
      if (indexed === undefined) return;
      const owner = await ownerOf(indexed.resource);
      counts[lost.kind === 'missing' ? 'missing' : 'onlyOnDisk'] += 1;
      report({ ...lost, ...owner });
    });
    const doubtful: ObjectInfo[] = [];
    for (const object of [...otherNames, ...orphans]) {
      const uuid = uuidOf(bucket, object.key);
      const indexed = known.get(uuid);
      if (indexed === undefined) {
        doubtful.push(object);
        continue;
      }
      const tag = contentTypeOf(indexed.contentType);
      // Never an orphan: with the settings that it was written by, it is the attachment.
      if (isNameOf(bucket, object.key, uuid, tag)) continue;
      counts.otherName += 1;
      const names = { key: object.key, expectedKey: nameOf(uuid, tag) };
      report({ kind: 'other-name', ...names, ...(await ownerOf(indexed.resource)) });
    }
    await forEachAtOnce(doubtful, atOnce, async (object) => {
      const orphan = await describeOrphan(bucket, object);
      counts.orphans += 1;
      report({ kind: 'orphan', ...orphan });
    });
    for (const object of doubtful) await deleteIfNoted(toOrphan(object));
    if (disk === undefined) return;
    const left = orphansOnDisk.filter(({ key }) => !known.has(uuidOf(disk, key)));
    await forEachAtOnce(left, atOnce, async (file) => {
      const orphan = await describeOrphan(disk, file);
      counts.orphansOnDisk += 1;
      report({ kind: 'orphan-on-disk', ...orphan });
    });
  }

  /** Files that are young because they were copied there must be found, those that Orthanc has just stored must not. */
  async function letBeIndexed(found: readonly ObjectInfo[]): Promise<void> {
    const { graceMs = GRACE_MS, now } = options;
    const newestMs = found.reduce((ms, { modified }) => Math.max(ms, modified.getTime()), 0);
    const leftMs = Math.min(newestMs + graceMs - now(), graceMs);
    if (leftMs > 0) await sleepUntilAborted(leftMs, signal);
  }

  /** Of the objects and files that were seen. */
  function countKnown(): number {
    const onlyOnDisk = missing.filter(({ kind }) => kind === 'only-on-disk').length;
    return counts.known + counts.elsewhere + counts.copiesOnDisk + onlyOnDisk;
  }

  function soundAlarm(indexed: ReadonlyMap<string, unknown>): void {
    const { count, uuids } = strangers;
    const stillUnknown = [...uuids].filter((uuid) => !indexed.has(uuid)).length;
    // Those that were kept stand for all.
    const unknown = Math.round((count * stillUnknown) / uuids.size);
    const known = countKnown() + count - unknown;
    if (!isHardlyOurs(known, unknown)) return;
    counts.alarm = { known, unknown };
    deps.progress(counts);
  }

  /** @throws StorageError BAD_CONFIG where something shall be deleted by an index that is hardly the bucket's */
  function requireOwnIndex(): void {
    const { known, objects, alarm } = counts;
    if (deletion === undefined) return;
    if (alarm === null && !(known === 0 && orphans.length > 0)) return;
    throw new StorageError(
      'BAD_CONFIG',
      `the index of this Orthanc knows ${known === 0 ? 'none' : known} of the ${objects} objects in the bucket, so that it is hardly the bucket's: nothing is deleted, and nothing noted to be; give the address of the bucket's own Orthanc by --orthanc, and if its index was lost or is a new one, bring it back from its backup`,
    );
  }

  async function describeOrphan(side: Side, object: ObjectInfo): Promise<Orphan & Identity> {
    const orphan = toOrphan(object);
    if (options.identify !== true) return orphan;
    return { ...orphan, ...(await identify(side, object, api, { signal })) };
  }

  async function deleteIfNoted(orphan: Orphan): Promise<void> {
    if (deletion === undefined || counts.deletedOrphans >= deletion.max) return;
    if (!deletion.isNoted(orphan)) return;
    try {
      await store.delete(orphan.key, { signal });
    } catch (error) {
      const failure = toStorageError(error);
      // One that must stay is no reason to keep the others.
      if (failure.code !== 'ACCESS_DENIED') throw error;
      const reason = codeAndMessage(failure);
      report({ kind: 'undeletable-orphan', key: orphan.key, reason });
      return;
    }
    counts.deletedOrphans += 1;
    report({ kind: 'deleted-orphan', key: orphan.key });
  }

  /** Of a new object. */
  function nameOf(uuid: string, tag: number): string {
    return objectKey(uuid, contentTypeOf(tag), naming, bucket.format !== undefined);
  }

  function noteWrongSize(uuid: string, wrong: WrongSize): void {
    if (wrongSizes.length < suspectsMax) {
      wrongSizes.push({ uuid, ...wrong });
      return;
    }
    // Too many to be named with their owners.
    counts.wrongSize += 1;
    report({ kind: 'wrong-size', ...wrong });
  }
}

function noCounts(): VerifyCounts {
  return {
    indexed: 0,
    objects: 0,
    known: 0,
    alarm: null,
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
    files: 0,
    orphansOnDisk: 0,
    copiesOnDisk: 0,
    onlyOnDisk: 0,
  };
}

function isHardlyOurs(known: number, unknown: number): boolean {
  return known * KNOWN_ONE_IN < known + unknown;
}

function toOrphan({ key, sizeBytes, modified }: ObjectInfo): Orphan {
  return { key, sizeBytes, modified: modified.toISOString() };
}

function uuidOf(side: Side | undefined, key: string): string {
  return (side === undefined ? undefined : parseKey(key, side.naming))?.uuid ?? '';
}

/** What it has of these. */
async function readIndexOf(
  api: OrthancApi,
  uuids: ReadonlySet<string>,
): Promise<ReadonlyMap<string, IndexedAttachment>> {
  const known = new Map<string, IndexedAttachment>();
  for await (const indexed of listIndex(api)) {
    if (uuids.has(indexed.uuid)) known.set(indexed.uuid, indexed);
  }
  return known;
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
