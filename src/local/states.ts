// SPDX-License-Identifier: GPL-3.0-or-later
// What becomes of each object, in whatever order things happen. docs/decisions.md has the same as a table.
//
// An object is absent here, or it has one file that counts: pending (to be uploaded), removed (to be deleted in the bucket) or cached (the
// bucket has it, too). Four rules govern all that happens:
//
// 1. The file says what is to become of the object. Of several, the one with the highest sequence number counts, now and after a crash.
// 2. One request at a time may change an object in the bucket. When it ends, the file that counts then says what is next. One that may
//    still arrive, since it failed or its process was killed, is waited for, and the object has a file meanwhile.
// 3. A caller is told of success once the disk has the file, or once the bucket is as it should be and no file on the disk says otherwise.
// 4. A file goes only when the bucket is as it says, or when one with a higher number is on the disk. Of several,
//    each goes when the disk has lost those with lower numbers.
//
// So what was acknowledged last is on the disk or in the bucket (nothing is lost), and no earlier file and no earlier request is left that
// could undo it (nothing comes back).

import { isRefusal, StorageError, toStorageError } from '../errors.ts';
import { abortReason, Cancellation, type Signal, tellFailure } from '../store/abort.ts';
import { bodyOf } from '../store/bodies.ts';
import type { Body, ObjectStore, OperationOptions, PutOptions } from '../store/object-store.ts';
import { type Disk, isLocal, mayHaveName, type OpenObject } from './disk.ts';
import {
  comesAfter,
  FOLDERS,
  hashOf,
  isTemporary,
  type LocalFile,
  parseName,
  pathOf,
} from './names.ts';

/** The bucket may still carry out a request whose answer never came. The next one for that object waits for so long. */
const LATE_MS = 10_000;
/** Of objects whose change of name the disk may not have yet. */
const UNSYNCED_MAX = 1000;
const DISK_BLOCK_BYTES = 4096;

export interface StateOptions {
  readonly disk: Disk;
  readonly bucket: Pick<ObjectStore, 'put' | 'delete'>;
  readonly writeBack: boolean;
  readonly maxBytes: number;
  /** Orthanc's SyncStorageArea. */
  readonly isSynchronous: boolean;
  /** Something may be to be uploaded or deleted. */
  readonly onWork: () => void;
  /** The disk cannot take a new object, which goes to the bucket instead. */
  readonly onWriteThrough: (why: string) => void;
  readonly now?: () => number;
  readonly lateMs?: number;
}

/** An object with a file that says what is to be done, or with a request under way. */
export interface Entry {
  readonly hash: string;
  /** undefined: only its file tells. */
  key: string | undefined;
  file: LocalFile | undefined;
  /** Earlier ones that may still be on the disk. */
  leftovers: readonly LocalFile[];
  /** That may change the object in the bucket. Never rejects. */
  request: Promise<void> | undefined;
  /** Callers that hold this entry. */
  users: number;
  /** The note of a removal that is under way. Resolves once the disk has it. */
  noted: Promise<void> | undefined;
  abortUpload: (() => void) | undefined;
  /** Until then, the bucket may carry out a request that has not failed for sure, or that of a process before this one. */
  lateUntilMs: number;
  /** The bucket has it, whether or not its file could be renamed. */
  uploaded: LocalFile | undefined;
}

/** A read of the bucket that is to become a cached file, unless the object changes meanwhile. */
export interface Fill {
  readonly key: string;
  readonly hash: string;
  /** Of its beginning: whatever is stored or removed from then on counts more, also after a crash. */
  readonly sequence: number;
  isCancelled: boolean;
  /** While it is being written. Never rejects. */
  commit: Promise<void> | undefined;
}

export interface LocalCounts {
  readonly pending: { readonly count: number; readonly bytes: number };
  readonly removals: number;
  readonly cached: { readonly count: number; readonly bytes: number };
}

export class ObjectStates {
  readonly #options: StateOptions;
  readonly #disk: Disk;
  readonly #now: () => number;
  /** Those with files in the order of these. */
  readonly #entries = new Map<string, Entry>();
  /** The least recently used first. */
  readonly #cached = new Map<string, LocalFile>();
  readonly #fills = new Map<string, Fill>();
  /** Cached files that are being removed. */
  readonly #drops = new Map<string, Promise<unknown>>();
  /** Objects whose files may be pending or removed again after a power cut, by the number of the change. */
  readonly #unsynced = new Map<string, number>();
  #changes = 0;
  #sequence = 0;
  #pending = { count: 0, bytes: 0 };
  /** Until it is deleted in the bucket, a removed object may take as much of the disk as before. */
  #removed = { count: 0, bytes: 0 };
  #cachedBytes = 0;
  #evicting = false;
  #reservedBytes = 0;

  constructor(options: StateOptions) {
    this.#options = options;
    this.#disk = options.disk;
    this.#now = options.now ?? (() => performance.now());
  }

  /** At the start, perhaps after a crash: the names of the files are all that is needed. */
  async load(): Promise<void> {
    const newest = new Map<string, LocalFile>();
    const losers: LocalFile[] = [];
    for (const folder of FOLDERS) {
      for (const name of await this.#disk.list(folder)) {
        // Nobody was told of what has not got its name.
        if (isTemporary(name)) await this.#disk.unlink(`${folder}/${name}`);
        const file = parseName(folder, name);
        if (file === undefined) continue;
        this.#sequence = Math.max(this.#sequence, file.sequence);
        const other = newest.get(file.hash);
        const isNewer = other === undefined || comesAfter(file, other);
        if (isNewer) newest.set(file.hash, file);
        const loser = isNewer ? other : file;
        if (loser !== undefined) losers.push(loser);
      }
    }
    // Rule 4: the process before may have ended before the disk had the name of the one with the higher number.
    if (losers.length > 0) await this.#sync();
    for (const loser of losers) await this.#disk.unlink(pathOf(loser));
    const files = [...newest.values()].sort((a, b) => a.sequence - b.sequence);
    for (const file of files) {
      if (file.kind === 'cached') {
        this.#addCached(file);
        continue;
      }
      const entry = this.#entryOf(file.hash, undefined);
      this.#setFile(entry, file);
      this.#expectLate(entry);
    }
    await this.#sync();
  }

  get counts(): LocalCounts {
    return {
      pending: { ...this.#pending },
      removals: this.#removed.count,
      cached: { count: this.#cached.size, bytes: this.#cachedBytes },
    };
  }

  /** What is to be done, the oldest first. */
  *work(): Iterable<Entry & { readonly file: LocalFile }> {
    for (const entry of this.#entries.values()) {
      if (hasFile(entry)) yield entry;
      else this.#forgetIfIdle(entry);
    }
  }

  /** @returns the file that counts; a cached one is now the most recently used */
  find(key: string): LocalFile | undefined {
    const hash = hashOf(key);
    const file = this.#entries.get(hash)?.file;
    if (file !== undefined) return file;
    const cached = this.#cached.get(hash);
    if (cached !== undefined) {
      this.#cached.delete(hash);
      this.#cached.set(hash, cached);
    }
    return cached;
  }

  /** Resolves once the object is safe on the disk; where it has no room or fails, once the bucket has it. */
  async put(key: string, body: Body, options: PutOptions): Promise<void> {
    const { writeBack, onWriteThrough } = this.#options;
    if (!writeBack || options.onlyIfVersion !== undefined) {
      return await this.#putThrough(key, body, options);
    }
    const hasRoom = this.mayKeep(body.sizeBytes);
    if (!hasRoom || !this.#disk.isResponsive) {
      onWriteThrough(hasRoom ? 'the disk hangs' : 'what is pending takes all of MaxSize');
      return await this.#putThrough(key, body, options);
    }
    const bytes = bytesOnDisk(body.sizeBytes);
    this.#reservedBytes += bytes;
    try {
      this.#makeRoom();
      const left = await this.#putPending(key, body, options);
      if (left !== 'pending') await this.#putThrough(key, body, options, left);
    } finally {
      this.#reservedBytes -= bytes;
    }
  }

  /** @returns undefined, or the file that may be there nevertheless, now or later, where the disk is full or fails */
  async #putPending(
    key: string,
    body: Body,
    { signal }: OperationOptions,
  ): Promise<'pending' | LocalFile | undefined> {
    const hash = hashOf(key);
    return await this.#withEntry(hash, key, async (entry) => {
      const file = this.#nextFile('pending', hash, body.sizeBytes);
      const isDurable = this.#options.isSynchronous;
      const covered = this.#changes;
      try {
        await this.#disk.write({ path: pathOf(file), key }, body, { isDurable, signal });
      } catch (error) {
        if (!isLocal(error)) throw error;
        this.#options.onWriteThrough(error.message);
        return mayHaveName(error) ? file : undefined;
      }
      // The caller has given up, and takes it for not stored.
      if (signal.aborted) {
        await this.#removeLeft(entry, file);
        throw abortReason(signal);
      }
      this.#forgetChanges(covered);
      void this.#cancelFill(hash);
      await this.#afterNotes(entry);
      if (entry.file !== undefined && comesAfter(entry.file, file)) {
        // A removal or another content came later.
        leave(entry, file);
        return 'pending';
      }
      if (entry.file !== undefined) leave(entry, entry.file);
      this.#setFile(entry, file);
      void this.#dropCached(hash);
      this.#options.onWork();
      return 'pending';
    });
  }

  /** As without a cache. An earlier file would undo it, so that goes before the caller is told.
   *  @param left a file of the same content, which a disk that fails may keep. It goes before the object is removed or stored anew */
  async #putThrough(key: string, body: Body, options: PutOptions, left?: LocalFile): Promise<void> {
    const hash = hashOf(key);
    await this.#withEntry(hash, key, async (entry) => {
      await this.#request(entry, async () => {
        if (this.#isLate(entry)) {
          throw new StorageError(
            'UNAVAILABLE',
            `an earlier upload of "${key}" may still arrive in the bucket; try again in some seconds`,
            { key },
          );
        }
        const sequence = this.#nextSequence();
        // First, since a failure does not tell whether the bucket has taken the content, nor does a crash.
        entry.uploaded = undefined;
        await Promise.all([this.#cancelFill(hash), this.#dropCached(hash)]);
        const { signal, ...others } = options;
        const put = (more: OperationOptions) =>
          this.#options.bucket.put(key, body, { ...others, ...more });
        // What is pending would be uploaded after it.
        await (entry.file === undefined ? put({ signal }) : this.#send(entry, signal, put));
        await this.#afterNotes(entry);
        const { file } = entry;
        if (file !== undefined && file.sequence < sequence) {
          leave(entry, file);
          this.#setFile(entry, undefined);
        }
        await this.#clearLeftovers(entry);
        if (this.#unsynced.has(hash)) await this.#sync();
      }).finally(async () => {
        if (left !== undefined) await this.#removeLeft(entry, left);
      });
    });
  }

  /** What cannot be removed goes before the next change of the object in the bucket. */
  async #removeLeft(entry: Entry, file: LocalFile): Promise<void> {
    // First, since a removal may begin meanwhile.
    leave(entry, file);
    if (!(await this.#unlinkQuietly(pathOf(file)))) return;
    this.#noteChange(entry.hash);
    entry.leftovers = entry.leftovers.filter((other) => other !== file);
  }

  /** Where a file or a request could undo a removal, it is noted on the disk and carried out later. Else the bucket is asked at once. */
  async remove(key: string, options: OperationOptions): Promise<void> {
    const hash = hashOf(key);
    const filling = this.#cancelFill(hash);
    await this.#withEntry(hash, key, async (entry) => {
      // A write that failed since then may have left a file with a higher number.
      if (entry.file?.kind === 'removed' && entry.leftovers.length === 0) {
        await entry.noted;
        if (this.#unsynced.has(hash)) await this.#sync();
        return;
      }
      if (entry.file !== undefined || entry.request !== undefined || this.#isLate(entry)) {
        return await this.#noteAlone(entry, () => this.#noteRemoval(entry, key));
      }
      await this.#request(entry, async () => {
        await Promise.all([filling, this.#dropCached(hash)]);
        await this.#clearLeftovers(entry);
        if (this.#unsynced.has(hash)) await this.#sync();
        await this.#send(entry, options.signal, (more) => this.#options.bucket.delete(key, more));
      });
    });
  }

  /** After another note of the object, since both would rename the same file. */
  async #noteAlone(entry: Entry, note: () => Promise<void>): Promise<void> {
    const before = entry.noted;
    const noted = before === undefined ? note() : before.then(note, note);
    entry.noted = noted;
    try {
      await noted;
    } finally {
      if (entry.noted === noted) entry.noted = undefined;
    }
  }

  async #noteRemoval(entry: Entry, key: string): Promise<void> {
    const { file: before, hash } = entry;
    const file = this.#nextFile('removed', hash, before?.sizeBytes ?? 0);
    // In memory first, so that no upload begins.
    this.#setFile(entry, file);
    void this.#dropCached(hash);
    entry.abortUpload?.();
    let isRenamed = false;
    try {
      isRenamed = before !== undefined && (await this.#renamed(before, file));
      if (isRenamed) {
        this.#noteChange(hash);
      } else {
        await this.#writeNote(file, key);
        // A rename that took too long may still bring it back.
        if (before !== undefined) leave(entry, before);
      }
    } catch (error) {
      // Without the note, nothing may be deleted. If its upload has ended meanwhile, the earlier file is about to go.
      const isUploaded = before !== undefined && entry.uploaded === before;
      if (isUploaded) leave(entry, before);
      if (isLocal(error) && mayHaveName(error)) leave(entry, file);
      if (entry.file === file) this.#setFile(entry, isUploaded ? undefined : before);
      throw error;
    } finally {
      this.#options.onWork();
    }
    if (isRenamed) await this.#sync();
  }

  /** Whether a removal counts shows when the disk has taken its note, or has not. */
  async #afterNotes(entry: Entry): Promise<void> {
    for (let noted = entry.noted; noted !== undefined; ) {
      await noted.catch(() => undefined);
      if (entry.noted === noted) return;
      noted = entry.noted;
    }
  }

  async #writeNote(file: LocalFile, key: string): Promise<void> {
    const isDurable = this.#options.isSynchronous;
    const signal = new Cancellation();
    await this.#disk.write({ path: pathOf(file), key }, bodyOf(new Uint8Array()), {
      isDurable,
      signal,
    });
  }

  /** Until then, an earlier request may still change the object in the bucket. */
  dueMs({ lateUntilMs }: Entry): number {
    return lateUntilMs;
  }

  /** Does what the file says, by one request. Another file may count afterwards.
   *  @returns whether that is done
   *  @throws StorageError what the request, or the disk, failed with. The file stays */
  async carryOut(entry: Entry, options: OperationOptions): Promise<boolean> {
    const { file } = entry;
    if (file === undefined) return false;
    return await this.#withEntry(entry.hash, entry.key, () =>
      this.#request(entry, async () => {
        if (entry.file !== file) return false;
        if (file.kind === 'removed') return await this.#deleteObject(entry, file, options);
        return await this.#upload(entry, file, options);
      }),
    );
  }

  async #deleteObject(
    entry: Entry,
    file: LocalFile,
    { signal }: OperationOptions,
  ): Promise<boolean> {
    // If the disk did not take the note, the object stays.
    await this.#afterNotes(entry);
    if (entry.file !== file) return false;
    const key = await this.#keyOf(entry, file);
    await this.#send(entry, signal, (options) => this.#options.bucket.delete(key, options));
    // The note stays, and the object is deleted again.
    if (this.#isLate(entry)) return false;
    // An earlier content may still be on its way out of the cache.
    await this.#dropCached(entry.hash);
    await this.#clearLeftovers(entry);
    try {
      await this.#disk.unlink(pathOf(file));
    } catch (error) {
      // A disk that hung may still let go of it, so that it no longer vouches for a removal that comes now.
      leave(entry, file);
      throw error;
    }
    this.#noteChange(entry.hash);
    if (entry.file === file) this.#setFile(entry, undefined);
    return true;
  }

  async #upload(entry: Entry, file: LocalFile, { signal }: OperationOptions): Promise<boolean> {
    if (entry.uploaded !== file) {
      const opened = await this.#open(entry, file);
      if (opened === undefined) return false;
      const { key } = opened;
      const upload = new Cancellation(signal);
      entry.abortUpload = () => {
        upload.abort(new StorageError('ABORTED', 'the object was removed', { key }));
      };
      let isUnused = false;
      try {
        if (entry.file !== file) return false;
        await this.#send(entry, upload, (options) =>
          this.#options.bucket.put(key, opened.body, options),
        );
        isUnused = true;
      } catch (error) {
        if (entry.file !== file) return false;
        throw error;
      } finally {
        entry.abortUpload = undefined;
        upload.release();
        opened.close(isUnused);
      }
      entry.uploaded = file;
    }
    await this.#clearLeftovers(entry);
    const cached: LocalFile = { ...file, kind: 'cached' };
    const isRenamed = await this.#renamed(file, cached);
    // It may be there although it could not be renamed: somebody has removed the folder of cached files.
    if (!isRenamed && entry.file === file) {
      await this.#disk.unlink(pathOf(file));
      await this.#disk.unlink(pathOf(cached));
    }
    this.#noteChange(entry.hash);
    if (entry.file !== file) {
      if (isRenamed) await this.#disk.unlink(pathOf(cached));
      return true;
    }
    entry.uploaded = undefined;
    this.#setFile(entry, undefined);
    if (isRenamed) this.#addCached(cached);
    return true;
  }

  /** @returns undefined where the file no longer counts, also because a disk that hung has made it the note of a removal, too late */
  async #open(
    entry: Entry,
    file: LocalFile,
  ): Promise<(OpenObject & { readonly key: string }) | undefined> {
    try {
      const key = await this.#keyOf(entry, file);
      const object = { path: pathOf(file), key, sizeBytes: file.sizeBytes };
      return { ...(await this.#disk.open(object)), key };
    } catch (error) {
      if (entry.file !== file) return undefined;
      const note = entry.leftovers.find(
        (other) => other.kind === 'removed' && comesAfter(other, file),
      );
      if (note === undefined || !isLocal(error, 'NOT_FOUND')) throw error;
      entry.leftovers = entry.leftovers.filter((other) => other !== note);
      this.#noteChange(entry.hash);
      this.#setFile(entry, note);
      return undefined;
    }
  }

  /** Of several attempts, an earlier one may still arrive, however the last one ended. */
  async #send(
    entry: Entry,
    signal: Signal,
    request: (options: OperationOptions) => Promise<void>,
  ): Promise<void> {
    const attempts = new Cancellation(signal);
    let mayArrive = false;
    attempts.onFailure = (failure) => {
      mayArrive = true;
      tellFailure(signal, failure);
    };
    try {
      await request({ signal: attempts });
    } catch (error) {
      mayArrive ||= !isRefusal(toStorageError(error));
      throw error;
    } finally {
      attempts.release();
      if (mayArrive) this.#expectLate(entry);
    }
  }

  /** @returns undefined where the object is about to change, or here already */
  beginFill(key: string): Fill | undefined {
    const hash = hashOf(key);
    const entry = this.#entries.get(hash);
    const isBusy =
      entry !== undefined && (entry.file !== undefined || entry.users > 0 || this.#isLate(entry));
    if (isBusy || this.#cached.has(hash) || this.#fills.has(hash) || !this.#disk.isResponsive) {
      return undefined;
    }
    const sequence = this.#nextSequence();
    const fill: Fill = { key, hash, sequence, isCancelled: false, commit: undefined };
    this.#fills.set(hash, fill);
    return fill;
  }

  /** Whether a file of this size has room beside what must stay. */
  mayKeep(sizeBytes: number): boolean {
    return this.#lastingBytes + bytesOnDisk(sizeBytes) <= this.#options.maxBytes;
  }

  /** @param write makes the file. A failure of the disk costs the cached file only.
   *  @returns whether there is a cached file now */
  async commitFill(
    fill: Fill,
    sizeBytes: number,
    write: (path: string) => Promise<void>,
  ): Promise<boolean> {
    const { hash, sequence } = fill;
    const file = this.#nextFile('cached', hash, sizeBytes, sequence);
    const commit = async () => {
      try {
        if (!fill.isCancelled && this.mayKeep(sizeBytes)) {
          await write(pathOf(file));
          if (!fill.isCancelled) return this.#addCached(file);
        }
      } catch {
        // The next read tries again.
      }
      await this.#unlinkQuietly(pathOf(file));
    };
    fill.commit = commit();
    await fill.commit;
    this.endFill(fill);
    return this.#cached.get(hash) === file;
  }

  endFill(fill: Fill): void {
    if (this.#fills.get(fill.hash) === fill) this.#fills.delete(fill.hash);
  }

  /** Of a cached file that is damaged or gone. */
  async drop(file: LocalFile): Promise<void> {
    if (this.#cached.get(file.hash) === file) await this.#dropCached(file.hash);
  }

  /** @returns when its file is gone, if it was being written */
  #cancelFill(hash: string): Promise<void> | undefined {
    const fill = this.#fills.get(hash);
    if (fill === undefined) return undefined;
    fill.isCancelled = true;
    this.#fills.delete(hash);
    return fill.commit;
  }

  #addCached(file: LocalFile): void {
    this.#cached.set(file.hash, file);
    this.#cachedBytes += bytesOnDisk(file.sizeBytes);
    this.#makeRoom();
  }

  /** Resolves when its file is gone, also if it has been on its way before. */
  async #dropCached(hash: string): Promise<void> {
    const file = this.#cached.get(hash);
    if (file === undefined) {
      await this.#drops.get(hash);
      return;
    }
    this.#cached.delete(hash);
    this.#cachedBytes -= bytesOnDisk(file.sizeBytes);
    const drop = this.#unlinkQuietly(pathOf(file));
    this.#drops.set(hash, drop);
    await drop;
    if (this.#drops.get(hash) === drop) this.#drops.delete(hash);
  }

  /** Pending files never go. */
  #makeRoom(): void {
    if (this.#fits || this.#evicting) return;
    this.#evicting = true;
    void this.#evict().finally(() => {
      this.#evicting = false;
    });
  }

  /** One after the other: a MaxSize that was lowered may let go of a million. */
  async #evict(): Promise<void> {
    for (const hash of this.#cached.keys()) {
      if (this.#fits) return;
      await this.#dropCached(hash);
    }
  }

  get #fits(): boolean {
    return this.#lastingBytes + this.#cachedBytes <= this.#options.maxBytes;
  }

  async #clearLeftovers(entry: Entry): Promise<void> {
    // One of them may be on its way to the disk.
    await this.#afterNotes(entry);
    if (entry.leftovers.length === 0) return;
    const leftovers = entry.leftovers.toSorted((a, b) => a.sequence - b.sequence);
    for (const file of leftovers) {
      await this.#disk.unlink(pathOf(file));
      this.#noteChange(entry.hash);
      // After a power cut, an earlier one must not be back without those that came after it.
      await this.#sync();
    }
    entry.leftovers = entry.leftovers.filter((file) => !leftovers.includes(file));
  }

  /** @returns false where the file is no longer there: another event has renamed it at this moment */
  async #renamed(from: LocalFile, to: LocalFile): Promise<boolean> {
    try {
      await this.#disk.rename(pathOf(from), pathOf(to));
      return true;
    } catch (error) {
      if (isLocal(error, 'NOT_FOUND')) return false;
      throw error;
    }
  }

  async #keyOf(entry: Entry, file: LocalFile): Promise<string> {
    entry.key ??= await this.#disk.keyOf(pathOf(file));
    return entry.key;
  }

  /** Waits for the request that is under way. */
  async #request<T>(entry: Entry, work: () => Promise<T>): Promise<T> {
    while (entry.request !== undefined) await entry.request;
    const running = work();
    entry.request = running.then(
      () => undefined,
      () => undefined,
    );
    try {
      return await running;
    } finally {
      entry.request = undefined;
      this.#options.onWork();
    }
  }

  async #withEntry<T>(
    hash: string,
    key: string | undefined,
    work: (entry: Entry) => Promise<T>,
  ): Promise<T> {
    const entry = this.#entryOf(hash, key);
    entry.users += 1;
    try {
      return await work(entry);
    } finally {
      entry.users -= 1;
      this.#forgetIfIdle(entry);
    }
  }

  #forgetIfIdle(entry: Entry): void {
    const { users, file, leftovers } = entry;
    if (users > 0 || file !== undefined || leftovers.length > 0 || this.#isLate(entry)) return;
    this.#entries.delete(entry.hash);
  }

  /** Its file stays on the disk for so long, so that a process after this one waits as well. */
  #expectLate(entry: Entry): void {
    entry.lateUntilMs = this.#now() + (this.#options.lateMs ?? LATE_MS);
  }

  /** A request that failed may still arrive in the bucket, also after a later one. */
  #isLate({ lateUntilMs }: Entry): boolean {
    return lateUntilMs > this.#now();
  }

  #entryOf(hash: string, key: string | undefined): Entry {
    let entry = this.#entries.get(hash);
    if (entry === undefined) {
      entry = newEntry(hash, key);
      this.#entries.set(hash, entry);
    }
    entry.key ??= key;
    return entry;
  }

  #setFile(entry: Entry, file: LocalFile | undefined): void {
    this.#count(entry.file, -1);
    this.#count(file, 1);
    entry.file = file;
    if (file === undefined) return;
    // Behind those with lower numbers.
    this.#entries.delete(entry.hash);
    this.#entries.set(entry.hash, entry);
  }

  #count(file: LocalFile | undefined, sign: 1 | -1): void {
    if (file === undefined) return;
    const total = file.kind === 'removed' ? this.#removed : this.#pending;
    total.count += sign;
    total.bytes += sign * bytesOnDisk(file.sizeBytes);
  }

  #nextFile(
    kind: LocalFile['kind'],
    hash: string,
    sizeBytes: number,
    sequence = this.#nextSequence(),
  ): LocalFile {
    return { kind, hash, sequence, sizeBytes, timeMs: Date.now() };
  }

  #nextSequence(): number {
    this.#sequence += 1;
    return this.#sequence;
  }

  /** A file has left its name, of which the disk may not know yet. */
  #noteChange(hash: string): void {
    if (!this.#options.isSynchronous) return;
    this.#changes += 1;
    this.#unsynced.delete(hash);
    this.#unsynced.set(hash, this.#changes);
    if (this.#unsynced.size % UNSYNCED_MAX === 0) void this.#sync().catch(() => undefined);
  }

  async #sync(): Promise<void> {
    if (!this.#options.isSynchronous) return;
    const covered = this.#changes;
    await this.#disk.sync('pending');
    this.#forgetChanges(covered);
  }

  /** The disk has them. */
  #forgetChanges(covered: number): void {
    for (const [hash, change] of this.#unsynced) {
      if (change > covered) break;
      this.#unsynced.delete(hash);
    }
  }

  /** @returns false if the file may still be there. If it is a cached one, that does no harm */
  async #unlinkQuietly(path: string): Promise<boolean> {
    try {
      await this.#disk.unlink(path);
      return true;
    } catch {
      return false;
    }
  }

  /** What must stay. */
  get #lastingBytes(): number {
    return this.#pending.bytes + this.#removed.bytes + this.#reservedBytes;
  }
}

export function newEntry(hash: string, key: string | undefined): Entry {
  return {
    hash,
    key,
    file: undefined,
    leftovers: [],
    request: undefined,
    users: 0,
    noted: undefined,
    abortUpload: undefined,
    lateUntilMs: 0,
    uploaded: undefined,
  };
}

/** A file that no longer counts goes with the next request, which needs the disk anyway. */
function leave(entry: Entry, file: LocalFile): void {
  entry.leftovers = [...entry.leftovers, file];
}

function hasFile(entry: Entry): entry is Entry & { readonly file: LocalFile } {
  return entry.file !== undefined;
}

function bytesOnDisk(sizeBytes: number): number {
  return Math.ceil((sizeBytes + 1) / DISK_BLOCK_BYTES) * DISK_BLOCK_BYTES;
}
