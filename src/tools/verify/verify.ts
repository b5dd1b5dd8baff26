// SPDX-License-Identifier: GPL-3.0-or-later
// Compares a bucket with Orthanc's index: which objects are missing, which are unknown to it, and which have changed.

import { contentTypeOf, folderOf, keysOf, objectKey, parseKey } from '../../attachments/naming.ts';
import { ciphertextSize, type EncryptionFormat } from '../../encryption/sizes.ts';
import { badConfig, codeAndMessage, toStorageError } from '../../errors.ts';
import type { IndexedAttachment, OrthancApi, Resource } from '../../orthanc/api.ts';
import { findIndexed, listIndex } from '../../orthanc/index-list.ts';
import { sleepUntilAborted } from '../../store/abort.ts';
import { forEachAtOnce } from '../../store/limit.ts';
import type { ObjectInfo } from '../../store/object-store.ts';
import type { Side } from '../common/sides.ts';
import { type UuidEntry, UuidTable } from '../common/uuid-table.ts';
import { verifyContents } from './contents.ts';
import {
  type Finding,
  noCounts,
  type Orphan,
  type VerifyCounts,
  type WrongSize,
} from './findings.ts';
import { type Identity, identify } from './identify.ts';
import { createOwnerLookup, type Owner } from './owners.ts';

export interface VerifyOptions {
  /** Compares the MD5 of each content with that in the index. */
  readonly deep: boolean;
  /** Younger objects are no orphans: Orthanc writes an object before it indexes it. */
  readonly minAgeMs: number;
  readonly identify?: boolean;
  /** undefined without --delete-orphans. */
  readonly deletion: OrphanDeletion | undefined;
  readonly atOnce: number;
  readonly signal: AbortSignal;
  readonly now: () => number;
  readonly suspectsMax?: number;
  readonly graceMs?: number;
}

export interface OrphanDeletion {
  readonly max: number;
  /** Whether a dry run has noted it. */
  readonly isNoted: (orphan: Orphan) => boolean;
}

export interface VerifyDependencies {
  readonly api: OrthancApi;
  readonly bucket: Side;
  /** Orthanc's own folder, with HybridMode. Files in it are not missing. */
  readonly files: Side | undefined;
  /** The same folder with --disk, whatever HybridMode is. */
  readonly disk?: Side | undefined;
  readonly report: (finding: Finding) => void;
  readonly progress: (counts: VerifyCounts) => void;
}

const FORMATS: readonly EncryptionFormat[] = ['A1', 'A2'];

/** Suspects are checked a second time, because Orthanc stores and deletes meanwhile. So many are kept of each kind. */
const SUSPECTS_MAX = 100_000;

/** Orthanc indexes a new file within this time. */
const GRACE_MS = 10_000;

/** An index that knows less than one in so many objects probably belongs to another bucket: docs/decisions.md. */
const KNOWN_ONE_IN = 5;

type Suspect = ObjectInfo & { readonly uuid: string };

interface Missing {
  readonly kind: 'missing' | 'only-on-disk';
  readonly uuid: string;
  readonly key: string;
}

export async function verify(
  deps: VerifyDependencies,
  options: VerifyOptions,
): Promise<VerifyCounts> {
  return await new Verification(deps, options).run();
}

class Verification {
  readonly #deps: VerifyDependencies;
  readonly #options: VerifyOptions;
  readonly #bucket: Side;
  readonly #counts = noCounts();
  /** Attachments in the bucket are marked. */
  readonly #index = new UuidTable();
  readonly #ownerOf: (resource: Resource) => Promise<Owner>;
  readonly #suspectsMax: number;
  /** Objects that were modified later are no orphans. */
  readonly #newestMs: number;
  readonly #otherNames: Suspect[] = [];
  readonly #orphans: Suspect[] = [];
  readonly #orphansOnDisk: Suspect[] = [];
  readonly #missing: Missing[] = [];
  readonly #wrongSizes: (WrongSize & { readonly uuid: string })[] = [];
  /** Objects of any age that the index does not know: how many, and the first of their uuids. */
  readonly #unknown = { count: 0, uuids: new Set<string>() };

  constructor(deps: VerifyDependencies, options: VerifyOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#bucket = deps.bucket;
    this.#ownerOf = createOwnerLookup(deps.api);
    this.#suspectsMax = options.suspectsMax ?? SUSPECTS_MAX;
    this.#newestMs = options.now() - options.minAgeMs;
  }

  async run(): Promise<VerifyCounts> {
    const { disk, progress } = this.#deps;
    await this.#readIndex();
    await this.#listBucket();
    if (disk !== undefined) await this.#listDisk(disk);
    await this.#findMissing();
    await this.#recheck();
    if (this.#options.deep) {
      await verifyContents(this.#deps, this.#options, this.#counts, this.#ownerOf);
    }
    progress(this.#counts);
    return this.#counts;
  }

  async #readIndex(): Promise<void> {
    for await (const { uuid, contentBytes, contentType } of listIndex(this.#deps.api)) {
      this.#index.set(uuid, contentBytes, contentTypeOf(contentType));
      this.#counts.indexed = this.#index.size;
      this.#deps.progress(this.#counts);
    }
  }

  async #listBucket(): Promise<void> {
    const { store, naming } = this.#bucket;
    for await (const object of store.list(folderOf(naming), { signal: this.#options.signal })) {
      this.#counts.objects += 1;
      this.#deps.progress(this.#counts);
      const parsed = parseKey(object.key, naming);
      if (parsed === undefined) {
        this.#counts.foreign += 1;
        continue;
      }
      const { uuid, encrypted } = parsed;
      const known = this.#index.get(uuid);
      if (known === undefined) {
        this.#noteUnknown(uuid);
        this.#keepUnlessRecent({ ...object, uuid }, this.#orphans);
        continue;
      }
      this.#counts.known += 1;
      if (!isKeyOf(this.#bucket, object.key, uuid, known.tag)) {
        this.#keepUnlessRecent({ ...object, uuid }, this.#otherNames);
        continue;
      }
      this.#index.mark(uuid);
      const { key, sizeBytes } = object;
      if (!sizesOf(this.#bucket, encrypted, known.sizeBytes).includes(sizeBytes)) {
        const expectedBytes = known.sizeBytes;
        this.#noteWrongSize(uuid, { store: 'object-storage', key, sizeBytes, expectedBytes });
      }
    }
  }

  async #listDisk({ store, naming }: Side): Promise<void> {
    for await (const file of store.list('', { signal: this.#options.signal })) {
      const { key, sizeBytes } = file;
      const uuid = parseKey(key, naming)?.uuid;
      // Orthanc's index is in the same folder.
      if (uuid === undefined) continue;
      this.#counts.files += 1;
      this.#deps.progress(this.#counts);
      if (this.#index.get(uuid) === undefined) {
        this.#noteUnknown(uuid);
        this.#keep({ ...file, uuid }, this.#orphansOnDisk);
      } else if (this.#index.isMarked(uuid)) {
        this.#counts.copiesOnDisk += 1;
        if (this.#deps.files === undefined) {
          this.#deps.report({ kind: 'copy-on-disk', key, sizeBytes });
        }
      }
    }
  }

  #noteUnknown(uuid: string): void {
    this.#unknown.count += 1;
    if (this.#unknown.uuids.size < this.#suspectsMax) this.#unknown.uuids.add(uuid);
  }

  #keepUnlessRecent(suspect: Suspect, suspects: Suspect[]): void {
    if (suspect.modified.getTime() > this.#newestMs) this.#counts.recent += 1;
    else this.#keep(suspect, suspects);
  }

  #keep<T>(suspect: T, suspects: T[]): void {
    if (suspects.length < this.#suspectsMax) suspects.push(suspect);
    else this.#counts.notLookedAt += 1;
  }

  #noteWrongSize(uuid: string, wrong: WrongSize): void {
    if (this.#wrongSizes.length < this.#suspectsMax) {
      this.#wrongSizes.push({ uuid, ...wrong });
      return;
    }
    // Too many to keep. This one is reported at once, without its owner.
    this.#counts.wrongSize += 1;
    this.#deps.report({ kind: 'wrong-size', ...wrong });
  }

  /** Looks for unlisted attachments on the disk, and once more in the bucket. */
  async #findMissing(): Promise<void> {
    const { files } = this.#deps;
    const { atOnce, signal } = this.#options;
    await forEachAtOnce(this.#index.unmarked(), atOnce, async (entry) => {
      const { uuid, tag } = entry;
      if (this.#missing.length >= this.#suspectsMax) {
        this.#counts.notLookedAt += 1;
        return;
      }
      const file = await this.#findOnDisk(entry);
      if (file !== undefined && files !== undefined) {
        this.#counts.elsewhere += 1;
        return;
      }
      const { attachments, isPending } = this.#bucket;
      const found = await attachments.find(attachmentOf(entry), { signal });
      if (found !== undefined) {
        if ((await isPending?.(found.key)) === true) this.#counts.pending += 1;
        return;
      }
      this.#keep(
        file === undefined
          ? { kind: 'missing', uuid, key: this.#newKeyOf(uuid, tag) }
          : { kind: 'only-on-disk', uuid, key: file },
        this.#missing,
      );
    });
  }

  /** @returns its path there */
  async #findOnDisk(entry: UuidEntry): Promise<string | undefined> {
    const side = this.#deps.files ?? this.#deps.disk;
    const found = await side?.attachments.find(attachmentOf(entry), {
      signal: this.#options.signal,
    });
    if (found === undefined) return undefined;
    const { key, storedBytes, encryption } = found;
    const sizeBytes = encryption?.contentBytes ?? storedBytes;
    const expectedBytes = entry.sizeBytes;
    if (sizeBytes !== expectedBytes) {
      this.#noteWrongSize(entry.uuid, { store: 'file-system', key, sizeBytes, expectedBytes });
    }
    return key;
  }

  /** Reads the index again, because it may have changed meanwhile, and reports what is still wrong. */
  async #recheck(): Promise<void> {
    const { api, files, disk, report } = this.#deps;
    const isAlarming = knowsTooFew(this.#countKnown(), this.#unknown.count);
    const suspects = [
      ...this.#missing,
      ...this.#wrongSizes,
      ...this.#otherNames,
      ...this.#orphans,
      ...this.#orphansOnDisk,
    ];
    if (!isAlarming && suspects.length === 0) return;
    const uuids = new Set(isAlarming ? this.#unknown.uuids : []);
    for (const { uuid } of suspects) uuids.add(uuid);
    if (files !== undefined) await this.#waitForIndex(this.#orphansOnDisk);
    const known = await findIndexed(api, uuids);
    if (isAlarming) this.#raiseAlarm(known);
    this.#requireOwnIndex();
    await this.#forEachKnown(this.#wrongSizes, known, ({ uuid: _uuid, ...wrong }, owner) => {
      this.#counts.wrongSize += 1;
      report({ kind: 'wrong-size', ...wrong, ...owner });
    });
    await this.#forEachKnown(this.#missing, known, (missing, owner) => {
      this.#counts[missing.kind === 'missing' ? 'missing' : 'onlyOnDisk'] += 1;
      report({ ...missing, ...owner });
    });
    const orphans = await this.#reportOtherNames(known);
    await this.#reportOrphans(this.#bucket, orphans);
    for (const object of orphans) await this.#deleteIfNoted(toOrphan(object));
    if (disk === undefined) return;
    await this.#reportOrphans(
      disk,
      this.#orphansOnDisk.filter(({ uuid }) => !known.has(uuid)),
    );
  }

  /** Waits until Orthanc has indexed the files that it has just stored. Young files are no exception: a copied file may be young, too. */
  async #waitForIndex(found: readonly ObjectInfo[]): Promise<void> {
    const { graceMs = GRACE_MS, now, signal } = this.#options;
    const newestMs = found.reduce((ms, { modified }) => Math.max(ms, modified.getTime()), 0);
    const leftMs = Math.min(newestMs + graceMs - now(), graceMs);
    if (leftMs > 0) await sleepUntilAborted(leftMs, signal);
  }

  #countKnown(): number {
    const { known, elsewhere, copiesOnDisk } = this.#counts;
    const onlyOnDisk = this.#missing.filter(({ kind }) => kind === 'only-on-disk').length;
    return known + elsewhere + copiesOnDisk + onlyOnDisk;
  }

  #raiseAlarm(indexed: Known): void {
    const { count, uuids } = this.#unknown;
    const stillUnknown = [...uuids].filter((uuid) => !indexed.has(uuid)).length;
    // The uuids that were kept are a sample.
    const unknown = Math.round((count * stillUnknown) / uuids.size);
    const known = this.#countKnown() + count - unknown;
    if (!knowsTooFew(known, unknown)) return;
    this.#counts.alarm = { known, unknown };
    this.#deps.progress(this.#counts);
  }

  /** @throws StorageError BAD_CONFIG if orphans would be deleted by an index that probably belongs to another bucket */
  #requireOwnIndex(): void {
    const { known, objects, alarm } = this.#counts;
    if (this.#options.deletion === undefined) return;
    if (alarm === null && !(known === 0 && this.#orphans.length > 0)) return;
    throw badConfig(
      `the index of this Orthanc knows ${known === 0 ? 'none' : known} of the ${objects} objects in the bucket, so that it is hardly the bucket's: nothing is deleted, and nothing noted to be; give the address of the bucket's own Orthanc by --orthanc, and if its index was lost or is a new one, bring it back from its backup`,
    );
  }

  /** Leaves out what Orthanc has removed from its index meanwhile. */
  async #forEachKnown<T extends { readonly uuid: string }>(
    suspects: readonly T[],
    known: Known,
    work: (suspect: T, owner: Owner) => void,
  ): Promise<void> {
    await forEachAtOnce(suspects, this.#options.atOnce, async (suspect) => {
      const indexed = known.get(suspect.uuid);
      if (indexed !== undefined) work(suspect, await this.#ownerOf(indexed.resource));
    });
  }

  /** @returns those that the index still does not know */
  async #reportOtherNames(known: Known): Promise<readonly Suspect[]> {
    const orphans: Suspect[] = [];
    for (const object of [...this.#otherNames, ...this.#orphans]) {
      const { key, uuid } = object;
      const indexed = known.get(uuid);
      if (indexed === undefined) {
        orphans.push(object);
        continue;
      }
      const tag = contentTypeOf(indexed.contentType);
      // It is no orphan: Orthanc finds it with other settings.
      if (isKeyOf(this.#bucket, key, uuid, tag)) continue;
      this.#counts.otherName += 1;
      const owner = await this.#ownerOf(indexed.resource);
      const expectedKey = this.#newKeyOf(uuid, tag);
      this.#deps.report({ kind: 'other-name', key, expectedKey, ...owner });
    }
    return orphans;
  }

  async #reportOrphans(side: Side, orphans: readonly Suspect[]): Promise<void> {
    const { atOnce, signal, identify: isWanted } = this.#options;
    const isOnDisk = side !== this.#bucket;
    await forEachAtOnce(orphans, atOnce, async (object) => {
      const identity: Identity =
        isWanted === true ? await identify(side, object, this.#deps.api, { signal }) : {};
      this.#counts[isOnDisk ? 'orphansOnDisk' : 'orphans'] += 1;
      const kind = isOnDisk ? 'orphan-on-disk' : 'orphan';
      this.#deps.report({ kind, ...toOrphan(object), ...identity });
    });
  }

  async #deleteIfNoted(orphan: Orphan): Promise<void> {
    const { deletion, signal } = this.#options;
    if (deletion === undefined || this.#counts.deletedOrphans >= deletion.max) return;
    if (!deletion.isNoted(orphan)) return;
    const { key } = orphan;
    try {
      await this.#bucket.store.delete(key, { signal });
    } catch (error) {
      const failure = toStorageError(error);
      // This object has a retention or a lock. Others may still be deleted.
      if (failure.code !== 'ACCESS_DENIED') throw error;
      this.#deps.report({ kind: 'undeletable-orphan', key, reason: codeAndMessage(failure) });
      return;
    }
    this.#counts.deletedOrphans += 1;
    this.#deps.report({ kind: 'deleted-orphan', key });
  }

  #newKeyOf(uuid: string, tag: number): string {
    const { naming, format } = this.#bucket;
    return objectKey(uuid, contentTypeOf(tag), naming, format !== undefined);
  }
}

type Known = ReadonlyMap<string, IndexedAttachment>;

function knowsTooFew(known: number, unknown: number): boolean {
  return known * KNOWN_ONE_IN < known + unknown;
}

function toOrphan({ key, sizeBytes, modified }: ObjectInfo): Orphan {
  return { key, sizeBytes, modified: modified.toISOString() };
}

function attachmentOf({ uuid, tag }: UuidEntry) {
  return { uuid, contentType: contentTypeOf(tag) };
}

/** Whether a read of the attachment would try this key. */
function isKeyOf({ naming, hasKeys }: Side, key: string, uuid: string, tag: number): boolean {
  const contentType = contentTypeOf(tag);
  return (hasKeys ? [false, true] : [false]).some((encrypted) =>
    keysOf(uuid, contentType, naming, encrypted).includes(key),
  );
}

/** @returns the sizes that an object may have @param encrypted undefined if its name does not tell */
function sizesOf(
  { hasKeys }: Side,
  encrypted: boolean | undefined,
  plainBytes: number,
): readonly number[] {
  if (!hasKeys || encrypted === false) return [plainBytes];
  const sizes = FORMATS.map((format) => ciphertextSize(format, plainBytes));
  return encrypted === true ? sizes : [plainBytes, ...sizes];
}
