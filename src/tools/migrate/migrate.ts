// SPDX-License-Identifier: GPL-3.0-or-later
// Copies all attachments of one store into another. Orthanc may run meanwhile.

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
import { PlaceFailures } from '../../attachments/place-failures.ts';
import { ciphertextSize } from '../../encryption/sizes.ts';
import { codeAndMessage, type StorageError, toStorageError } from '../../errors.ts';
import { abortReason } from '../../store/abort.ts';
import { forEachAtOnce, Semaphore } from '../../store/limit.ts';
import type { ObjectInfo, OperationOptions } from '../../store/object-store.ts';
import type { IndexedContents } from '../common/indexed-contents.ts';
import type { Side } from '../common/sides.ts';
import { UuidTable } from '../common/uuid-table.ts';
import { MigratedCopies } from './copies.ts';
import { contentBytesOf, needsTypes, requireKeys } from './source.ts';

/** Larger objects are copied one at a time, because a copy from bucket to bucket holds the whole object in memory. */
const LARGE_BYTES = 32 * 1024 * 1024;
/** By default, and with Debian's settings, Orthanc keeps its index in the same folder as its files. */
const INDEX_FILE = /^index(-wal|-shm|-journal)?$/;

export interface MigrateOptions {
  readonly atOnce: number;
  readonly dryRun: boolean;
  /** Whether an earlier run has copied and verified it. */
  readonly isDone: (key: string) => boolean;
  /** Called once a copy has been verified. */
  readonly onDone: (key: string) => void;
  /** Waits until so many bytes may be copied or compared. */
  readonly throttle: (bytes: number) => Promise<void>;
  readonly signal: AbortSignal;
}

export type MigrateCounts = ReturnType<typeof noCounts>;

function noCounts() {
  return {
    seen: 0,
    copied: 0,
    copiedBytes: 0,
    /** This run has compared size and MD5. */
    alreadyThere: 0,
    /** An earlier run has noted them in the journal. */
    skipped: 0,
    /** The target has another content, and nobody knows which of the two is right. */
    differs: 0,
    /** Their names are not Orthanc's. */
    foreign: 0,
    /** Files of Orthanc's SQLite index. */
    indexFiles: 0,
    /** The index does not know them, so their types are unknown. */
    unknown: 0,
    /** Orthanc has removed or moved them after the listing. */
    gone: 0,
    failed: 0,
  };
}

export interface Route {
  readonly from: Side;
  readonly to: Side;
}

export interface MigrateDependencies extends Route {
  /** See `needsTypes`. If given, each source is compared with it. */
  readonly index: IndexedContents | undefined;
  readonly failed: (key: string, reason: string) => void;
  readonly progress: (counts: MigrateCounts) => void;
}

/** Copies missing attachments and reads each copy back. Puts are atomic, so an object with another content is no half copy. It may be the
 *  only good one, and is replaced only if the index says that the source is right. Deletes nothing at the source.
 *  @throws StorageError if a listing fails, or too many objects in a row */
export async function migrate(
  deps: MigrateDependencies,
  options: MigrateOptions,
): Promise<MigrateCounts> {
  return await new Migration(deps, options, await listSizes(deps.to, options.signal)).run();
}

class Migration {
  readonly #deps: MigrateDependencies;
  readonly #options: MigrateOptions;
  readonly #from: Side;
  readonly #to: Side;
  /** Reads the source's objects without decrypting them. */
  readonly #undecrypted: AttachmentStore;
  /** Sizes of the target's objects. */
  readonly #targetSizes: UuidTable;
  readonly #copies: MigratedCopies;
  readonly #large = new Semaphore(1);
  readonly #placeFailures = new PlaceFailures();
  readonly #counts = noCounts();

  constructor(deps: MigrateDependencies, options: MigrateOptions, targetSizes: UuidTable) {
    const { from, to } = deps;
    this.#deps = deps;
    this.#options = options;
    this.#from = from;
    this.#to = to;
    this.#undecrypted = createAttachmentStore({ store: from.store, naming: from.naming });
    this.#targetSizes = targetSizes;
    this.#copies = new MigratedCopies(deps);
  }

  async run(): Promise<MigrateCounts> {
    const { signal, atOnce } = this.#options;
    const objects = this.#from.store.list(folderOf(this.#from.naming), { signal });
    await forEachAtOnce(objects, atOnce, (object) => this.#visit(object));
    for (const { key, failure } of await this.#copies.findLost({ signal })) {
      this.#counts.copied -= 1;
      if (failure === undefined) this.#counts.gone += 1;
      else this.#fail(key, failure);
    }
    return this.#counts;
  }

  async #visit(object: ObjectInfo): Promise<void> {
    const { signal } = this.#options;
    const parsed = parseKey(object.key, this.#from.naming);
    this.#counts.seen += 1;
    if (parsed === undefined) {
      const isIndex = this.#from.isFileSystem && INDEX_FILE.test(object.key);
      this.#counts[isIndex ? 'indexFiles' : 'foreign'] += 1;
    } else {
      try {
        const work = () => this.#migrate(object, parsed);
        await (object.sizeBytes > LARGE_BYTES ? this.#large.run(signal, work) : work());
      } catch (error) {
        if (signal.aborted) throw abortReason(signal);
        await this.#noteFailure(object.key, toStorageError(error));
      }
    }
    this.#deps.progress(this.#counts);
  }

  async #noteFailure(key: string, failure: StorageError): Promise<void> {
    if (failure.code === 'NOT_FOUND' && !(await this.#isAtSource(key))) {
      this.#counts.gone += 1;
      return;
    }
    this.#fail(key, failure);
    this.#placeFailures.add(failure);
  }

  async #isAtSource(key: string): Promise<boolean> {
    return (await this.#from.store.head(key, { signal: this.#options.signal })) !== undefined;
  }

  #fail(key: string, failure: StorageError): void {
    this.#counts.failed += 1;
    this.#deps.failed(key, codeAndMessage(failure));
  }

  async #migrate(object: ObjectInfo, parsed: ParsedKey): Promise<void> {
    const options = { signal: this.#options.signal };
    const { uuid } = parsed;
    const known = this.#deps.index?.find(uuid);
    // An encrypted object is larger than its content. An object of the same size is plain, even if it begins like an encrypted one.
    const isPlain = parsed.encrypted === undefined && known?.sizeBytes === object.sizeBytes;
    if (!isPlain) await requireKeys(this.#from, object, parsed, options);
    const contentType =
      parsed.contentType ??
      known?.contentType ??
      (needsTypes(this.#deps) ? undefined : ContentType.Unknown);
    if (contentType === undefined) {
      this.#counts.unknown += 1;
      return;
    }
    const attachment = { uuid, contentType };
    const expected = known ?? {
      sizeBytes: await contentBytesOf(this.#from, object, attachment, options),
      md5Hex: undefined,
    };
    const source = isPlain ? this.#undecrypted : this.#from.attachments;
    if (await this.#isCopied(object, source, attachment, expected)) return;
    if (!this.#options.dryRun) await this.#copy(object, source, attachment, expected);
    this.#placeFailures.succeeded();
    this.#counts.copied += 1;
    this.#counts.copiedBytes += object.sizeBytes;
  }

  /** @returns false if it must be copied; true also if the target's object must not be replaced */
  async #isCopied(
    { key: sourceKey, sizeBytes }: ObjectInfo,
    source: AttachmentStore,
    attachment: Attachment,
    expected: Expected,
  ): Promise<boolean> {
    const { signal, isDone, onDone, throttle } = this.#options;
    const { attachments, decrypting } = this.#to;
    const storedBytes = this.#targetSizes.get(attachment.uuid)?.sizeBytes;
    if (storedBytes === undefined) return false;
    const key = this.#keyOf(attachment);
    if (mayHaveSize(this.#to, storedBytes, expected) && isDone(key)) {
      this.#counts.skipped += 1;
      return true;
    }
    await throttle(sizeBytes);
    const [sourceDigest, copyDigest] = await Promise.all([
      digestOf(source, attachment, readOptionsFor(expected, { signal })),
      digestOfCopy(attachments, attachment, { signal }),
    ]);
    this.#placeFailures.succeeded();
    requireDigest(sourceDigest, expected, 'the source');
    if (copyDigest === undefined) return false;
    if (isEqual(sourceDigest, copyDigest)) {
      // Another size: the copy is encrypted and should not be, or the other way round.
      if (storedBytes !== sizeAt(this.#to, sourceDigest)) return false;
      this.#counts.alreadyThere += 1;
      onDone(key);
      return true;
    }
    // The index says that the source is right.
    if (expected.md5Hex !== undefined) return false;
    const opened = decrypting && (await digestOfCopy(decrypting, attachment, { signal }));
    if (isEqual(sourceDigest, opened)) return false;
    this.#counts.differs += 1;
    this.#deps.failed(
      sourceKey,
      `differs: "${key}" is there with another content, and is left as it is; --orthanc tells which of the two is right, else delete the wrong one`,
    );
    return true;
  }

  async #copy(
    { key, sizeBytes }: ObjectInfo,
    source: AttachmentStore,
    attachment: Attachment,
    expected: Expected,
  ): Promise<void> {
    const { signal, throttle, onDone } = this.#options;
    await throttle(sizeBytes);
    const work = { attachment, from: source, to: this.#to.attachments, expected };
    this.#copies.add(attachment, sizeAt(this.#to, await copyVerified(work, { signal })));
    // A lookup on the disk costs no request.
    if (this.#from.isFileSystem && !(await this.#isAtSource(key))) {
      this.#copies.addSourceless(attachment);
      return;
    }
    onDone(this.#keyOf(attachment));
  }

  #keyOf({ uuid, contentType }: Attachment): string {
    return objectKey(uuid, contentType, this.#to.naming, false);
  }
}

/** @returns undefined if there is no copy */
async function digestOfCopy(
  attachments: AttachmentStore,
  attachment: Attachment,
  options: OperationOptions,
): Promise<Digest | 'damaged' | undefined> {
  try {
    return await digestOf(attachments, attachment, options);
  } catch (error) {
    const { code } = toStorageError(error);
    if (code === 'NOT_FOUND') return undefined;
    if (code === 'INTEGRITY' || code === 'SHORT_BODY') return 'damaged';
    throw error;
  }
}

function isEqual(one: Digest, other: Digest | 'damaged' | undefined): boolean {
  if (other === undefined || other === 'damaged') return false;
  return one.sizeBytes === other.sizeBytes && one.md5Hex === other.md5Hex;
}

/** One listing replaces a request for each object. */
async function listSizes(side: Side, signal: AbortSignal): Promise<UuidTable> {
  const sizes = new UuidTable();
  for await (const { key, sizeBytes } of side.store.list(folderOf(side.naming), { signal })) {
    const uuid = parseKey(key, side.naming)?.uuid;
    if (uuid !== undefined) sizes.set(uuid, sizeBytes);
  }
  return sizes;
}

/** The size of the object if it were written now. */
function sizeAt(
  { format, lookalikeFormat }: Side,
  { sizeBytes, isLookalike }: Pick<Digest, 'sizeBytes' | 'isLookalike'>,
): number {
  const chosen = isLookalike ? lookalikeFormat : format;
  return chosen === undefined ? sizeBytes : ciphertextSize(chosen, sizeBytes);
}

/** Whether an object of this size may be the copy, judged without reading it. */
function mayHaveSize(to: Side, storedBytes: number, { sizeBytes }: Expected): boolean {
  if (sizeBytes === undefined) return true;
  return [false, true].some(
    (isLookalike) => storedBytes === sizeAt(to, { sizeBytes, isLookalike }),
  );
}
