// SPDX-License-Identifier: GPL-3.0-or-later
// All attachments of one store into another, beside Orthanc or without it.

import { setMaxListeners } from 'node:events';
import type { Attachment } from '../attachments.ts';
import { detectFormat, MAGIC_BYTES } from '../encryption/header.ts';
import { ciphertextSize } from '../encryption/sizes.ts';
import { StorageError, toStorageError } from '../errors.ts';
import { ContentType, folderOf, objectKey, type ParsedKey, parseKey } from '../naming.ts';
import { abortReason } from '../store/abort.ts';
import { createLimiter } from '../store/limit.ts';
import type { ObjectInfo, ObjectStore } from '../store/object-store.ts';
import { forEachAtOnce } from './at-once.ts';
import { copyOnce, copyVerified } from './copy.ts';
import { digestOf } from './digest.ts';
import type { Side } from './side.ts';
import { createUuidTable, type UuidTable } from './uuid-table.ts';

/** Above, one at a time: from bucket to bucket each is in memory as a whole. */
const LARGE_BYTES = 32 * 1024 * 1024;

export interface MigrateOptions {
  readonly atOnce: number;
  /** Nothing is written. */
  readonly dryRun: boolean;
  /** Reads each copy and compares it, also those in a bucket, whose providers compare a checksum before they store anything. A file
   *  system has nothing of the kind: there each is read back in any case. */
  readonly readBack: boolean;
  /** Names that were copied and verified by an earlier run. */
  readonly isDone: (key: string) => boolean;
  /** Called once a copy has been verified. */
  readonly onDone: (key: string) => void;
  /** Waits until so many bytes may be sent. */
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
  foreign: number;
  /** Removed or moved away by Orthanc between listing and reading. */
  gone: number;
  failed: number;
}

export interface MigrateDependencies {
  readonly from: Side;
  readonly to: Side;
  /** Where the source's names don't tell, and the target's do; undefined: nobody knows. */
  readonly typeOf: (uuid: string) => ContentType | undefined;
  readonly failed: (key: string, reason: string) => void;
  readonly progress: (counts: MigrateCounts) => void;
}

/** Copies what is missing or different, and checks what it copied. Deletes nothing at the source. */
export async function migrate(
  deps: MigrateDependencies,
  options: MigrateOptions,
): Promise<MigrateCounts> {
  const { from } = deps;
  const { signal } = options;
  // Each object under way listens; from eleven on, Node would warn of a leak.
  setMaxListeners(0, signal);
  const counts: MigrateCounts = {
    seen: 0,
    copied: 0,
    copiedBytes: 0,
    alreadyThere: 0,
    skipped: 0,
    foreign: 0,
    gone: 0,
    failed: 0,
  };
  const isReadBack = options.readBack || deps.to.isFileSystem;
  const large = createLimiter(1);
  const copies = createUuidTable();
  const there = await listSizes(deps.to, signal);
  await forEachAtOnce(from.store.list(folderOf(from.naming), { signal }), options.atOnce, visit);
  if (copies.size > 0) await insistOnCopies();
  return counts;

  async function visit(object: ObjectInfo): Promise<void> {
    const parsed = parseKey(object.key, from.naming);
    counts.seen += 1;
    if (parsed === undefined) {
      counts.foreign += 1;
    } else {
      try {
        const copy = () => migrateOne(object, parsed);
        await (object.sizeBytes > LARGE_BYTES ? large.run(signal, copy) : copy());
      } catch (error) {
        if (signal.aborted) throw abortReason(signal);
        await noteFailure(object, toStorageError(error));
      }
    }
    deps.progress(counts);
  }

  async function noteFailure({ key }: ObjectInfo, failure: StorageError): Promise<void> {
    const isGone =
      failure.code === 'NOT_FOUND' && (await from.store.head(key, { signal })) === undefined;
    if (isGone) {
      counts.gone += 1;
      return;
    }
    counts.failed += 1;
    deps.failed(key, `${failure.code}: ${failure.message}`);
  }

  async function migrateOne(object: ObjectInfo, parsed: ParsedKey): Promise<void> {
    const { to, typeOf } = deps;
    const { uuid } = parsed;
    await insistOnKeys(from, object, parsed, signal);
    const attachment = { uuid, contentType: contentTypeOf(deps, parsed, typeOf) };
    const key = objectKey(uuid, attachment.contentType, to.naming, false);
    const plainBytes = await contentBytesOf(from, object, attachment, signal);
    const storedBytes = there.get(uuid)?.sizeBytes;
    const mayBeThere =
      storedBytes !== undefined &&
      (plainBytes === undefined || storedBytes === sizeAt(to, plainBytes));
    if (mayBeThere) {
      if (options.isDone(key)) {
        counts.skipped += 1;
        return;
      }
      if (await isSame(attachment)) {
        counts.alreadyThere += 1;
        options.onDone(key);
        return;
      }
    }
    if (!options.dryRun) {
      await options.throttle(object.sizeBytes);
      const expected = { sizeBytes: plainBytes, md5Hex: undefined };
      const copy = { attachment, from: from.attachments, to: to.attachments, expected };
      const contentBytes = isReadBack
        ? (await copyVerified(copy, { signal })).sizeBytes
        : await copyOnce(copy, { signal });
      copies.set(uuid, sizeAt(to, contentBytes), 0);
      options.onDone(key);
    }
    counts.copied += 1;
    counts.copiedBytes += object.sizeBytes;
  }

  async function isSame(attachment: Attachment): Promise<boolean> {
    try {
      const [mine, theirs] = await Promise.all(
        [from, deps.to].map((side) => digestOf(side.attachments, attachment, { signal })),
      );
      return mine?.md5Hex === theirs?.md5Hex && mine?.sizeBytes === theirs?.sizeBytes;
    } catch (error) {
      // Under another name, perhaps; and what can't be read whole is to be copied anew.
      const { code } = toStorageError(error);
      if (code === 'NOT_FOUND' || code === 'INTEGRITY' || code === 'SHORT_BODY') return false;
      throw error;
    }
  }

  /** Each is listed, with the size that it was written with. */
  async function insistOnCopies(): Promise<void> {
    const { to } = deps;
    for await (const { key, sizeBytes } of to.store.list(folderOf(to.naming), { signal })) {
      const uuid = parseKey(key, to.naming)?.uuid;
      if (uuid !== undefined && copies.get(uuid)?.sizeBytes === sizeBytes) copies.mark(uuid);
    }
    for (const { uuid } of copies.unmarked()) {
      counts.copied -= 1;
      counts.failed += 1;
      deps.failed(uuid, 'INTEGRITY: the target does not list it as it was written');
    }
  }
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
function sizeAt({ format }: Side, plainBytes: number): number {
  return format === undefined ? plainBytes : ciphertextSize(format, plainBytes);
}

/** Whether the types of files must be known beside their names: flat names have them, and objects of A2 are bound to them. */
export function needsTypes({ from, to }: Pick<MigrateDependencies, 'from' | 'to'>): boolean {
  if (from.naming.structure === 'flat') return from.naming.legacyUnknownFiles;
  // What the C++ plugins have left on the disk is A1, which is bound to no type.
  const isBound = from.hasKeys && !from.isFileSystem;
  return to.naming.structure === 'flat' || to.format !== undefined || isBound;
}

function contentTypeOf(
  sides: Pick<MigrateDependencies, 'from' | 'to'>,
  { uuid, contentType }: ParsedKey,
  typeOf: (uuid: string) => ContentType | undefined,
): ContentType {
  const type = contentType ?? typeOf(uuid);
  if (type !== undefined) return type;
  if (!needsTypes(sides)) return ContentType.Unknown;
  throw new StorageError('NOT_FOUND', "Orthanc's index does not know it, hence nobody its type");
}

/** @returns undefined where only reading the whole tells: another name of the same attachment may be read */
async function contentBytesOf(
  { hasKeys, isFileSystem, attachments }: Side,
  object: ObjectInfo,
  attachment: Attachment,
  signal: AbortSignal,
): Promise<number | undefined> {
  if (!hasKeys) return object.sizeBytes;
  if (!isFileSystem) return undefined;
  // Of a file, a look at its first bytes costs no request.
  return (
    (await attachments.find(attachment, { signal }))?.encryption?.contentBytes ?? object.sizeBytes
  );
}

/** What is encrypted must not be taken for a content.
 *  @throws StorageError UNKNOWN_KEY */
async function insistOnKeys(
  { store, isFileSystem, hasKeys }: Side,
  object: ObjectInfo,
  parsed: ParsedKey,
  signal: AbortSignal,
): Promise<void> {
  if (isFileSystem || hasKeys) return;
  if (parsed.encrypted ?? (await startsEncrypted(store, object, signal))) {
    throw new StorageError(
      'UNKNOWN_KEY',
      'it is encrypted, and the configuration that it is read by has no keys',
      { key: object.key },
    );
  }
}

async function startsEncrypted(
  store: ObjectStore,
  { key, sizeBytes }: ObjectInfo,
  signal: AbortSignal,
): Promise<boolean> {
  if (sizeBytes < MAGIC_BYTES) return false;
  const bytes = Buffer.alloc(MAGIC_BYTES);
  await store.get(
    key,
    { start: 0, end: MAGIC_BYTES },
    {
      begin: () => undefined,
      write: (offset, piece) => {
        bytes.set(piece, offset);
      },
    },
    { signal },
  );
  return detectFormat(bytes) !== undefined;
}
