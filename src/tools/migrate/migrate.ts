// SPDX-License-Identifier: GPL-3.0-or-later
// All attachments of one store into another, beside Orthanc or without it.

import { setMaxListeners } from 'node:events';
import {
  type Attachment,
  type AttachmentStore,
  createAttachmentStore,
} from '../../attachments/attachments.ts';
import { copyVerified, readOptionsFor } from '../../attachments/copy.ts';
import { type Digest, digestOf, type Expected, requireDigest } from '../../attachments/digest.ts';
import {
  ContentType,
  folderOf,
  objectKey,
  type ParsedKey,
  parseKey,
} from '../../attachments/naming.ts';
import { createPlaceFailures } from '../../attachments/place-failures.ts';
import { ciphertextSize } from '../../encryption/sizes.ts';
import { codeAndMessage, type StorageError, toStorageError } from '../../errors.ts';
import { abortReason } from '../../store/abort.ts';
import { createSemaphore, forEachAtOnce } from '../../store/limit.ts';
import type { ObjectInfo } from '../../store/object-store.ts';
import type { IndexedContents } from '../common/indexed-contents.ts';
import type { Side } from '../common/sides.ts';
import { createUuidTable, type UuidTable } from '../common/uuid-table.ts';
import { createMigratedCopies } from './copies.ts';
import { contentBytesOf, needsTypes, requireKeys } from './source.ts';

/** Above, one at a time: from bucket to bucket each is in memory as a whole. */
const LARGE_BYTES = 32 * 1024 * 1024;
/** By default, and with Debian's settings, Orthanc keeps its index beside its files. */
const INDEX_FILE = /^index(-wal|-shm|-journal)?$/;

export interface MigrateOptions {
  readonly atOnce: number;
  /** Nothing is written. */
  readonly dryRun: boolean;
  /** Names that were copied and verified by an earlier run. */
  readonly isDone: (key: string) => boolean;
  /** Called once a copy has been verified. */
  readonly onDone: (key: string) => void;
  /** Waits until so many bytes may be sent, or read to be compared. */
  readonly throttle: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

export interface MigrateCounts {
  seen: number;
  copied: number;
  copiedBytes: number;
  /** With the right size and MD5, from this run's own reading. */
  alreadyThere: number;
  /** As an earlier run has noted. */
  skipped: number;
  /** There with another content, and nobody knows which of the two is right. */
  differs: number;
  /** Under names that the settings would never make. */
  foreign: number;
  /** Of SQLite, in Orthanc's own folder. */
  indexFiles: number;
  /** The index doesn't know it, hence nobody its type. */
  unknown: number;
  /** Removed or moved away by Orthanc after it was listed. */
  gone: number;
  failed: number;
}

export interface MigrateDependencies {
  readonly from: Side;
  readonly to: Side;
  /** Needed where the source's names don't tell the types and the target's do. Where it is there, each source is compared with it. */
  readonly index: IndexedContents | undefined;
  readonly failed: (key: string, reason: string) => void;
  readonly progress: (counts: MigrateCounts) => void;
}

/** Copies what is missing, and reads back what it copied. What is there with another content is replaced only where the index says that the
 *  source is right: a put is atomic, so that it is no half copy of an earlier run, and may be the only good one. Deletes nothing at
 *  the source.
 *  @throws StorageError where a listing fails, or so many objects in a row that it is the place that fails */
export async function migrate(
  deps: MigrateDependencies,
  options: MigrateOptions,
): Promise<MigrateCounts> {
  const { from, to, index } = deps;
  const { signal } = options;
  // Each object under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, signal);
  const counts: MigrateCounts = {
    seen: 0,
    copied: 0,
    copiedBytes: 0,
    alreadyThere: 0,
    skipped: 0,
    differs: 0,
    foreign: 0,
    indexFiles: 0,
    unknown: 0,
    gone: 0,
    failed: 0,
  };
  const large = createSemaphore(1);
  const placeFailures = createPlaceFailures();
  const copies = createMigratedCopies(deps);
  const asTheyLie = createAttachmentStore({ store: from.store, naming: from.naming });
  const there = await listSizes(to, signal);
  await forEachAtOnce(from.store.list(folderOf(from.naming), { signal }), options.atOnce, visit);
  for (const { key, failure } of await copies.settle({ signal })) {
    counts.copied -= 1;
    if (failure === undefined) counts.gone += 1;
    else fail(key, failure);
  }
  return counts;

  async function visit(object: ObjectInfo): Promise<void> {
    const parsed = parseKey(object.key, from.naming);
    counts.seen += 1;
    if (parsed === undefined) {
      if (from.isFileSystem && INDEX_FILE.test(object.key)) counts.indexFiles += 1;
      else counts.foreign += 1;
    } else {
      try {
        const copy = () => migrateOne(object, parsed);
        await (object.sizeBytes > LARGE_BYTES ? large.run(signal, copy) : copy());
      } catch (error) {
        if (signal.aborted) throw abortReason(signal);
        await noteFailure(object.key, toStorageError(error));
      }
    }
    deps.progress(counts);
  }

  async function noteFailure(key: string, failure: StorageError): Promise<void> {
    const isGone =
      failure.code === 'NOT_FOUND' && (await from.store.head(key, { signal })) === undefined;
    if (isGone) {
      counts.gone += 1;
      return;
    }
    fail(key, failure);
    placeFailures.add(failure);
  }

  function fail(key: string, failure: StorageError): void {
    counts.failed += 1;
    deps.failed(key, codeAndMessage(failure));
  }

  async function migrateOne(object: ObjectInfo, parsed: ParsedKey): Promise<void> {
    const { uuid } = parsed;
    const known = index?.find(uuid);
    // An encrypted object is larger than its content: one of the content's own size is plain, whatever it begins with.
    const isPlain = parsed.encrypted === undefined && known?.sizeBytes === object.sizeBytes;
    if (!isPlain) await requireKeys(from, object, parsed, { signal });
    const source = isPlain ? asTheyLie : from.attachments;
    const contentType =
      parsed.contentType ??
      known?.contentType ??
      (needsTypes({ from, to }) ? undefined : ContentType.Unknown);
    if (contentType === undefined) {
      counts.unknown += 1;
      return;
    }
    const attachment = { uuid, contentType };
    const expected = known ?? {
      sizeBytes: await contentBytesOf(from, object, attachment, { signal }),
      md5Hex: undefined,
    };
    if (await isSettled(object, source, attachment, expected)) return;
    if (!options.dryRun) await copy(object, source, attachment, expected);
    placeFailures.succeeded();
    counts.copied += 1;
    counts.copiedBytes += object.sizeBytes;
  }

  /** @returns false where it is to be copied */
  async function isSettled(
    { key: sourceKey, sizeBytes }: ObjectInfo,
    source: AttachmentStore,
    attachment: Attachment,
    expected: Expected,
  ): Promise<boolean> {
    const storedBytes = there.get(attachment.uuid)?.sizeBytes;
    if (storedBytes === undefined) return false;
    const key = keyOf(attachment);
    if (mayBeStoredSo(to, storedBytes, expected) && options.isDone(key)) {
      counts.skipped += 1;
      return true;
    }
    await options.throttle(sizeBytes);
    const [mine, theirs] = await Promise.all([
      digestOf(source, attachment, readOptionsFor(expected, { signal })),
      digestOfCopy(to.attachments, attachment),
    ]);
    placeFailures.succeeded();
    requireDigest(mine, expected, 'the source');
    if (theirs === undefined) return false;
    if (theirs !== 'damaged' && isEqual(mine, theirs)) {
      // Else it is encrypted where it is not to be, or the other way round.
      if (storedBytes !== sizeAt(to, mine)) return false;
      counts.alreadyThere += 1;
      options.onDone(key);
      return true;
    }
    // Compared with the index above: the source is right.
    if (expected.md5Hex !== undefined) return false;
    const opened = to.decrypting && (await digestOfCopy(to.decrypting, attachment));
    if (opened !== undefined && opened !== 'damaged' && isEqual(mine, opened)) return false;
    counts.differs += 1;
    deps.failed(
      sourceKey,
      `differs: "${key}" is there with another content, and is left as it is; --orthanc tells which of the two is right, else delete the wrong one`,
    );
    return true;
  }

  /** @returns undefined where it is under another name, if anywhere */
  async function digestOfCopy(
    attachments: AttachmentStore,
    attachment: Attachment,
  ): Promise<Digest | 'damaged' | undefined> {
    try {
      return await digestOf(attachments, attachment, { signal });
    } catch (error) {
      const { code } = toStorageError(error);
      if (code === 'NOT_FOUND') return undefined;
      if (code === 'INTEGRITY' || code === 'SHORT_BODY') return 'damaged';
      throw error;
    }
  }

  async function copy(
    { key, sizeBytes }: ObjectInfo,
    source: AttachmentStore,
    attachment: Attachment,
    expected: Expected,
  ): Promise<void> {
    await options.throttle(sizeBytes);
    const work = { attachment, from: source, to: to.attachments, expected };
    copies.add(attachment, sizeAt(to, await copyVerified(work, { signal })));
    // On a disk, to look costs no request.
    if (from.isFileSystem && (await from.store.head(key, { signal })) === undefined) {
      copies.addSourceless(attachment);
      return;
    }
    options.onDone(keyOf(attachment));
  }

  function keyOf({ uuid, contentType }: Attachment): string {
    return objectKey(uuid, contentType, to.naming, false);
  }
}

function isEqual(one: Digest, other: Digest): boolean {
  return one.sizeBytes === other.sizeBytes && one.md5Hex === other.md5Hex;
}

/** The target's objects, so that what is missing costs no request of its own. */
async function listSizes(side: Side, signal: AbortSignal): Promise<UuidTable> {
  const sizes = createUuidTable();
  for await (const { key, sizeBytes } of side.store.list(folderOf(side.naming), { signal })) {
    const uuid = parseKey(key, side.naming)?.uuid;
    if (uuid !== undefined) sizes.set(uuid, sizeBytes, 0);
  }
  return sizes;
}

/** Of an object as it would be written now. */
function sizeAt(
  { format, lookalikeFormat }: Side,
  { sizeBytes, isLookalike }: Pick<Digest, 'sizeBytes' | 'isLookalike'>,
): number {
  const chosen = isLookalike ? lookalikeFormat : format;
  return chosen === undefined ? sizeBytes : ciphertextSize(chosen, sizeBytes);
}

/** As far as can be told without reading it. */
function mayBeStoredSo(to: Side, storedBytes: number, { sizeBytes }: Expected): boolean {
  if (sizeBytes === undefined) return true;
  return [false, true].some(
    (isLookalike) => storedBytes === sizeAt(to, { sizeBytes, isLookalike }),
  );
}
