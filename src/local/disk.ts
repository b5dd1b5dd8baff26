// SPDX-License-Identifier: GPL-3.0-or-later
// Files of LocalCache.Directory. Every step is bounded in time, and none runs on the event loop's thread, but for what an upload of more than
// ONE_PIECE_BYTES reads once more, after `open` has read it.

import * as fs from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorCode, StorageError, toStorageError } from '../errors.ts';
import { abortReason, type Signal } from '../store/abort.ts';
import { viewOf } from '../store/bodies.ts';
import { Semaphore } from '../store/limit.ts';
import { Memory } from '../store/memory.ts';
import type { Body, ByteRange, Sink } from '../store/object-store.ts';
import { fileBody } from '../store/regular-file.ts';
import { syncFolder } from '../store/sync-folder.ts';
import type { Folder } from './names.ts';
import {
  areIntact,
  BLOCK_BYTES,
  FOOTER_BYTES,
  parseFooter,
  parseTrailer,
  type Trailer,
  TrailerWriter,
  trailerBytes,
} from './object-file.ts';

/** The `store` of this disk's failures. */
export const LOCAL = 'local-cache';

/** Up to here an object is written and read at once, with its trailer. */
export const ONE_PIECE_BYTES = 1024 * 1024;
/** The trailer of an object of up to a gigabyte fits behind its last piece. */
const BUFFER_BYTES = ONE_PIECE_BYTES + 2 * BLOCK_BYTES;
const SPARE_BUFFERS = 16;
/** Of all memory with bytes that arrive faster than the disk writes. */
const QUEUE_MAX_BYTES = 32 * 1024 * 1024;

const STEP_TIMEOUT_MS = 15_000;
/** So long is a disk that hangs left alone. */
const HANG_PAUSE_MS = 30_000;

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants;
const CREATE = O_CREAT | O_EXCL | O_RDWR;
const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
const FILE_MODE = 0o600;

const openFile = promisify(fs.open);
const closeFile = promisify(fs.close);
const readFile = promisify(fs.read);
const writeFile = promisify(fs.write);
const syncData = promisify(fs.fdatasync);
const statFile = promisify(fs.fstat);
const listFolder = promisify(fs.readdir);
const renameFile = promisify(fs.rename);
const unlinkFile = promisify(fs.unlink);

export interface ObjectOnDisk {
  /** Relative to the folder. */
  readonly path: string;
  readonly key: string;
  readonly sizeBytes: number;
}

/** Failures are StorageErrors with `store: LOCAL`: NOT_FOUND without the file, INTEGRITY where it is damaged, TIMEOUT where the disk
 *  hangs, else UNAVAILABLE. What reading a body throws is passed on. */
export interface Disk {
  /** False: it hangs. Whoever can do without it should. */
  readonly isResponsive: boolean;
  list(folder: Folder): Promise<readonly string[]>;
  /** Writes a new file. With `isDurable`, the disk has its content in the end, though not its name. A file that fails is removed. */
  write(
    object: Omit<ObjectOnDisk, 'sizeBytes'>,
    body: Body,
    options: { readonly isDurable: boolean; readonly signal: Signal },
  ): Promise<void>;
  /** Writes a new file of bytes that come in any order. */
  receive(path: string): Receiving;
  rename(from: string, to: string): Promise<void>;
  /** A missing file is success. */
  unlink(path: string): Promise<void>;
  /** Waits until the disk has all names of this folder, as they are now. */
  sync(folder: Folder): Promise<void>;
  /** @param range as `withinObject` gives it; undefined: the whole
   *  @param sink gets verified bytes only */
  read(
    object: ObjectOnDisk,
    range: ByteRange | undefined,
    sink: Sink,
    signal: Signal,
  ): Promise<void>;
  /** The whole object, verified. */
  open(object: ObjectOnDisk): Promise<OpenObject>;
  /** The key of the object in a file. */
  keyOf(path: string): Promise<string>;
  /** Memory of more than ONE_PIECE_BYTES, to be given back once nobody uses it. */
  readonly buffers: Memory;
}

export interface OpenObject {
  readonly body: Body;
  /** @param isUnused nobody reads the body's memory any more. A socket may, after a request that failed. */
  close(isUnused: boolean): void;
}

export interface Receiving {
  /** @returns false where the disk is too slow for what comes, or fails: then it is to be given up */
  write(offset: number, bytes: Uint8Array): boolean;
  /** All bytes have come. */
  finish(key: string, sizeBytes: number): Promise<void>;
  giveUp(): Promise<void>;
}

export class FolderOnDisk implements Disk {
  readonly buffers = new Memory(BUFFER_BYTES, SPARE_BUFFERS);
  readonly #root: string;
  readonly #slots: Semaphore;
  readonly #syncs: Readonly<Record<Folder, SharedWork>> = {
    pending: new SharedWork(() => this.#step(() => syncFolder(join(this.#root, 'pending')))),
    cached: new SharedWork(() => this.#step(() => syncFolder(join(this.#root, 'cached')))),
  };
  #hangsUntilMs = 0;
  #queuedBytes = 0;

  /** @param maxAtOnce how many threads of libuv's it may take, for ever where the disk hangs. There are 16 (kThreadPoolSize in
   *  native/node_process.cpp), and some must be left to look up the names of hosts with */
  constructor(root: string, maxAtOnce = 4) {
    this.#root = root;
    this.#slots = new Semaphore(maxAtOnce);
  }

  get isResponsive(): boolean {
    return performance.now() >= this.#hangsUntilMs;
  }

  list(folder: Folder): Promise<readonly string[]> {
    return this.#step(() => listFolder(join(this.#root, folder)));
  }

  async write(
    { path, key }: Omit<ObjectOnDisk, 'sizeBytes'>,
    body: Body,
    { isDurable, signal }: { readonly isDurable: boolean; readonly signal: Signal },
  ): Promise<void> {
    const { sizeBytes } = body;
    const trailer = new TrailerWriter(key, sizeBytes);
    let isComplete = false;
    await this.#withBuffer(async (buffer) => {
      const fill = (at: number) => {
        const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, sizeBytes - at));
        body.readInto(at, piece);
        trailer.add(piece);
        const isLast = at + piece.length === sizeBytes;
        if (!isLast || piece.length + trailer.bytes > buffer.length) return piece;
        trailer.writeTo(buffer.subarray(piece.length));
        isComplete = true;
        return buffer.subarray(0, piece.length + trailer.bytes);
      };
      // Before the file is there: the content may be gone.
      let piece = fill(0);
      const file = await this.#open(path, CREATE);
      try {
        await this.#step((isOver) => writeAll(file, piece, 0, isOver));
        for (let at = ONE_PIECE_BYTES; at < sizeBytes; at += ONE_PIECE_BYTES) {
          if (signal.aborted) throw abortReason(signal);
          piece = fill(at);
          await this.#step((isOver) => writeAll(file, piece, at, isOver));
        }
        if (!isComplete) await this.#writeTrailer(file, trailer, sizeBytes);
        if (isDurable) await this.#step(() => syncData(file));
      } catch (error) {
        await this.unlink(path).catch(() => undefined);
        throw error;
      } finally {
        void this.#close(file);
      }
    });
  }

  receive(path: string): Receiving {
    const opening = this.#open(path, CREATE);
    // Whoever writes or finishes learns of a failure, perhaps much later.
    opening.catch(() => undefined);
    let isClosed = false;
    /** Only once: its number may be another file's by then. */
    const close = (file: number) => {
      if (!isClosed) void this.#close(file);
      isClosed = true;
    };
    let failure: unknown;
    let queue: Promise<void> = Promise.resolve();
    let current: { readonly buffer: Buffer; readonly start: number; bytes: number } | undefined;

    const writeAfter = async (
      before: Promise<void>,
      buffer: Buffer,
      bytes: number,
      start: number,
    ) => {
      await before;
      try {
        const file = await opening;
        if (failure === undefined) {
          await this.#step((isOver) => writeAll(file, buffer.subarray(0, bytes), start, isOver));
        }
        this.buffers.giveBack(buffer);
      } catch (error) {
        failure = error;
      }
      this.#queuedBytes -= buffer.length;
    };
    const flush = () => {
      if (current === undefined) return;
      const { buffer, bytes, start } = current;
      current = undefined;
      this.#queuedBytes += buffer.length;
      queue = writeAfter(queue, buffer, bytes, start);
    };
    const end = async () => {
      flush();
      await queue;
    };
    return {
      write: (offset, bytes) => {
        for (let at = 0; at < bytes.length; ) {
          if (current !== undefined && current.start + current.bytes !== offset + at) flush();
          if (failure !== undefined || this.#queuedBytes > QUEUE_MAX_BYTES) return false;
          current ??= { buffer: this.buffers.take(), start: offset + at, bytes: 0 };
          const piece = bytes.subarray(at, at + current.buffer.length - current.bytes);
          current.buffer.set(piece, current.bytes);
          current.bytes += piece.length;
          at += piece.length;
          if (current.bytes === current.buffer.length) flush();
        }
        return true;
      },
      finish: async (key, sizeBytes) => {
        await end();
        const file = await opening;
        try {
          if (failure !== undefined) throw toStorageError(failure);
          const trailer = new TrailerWriter(key, sizeBytes);
          await this.#withBuffer(async (buffer) => {
            for (let at = 0; at < sizeBytes; at += ONE_PIECE_BYTES) {
              const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, sizeBytes - at));
              if (!(await this.#step((isOver) => readAll(file, piece, at, isOver))))
                throw damaged(key);
              trailer.add(piece);
            }
          });
          await this.#writeTrailer(file, trailer, sizeBytes);
        } finally {
          close(file);
        }
      },
      giveUp: async () => {
        await end();
        try {
          close(await opening);
          await this.unlink(path);
        } catch {
          // It is a temporary file, or there is none.
        }
      },
    };
  }

  rename(from: string, to: string): Promise<void> {
    return this.#step(() => renameFile(join(this.#root, from), join(this.#root, to)));
  }

  async unlink(path: string): Promise<void> {
    try {
      await this.#step(() => unlinkFile(join(this.#root, path)));
    } catch (error) {
      if (!isLocal(error, 'NOT_FOUND')) throw error;
    }
  }

  sync(folder: Folder): Promise<void> {
    return this.#syncs[folder].run();
  }

  async read(
    object: ObjectOnDisk,
    range: ByteRange | undefined,
    sink: Sink,
    signal: Signal,
  ): Promise<void> {
    const { sizeBytes } = object;
    const { start, end } = range ?? { start: 0, end: sizeBytes };
    const firstBlock = start - (start % BLOCK_BYTES);
    const lastByte = Math.min(sizeBytes, Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES);
    await this.#withFile(object.path, (file) =>
      this.#withBuffer(async (buffer) => {
        const isMost = lastByte - firstBlock >= sizeBytes / 2;
        if (isMost && bytesOf(object) <= buffer.length) {
          const content = await this.#readWhole(file, object, buffer, firstBlock, lastByte);
          if (signal.aborted) throw abortReason(signal);
          sink.begin(end - start, sizeBytes);
          sink.write(0, content.subarray(start, end));
          return;
        }
        const trailer = await this.#readTrailer(file, object);
        for (let at = firstBlock; at < lastByte; at += ONE_PIECE_BYTES) {
          const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, lastByte - at));
          await this.#readBlocks(file, object, trailer, at, piece);
          if (signal.aborted) throw abortReason(signal);
          if (at === firstBlock) sink.begin(end - start, sizeBytes);
          const from = Math.max(start, at);
          sink.write(from - start, piece.subarray(from - at, Math.min(piece.length, end - at)));
        }
      }),
    );
  }

  async open(object: ObjectOnDisk): Promise<OpenObject> {
    const { path, key, sizeBytes } = object;
    const file = await this.#open(path, READ);
    const buffer = this.buffers.take();
    let body: Body;
    try {
      if (sizeBytes <= ONE_PIECE_BYTES) {
        body = viewOf(await this.#readWhole(file, object, buffer));
      } else {
        const trailer = await this.#readTrailer(file, object);
        for (let at = 0; at < sizeBytes; at += ONE_PIECE_BYTES) {
          const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, sizeBytes - at));
          await this.#readBlocks(file, object, trailer, at, piece);
        }
        body = fileBody(file, sizeBytes, () => damaged(key));
      }
    } catch (error) {
      void this.#close(file);
      throw error;
    }
    return {
      body,
      close: (isUnused) => {
        if (isUnused) this.buffers.giveBack(buffer);
        void this.#close(file);
      },
    };
  }

  async keyOf(path: string): Promise<string> {
    return await this.#withFile(path, async (file) => {
      const { size } = await this.#step(() => statFile(file));
      const bytes = Buffer.alloc(Math.min(size, FOOTER_BYTES));
      await this.#step((isOver) => readAll(file, bytes, size - bytes.length, isOver));
      const footer = parseFooter(bytes);
      const length = footer === undefined ? 0 : trailerBytes(footer.sizeBytes, footer.keyBytes);
      if (footer === undefined || footer.sizeBytes + length !== size) throw damaged(path);
      const trailer = Buffer.alloc(length);
      await this.#step((isOver) => readAll(file, trailer, size - length, isOver));
      const parsed = parseTrailer(trailer);
      if (parsed === undefined) throw damaged(path);
      return parsed.key;
    });
  }

  /** With its trailer, by one step. @returns the object, verified from `firstBlock` to `lastByte` */
  async #readWhole(
    file: number,
    object: ObjectOnDisk,
    buffer: Uint8Array,
    firstBlock = 0,
    lastByte = object.sizeBytes,
  ): Promise<Uint8Array> {
    const { key, sizeBytes } = object;
    const whole = buffer.subarray(0, bytesOf(object));
    const isThere = await this.#step((isOver) => readAll(file, whole, 0, isOver));
    const trailer = isThere ? parseTrailer(whole.subarray(sizeBytes), key) : undefined;
    const content = whole.subarray(0, sizeBytes);
    const isIntact =
      trailer !== undefined &&
      areIntact(trailer, firstBlock, content.subarray(firstBlock, lastByte));
    if (!isIntact) throw damaged(key);
    return content;
  }

  async #readTrailer(file: number, { key, sizeBytes }: ObjectOnDisk): Promise<Trailer> {
    const bytes = Buffer.allocUnsafe(trailerBytes(sizeBytes, Buffer.byteLength(key)));
    const isThere = await this.#step((isOver) => readAll(file, bytes, sizeBytes, isOver));
    const trailer = isThere ? parseTrailer(bytes, key) : undefined;
    if (trailer === undefined) throw damaged(key);
    return trailer;
  }

  async #readBlocks(
    file: number,
    { key }: ObjectOnDisk,
    trailer: Trailer,
    start: number,
    target: Uint8Array,
  ): Promise<void> {
    const isThere = await this.#step((isOver) => readAll(file, target, start, isOver));
    if (!isThere || !areIntact(trailer, start, target)) throw damaged(key);
  }

  async #writeTrailer(file: number, trailer: TrailerWriter, position: number): Promise<void> {
    const bytes = Buffer.allocUnsafe(trailer.bytes);
    trailer.writeTo(bytes);
    await this.#step((isOver) => writeAll(file, bytes, position, isOver));
  }

  async #withFile<T>(path: string, work: (file: number) => Promise<T>): Promise<T> {
    const file = await this.#open(path, READ);
    try {
      return await work(file);
    } finally {
      void this.#close(file);
    }
  }

  /** Memory that a step which hangs may still write to is not used again. */
  async #withBuffer<T>(work: (buffer: Uint8Array) => Promise<T>): Promise<T> {
    const buffer = this.buffers.take();
    try {
      const result = await work(buffer);
      this.buffers.giveBack(buffer);
      return result;
    } catch (error) {
      if (!isLocal(error, 'TIMEOUT')) this.buffers.giveBack(buffer);
      throw error;
    }
  }

  /** A file that opens after nobody waits for it any more is closed again. */
  async #open(path: string, flags: number): Promise<number> {
    let isWanted = true;
    try {
      return await this.#step(async () => {
        const file = await openFile(join(this.#root, path), flags, FILE_MODE);
        if (!isWanted) void this.#close(file);
        return file;
      });
    } catch (error) {
      isWanted = false;
      throw error;
    }
  }

  /** In a slot, without a limit in time: where the disk hangs, this does, too. */
  async #close(file: number): Promise<void> {
    const release = await this.#slots.acquire(undefined);
    await closeQuietly(file);
    release();
  }

  /** A step that takes too long keeps its slot until the system has come back to it.
   *  @param work asks `isOver` before each of several calls. If so, nobody waits for it any more, and it must not go on */
  #step<T>(work: (isOver: () => boolean) => Promise<T>): Promise<T> {
    if (!this.isResponsive) return Promise.reject(hangs());
    return new Promise((resolve, reject) => {
      let isOver = false;
      const timer = setTimeout(() => {
        isOver = true;
        this.#hangsUntilMs = performance.now() + HANG_PAUSE_MS;
        reject(hangs());
      }, STEP_TIMEOUT_MS);
      const run = async () => {
        const release = await this.#slots.acquire(undefined);
        try {
          if (isOver || !this.isResponsive) throw hangs();
          resolve(await work(() => isOver));
        } catch (error) {
          reject(toLocalError(error));
        } finally {
          clearTimeout(timer);
          release();
        }
      };
      void run();
    });
  }
}

/** Callers while the work runs share the next run, since the one under way may have begun before what they wait for. */
class SharedWork {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  run(): Promise<void> {
    if (this.#running === undefined) return this.#begin();
    this.#next ??= this.#beginAfter(this.#running);
    return this.#next;
  }

  async #beginAfter(running: Promise<void>): Promise<void> {
    await running.catch(() => undefined);
    this.#next = undefined;
    await this.#begin();
  }

  #begin(): Promise<void> {
    const running = this.#work().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }
}

async function writeAll(
  file: number,
  bytes: Uint8Array,
  position: number,
  isOver: () => boolean,
): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    // The descriptor may be another file's by now.
    if (isOver()) throw hangs();
    const { bytesWritten } = await writeFile(file, bytes, at, bytes.length - at, position + at);
    at += bytesWritten;
  }
}

/** Of the file: the object and its trailer. */
function bytesOf({ key, sizeBytes }: ObjectOnDisk): number {
  return sizeBytes + trailerBytes(sizeBytes, Buffer.byteLength(key));
}

/** @returns false if the file ends before */
async function readAll(
  file: number,
  target: Uint8Array,
  position: number,
  isOver: () => boolean,
): Promise<boolean> {
  for (let at = 0; at < target.length; ) {
    if (isOver()) throw hangs();
    const { bytesRead } = await readFile(file, target, at, target.length - at, position + at);
    if (bytesRead === 0) return false;
    at += bytesRead;
  }
  return true;
}

async function closeQuietly(file: number): Promise<void> {
  try {
    await closeFile(file);
  } catch {
    // What had to be safe was synced before.
  }
}

/** The range of an object of this size.
 *  @throws StorageError BAD_RANGE */
export function withinObject(
  key: string,
  range: ByteRange | undefined,
  sizeBytes: number,
): ByteRange | undefined {
  if (range === undefined) return undefined;
  const { start, end, mayEndEarly } = range;
  if (end <= sizeBytes) return range;
  if (mayEndEarly === true && start < sizeBytes) return { start, end: sizeBytes };
  throw new StorageError(
    'BAD_RANGE',
    `bytes ${start} to ${end} were asked of "${key}", which has ${sizeBytes}`,
    { key },
  );
}

export function isLocal(error: unknown, code?: StorageError['code']): error is StorageError {
  if (!(error instanceof StorageError) || error.store !== LOCAL) return false;
  return code === undefined || error.code === code;
}

function localError(code: StorageError['code'], message: string, cause?: unknown): StorageError {
  return new StorageError(code, `LocalCache.Directory: ${message}`, { store: LOCAL, cause });
}

function hangs(): StorageError {
  return localError('TIMEOUT', 'its disk does not answer; look at the disk, or at its server');
}

function damaged(key: string): StorageError {
  return new StorageError(
    'INTEGRITY',
    `the file of "${key}" in LocalCache.Directory is damaged: its content does not match its checksum`,
    { key, store: LOCAL },
  );
}

function toLocalError(thrown: unknown): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const code = errorCode(thrown);
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return localError('NOT_FOUND', 'a file of it is gone', thrown);
    case 'ENOSPC':
      return localError('UNAVAILABLE', 'its disk is full (space or inodes)', thrown);
    case 'EDQUOT':
      return localError('UNAVAILABLE', "the quota of Orthanc's user there is used up", thrown);
    case 'EACCES':
    case 'EPERM':
      return localError('UNAVAILABLE', 'the user that runs Orthanc may not write there', thrown);
    case 'EROFS':
      return localError('UNAVAILABLE', 'its disk is mounted read-only', thrown);
    default:
      return localError('UNAVAILABLE', `its disk fails (${code ?? String(thrown)})`, thrown);
  }
}
