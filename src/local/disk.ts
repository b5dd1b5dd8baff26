// SPDX-License-Identifier: GPL-3.0-or-later
// Files of LocalCache.Directory. Whatever is asked of the disk is bounded in time, and nothing runs on the event loop's thread, but for what
// an upload of more than ONE_PIECE_BYTES reads once more, after `open` has read it.

import { constants } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode, StorageError, toStorageError } from '../errors.ts';
import { abortReason, type Signal } from '../store/abort.ts';
import { viewOf } from '../store/bodies.ts';
import { Semaphore } from '../store/limit.ts';
import { Memory } from '../store/memory.ts';
import type { Body, ByteRange, Sink } from '../store/object-store.ts';
import { fileBody } from '../store/regular-file.ts';
import { type FileStep, type RunFileSteps, runStepsByNode, stepOf } from './file-steps.ts';
import { type Folder, temporaryPath } from './names.ts';
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

/** For all steps of one call, with the wait for a slot. A disk that needs longer for a megabyte is slower than any bucket. */
const STEP_TIMEOUT_MS = 15_000;
/** So long is a disk that hangs left alone. */
const HANG_PAUSE_MS = 30_000;

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants;
const CREATE = O_CREAT | O_EXCL | O_RDWR;
const READ = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

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
  /** Writes a new file, which has a temporary name until it is whole. With `isDurable`, the disk has content and name in the end. After
   *  a failure the file may have its name nevertheless; if the disk hangs, it may get it later (`mayHaveName`). */
  write(
    object: Omit<ObjectOnDisk, 'sizeBytes'>,
    body: Body,
    options: { readonly isDurable: boolean; readonly signal: Signal },
  ): Promise<void>;
  /** Writes a new file of bytes that come in any order. */
  receive(folder: Folder): Receiving;
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
  /** All bytes have come. The file gets its name. */
  finish(object: ObjectOnDisk): Promise<void>;
  giveUp(): Promise<void>;
}

export interface FolderOptions {
  /** How many threads of libuv's it may take, for ever where the disk hangs. There are 16 (kThreadPoolSize in native/node_process.cpp), and
   *  some must be left to look up the names of hosts with. */
  readonly maxAtOnce?: number | undefined;
  readonly runFileSteps?: RunFileSteps | undefined;
}

export class FolderOnDisk implements Disk {
  readonly buffers = new Memory(BUFFER_BYTES, SPARE_BUFFERS);
  readonly #root: string;
  readonly #runFileSteps: RunFileSteps;
  readonly #slots: Semaphore;
  readonly #syncs: Readonly<Record<Folder, SharedWork>> = {
    pending: this.#shareSync('pending'),
    cached: this.#shareSync('cached'),
  };
  #hangsUntilMs = 0;
  #queuedBytes = 0;

  constructor(root: string, { maxAtOnce = 4, runFileSteps = runStepsByNode }: FolderOptions = {}) {
    this.#root = root;
    this.#runFileSteps = runFileSteps;
    this.#slots = new Semaphore(maxAtOnce);
  }

  get isResponsive(): boolean {
    return performance.now() >= this.#hangsUntilMs;
  }

  list(folder: Folder): Promise<readonly string[]> {
    return this.#limited(folder, () => readdir(this.#at(folder)));
  }

  async write(
    { path, key }: Omit<ObjectOnDisk, 'sizeBytes'>,
    body: Body,
    { isDurable, signal }: { readonly isDurable: boolean; readonly signal: Signal },
  ): Promise<void> {
    const { sizeBytes } = body;
    const trailer = new TrailerWriter(key, sizeBytes);
    const folder = dirname(path);
    const temporary = temporaryPath(folder);
    const file = this.#file(key, temporary);
    const rename: FileStep = ['rename', this.#at(temporary), this.#at(path)];
    const end: readonly FileStep[] = isDurable
      ? [['syncData'], rename, ['syncFolder', this.#at(folder)], ['close']]
      : [rename, ['close']];
    const writeAll = async (buffer: Uint8Array) => {
      let at = 0;
      do {
        if (signal.aborted) throw abortReason(signal);
        const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, sizeBytes - at));
        // Before the file is there: the content may be gone.
        body.readInto(at, piece);
        trailer.add(piece);
        const steps: FileStep[] = at === 0 ? [['open', this.#at(temporary), CREATE]] : [];
        if (at + piece.length < sizeBytes) {
          steps.push(['write', piece, at]);
        } else if (piece.length + trailer.bytes > buffer.length) {
          steps.push(['write', piece, at], ['write', trailer.toBytes(), sizeBytes], ...end);
        } else {
          trailer.writeTo(buffer.subarray(piece.length));
          steps.push(['write', buffer.subarray(0, piece.length + trailer.bytes), at], ...end);
        }
        await file.run(steps);
        at += piece.length;
      } while (at < sizeBytes);
    };
    try {
      await this.#withBuffer(writeAll);
    } catch (error) {
      file.close();
      await this.unlink(temporary).catch(() => undefined);
      throw error;
    }
  }

  receive(folder: Folder): Receiving {
    const temporary = temporaryPath(folder);
    const file = this.#file(temporary, temporary);
    let failure: unknown;
    let queue = file.run([['open', this.#at(temporary), CREATE]]).catch((error: unknown) => {
      failure = error;
    });
    let current: { readonly buffer: Buffer; readonly start: number; bytes: number } | undefined;

    const writeAfter = async (
      before: Promise<void>,
      buffer: Buffer,
      bytes: number,
      start: number,
    ) => {
      await before;
      try {
        if (failure === undefined) await file.run([['write', buffer.subarray(0, bytes), start]]);
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
      finish: async ({ path, key, sizeBytes }) => {
        await end();
        try {
          if (failure !== undefined) throw toStorageError(failure);
          const trailer = new TrailerWriter(key, sizeBytes);
          await this.#withBuffer(async (buffer) => {
            for (let at = 0; at < sizeBytes; at += ONE_PIECE_BYTES) {
              const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, sizeBytes - at));
              await file.run([['read', piece, at]]);
              trailer.add(piece);
            }
          });
          await file.run([
            ['write', trailer.toBytes(), sizeBytes],
            ['rename', this.#at(temporary), this.#at(path)],
            ['close'],
          ]);
        } finally {
          file.close();
        }
      },
      giveUp: async () => {
        await end();
        file.close();
        await this.unlink(temporary).catch(() => undefined);
      },
    };
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#run(from, [['rename', this.#at(from), this.#at(to)]]);
  }

  async unlink(path: string): Promise<void> {
    try {
      await this.#run(path, [['unlink', this.#at(path)]]);
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
    const { key, sizeBytes } = object;
    const { start, end } = range ?? { start: 0, end: sizeBytes };
    const firstBlock = start - (start % BLOCK_BYTES);
    const lastByte = Math.min(sizeBytes, Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES);
    const isMost = lastByte - firstBlock >= sizeBytes / 2;
    await this.#withBuffer(async (buffer) => {
      if (isMost && bytesOf(object) <= buffer.length) {
        const content = await this.#readWhole(object, buffer, firstBlock, lastByte);
        if (signal.aborted) throw abortReason(signal);
        sink.begin(end - start, sizeBytes);
        sink.write(0, content.subarray(start, end));
        return;
      }
      const file = this.#file(key);
      try {
        const trailer = await this.#openWithTrailer(file, object);
        for (let at = firstBlock; at < lastByte; at += ONE_PIECE_BYTES) {
          const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, lastByte - at));
          await this.#readBlocks(file, object, trailer, at, piece);
          if (signal.aborted) throw abortReason(signal);
          if (at === firstBlock) sink.begin(end - start, sizeBytes);
          const from = Math.max(start, at);
          sink.write(from - start, piece.subarray(from - at, Math.min(piece.length, end - at)));
        }
      } finally {
        file.close();
      }
    });
  }

  async open(object: ObjectOnDisk): Promise<OpenObject> {
    const { key, sizeBytes } = object;
    const buffer = this.buffers.take();
    const file = this.#file(key);
    let body: Body;
    if (sizeBytes <= ONE_PIECE_BYTES) {
      body = viewOf(await this.#readWhole(object, buffer));
    } else {
      try {
        const trailer = await this.#openWithTrailer(file, object);
        for (let at = 0; at < sizeBytes; at += ONE_PIECE_BYTES) {
          const piece = buffer.subarray(0, Math.min(ONE_PIECE_BYTES, sizeBytes - at));
          await this.#readBlocks(file, object, trailer, at, piece);
        }
        body = fileBody(file.descriptor, sizeBytes, () => damaged(key));
      } catch (error) {
        file.close();
        throw error;
      }
    }
    return {
      body,
      close: (isUnused) => {
        if (isUnused) this.buffers.giveBack(buffer);
        file.close();
      },
    };
  }

  async keyOf(path: string): Promise<string> {
    const { size } = await this.#limited(path, () => stat(this.#at(path)));
    const file = this.#file(path);
    try {
      const bytes = Buffer.alloc(Math.min(size, FOOTER_BYTES));
      await file.run([
        ['open', this.#at(path), READ],
        ['read', bytes, size - bytes.length],
      ]);
      const footer = parseFooter(bytes);
      const length = footer === undefined ? 0 : trailerBytes(footer.sizeBytes, footer.keyBytes);
      if (footer === undefined || footer.sizeBytes + length !== size) throw damaged(path);
      const trailer = Buffer.alloc(length);
      await file.run([['read', trailer, size - length]]);
      const parsed = parseTrailer(trailer);
      if (parsed === undefined) throw damaged(path);
      return parsed.key;
    } finally {
      file.close();
    }
  }

  /** With its trailer, by one call. @returns the object, verified from `firstBlock` to `lastByte` */
  async #readWhole(
    object: ObjectOnDisk,
    buffer: Uint8Array,
    firstBlock = 0,
    lastByte = object.sizeBytes,
  ): Promise<Uint8Array> {
    const { key, path, sizeBytes } = object;
    const whole = buffer.subarray(0, bytesOf(object));
    await this.#run(key, [['open', this.#at(path), READ], ['read', whole, 0], ['close']]);
    const trailer = parseTrailer(whole.subarray(sizeBytes), key);
    const content = whole.subarray(0, sizeBytes);
    const isIntact =
      trailer !== undefined &&
      areIntact(trailer, firstBlock, content.subarray(firstBlock, lastByte));
    if (!isIntact) throw damaged(key);
    return content;
  }

  async #openWithTrailer(
    file: FileOnDisk,
    { path, key, sizeBytes }: ObjectOnDisk,
  ): Promise<Trailer> {
    const bytes = Buffer.allocUnsafe(trailerBytes(sizeBytes, Buffer.byteLength(key)));
    await file.run([
      ['open', this.#at(path), READ],
      ['read', bytes, sizeBytes],
    ]);
    const trailer = parseTrailer(bytes, key);
    if (trailer === undefined) throw damaged(key);
    return trailer;
  }

  async #readBlocks(
    file: FileOnDisk,
    { key }: ObjectOnDisk,
    trailer: Trailer,
    start: number,
    target: Uint8Array,
  ): Promise<void> {
    await file.run([['read', target, start]]);
    if (!areIntact(trailer, start, target)) throw damaged(key);
  }

  #at(path: string): string {
    return join(this.#root, path);
  }

  #shareSync(folder: Folder): SharedWork {
    return new SharedWork(async () => {
      await this.#run(folder, [['syncFolder', this.#at(folder)]]);
    });
  }

  /** @param temporary goes where its steps end after nobody waits for them any more */
  #file(name: string, temporary?: string): FileOnDisk {
    return new FileOnDisk(
      (steps, file) => this.#run(name, steps, file, temporary),
      (file) => void this.#close(file),
    );
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

  /** @param name of the object, for messages */
  async #run(
    name: string,
    steps: readonly FileStep[],
    file?: number,
    temporary?: string,
  ): Promise<number | undefined> {
    let hasBegun = false;
    try {
      return await this.#limited(name, async (leftMs, isOver) => {
        hasBegun = true;
        try {
          const open = await this.#runFileSteps(file, steps, leftMs);
          if (open !== undefined && isOver()) void this.#close(open);
          return open;
        } finally {
          if (temporary !== undefined && isOver()) await this.#removeLate(temporary);
        }
      });
    } finally {
      if (!hasBegun && file !== undefined) void this.#close(file);
    }
  }

  async #removeLate(path: string): Promise<void> {
    try {
      await this.#runFileSteps(undefined, [['unlink', this.#at(path)]], STEP_TIMEOUT_MS);
    } catch {
      // It has its name already, or the next start removes it.
    }
  }

  /** In a slot, without a limit in time: where the disk hangs, this does, too. */
  async #close(file: number): Promise<void> {
    const release = await this.#slots.acquire(undefined);
    try {
      await this.#runFileSteps(file, [['close']], STEP_TIMEOUT_MS);
    } finally {
      release();
    }
  }

  /** What takes too long keeps its slot until the system has come back to it. */
  #limited<T>(
    name: string,
    work: (leftMs: number, isOver: () => boolean) => Promise<T>,
  ): Promise<T> {
    if (!this.isResponsive) return Promise.reject(hangs(NOT_ASKED));
    const endMs = performance.now() + STEP_TIMEOUT_MS;
    return new Promise((resolve, reject) => {
      let isAsked = false;
      let isOver = false;
      const timer = setTimeout(() => {
        isOver = true;
        this.#hangsUntilMs = performance.now() + HANG_PAUSE_MS;
        reject(hangs(isAsked ? undefined : NOT_ASKED));
      }, STEP_TIMEOUT_MS);
      const run = async () => {
        const release = await this.#slots.acquire(undefined);
        try {
          if (isOver || !this.isResponsive) throw hangs(NOT_ASKED);
          isAsked = true;
          const leftMs = Math.max(0, Math.ceil(endMs - performance.now()));
          resolve(await work(leftMs, () => isOver));
        } catch (error) {
          reject(toLocalError(error, name));
        } finally {
          clearTimeout(timer);
          release();
        }
      };
      void run();
    });
  }
}

/** The cause of what fails before the disk has been asked for anything. */
const NOT_ASKED = new Error('the disk was not asked');

/** One file, from its opening to its end. */
class FileOnDisk {
  readonly #run: (steps: readonly FileStep[], file?: number) => Promise<number | undefined>;
  readonly #close: (file: number) => void;
  #file: number | undefined;

  constructor(
    run: (steps: readonly FileStep[], file?: number) => Promise<number | undefined>,
    close: (file: number) => void,
  ) {
    this.#run = run;
    this.#close = close;
  }

  get descriptor(): number {
    if (this.#file === undefined) throw new Error('the file is closed');
    return this.#file;
  }

  /** After a failure it is closed. */
  async run(steps: readonly FileStep[]): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#file = await this.#run(steps, file);
  }

  /** Nothing runs any more. */
  close(): void {
    if (this.#file !== undefined) this.#close(this.#file);
    this.#file = undefined;
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

/** Of the file: the object and its trailer. */
function bytesOf({ key, sizeBytes }: ObjectOnDisk): number {
  return sizeBytes + trailerBytes(sizeBytes, Buffer.byteLength(key));
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

/** @param error of the disk, which a write or a rename failed with
 *  @returns false if the file certainly never gets its name */
export function mayHaveName({ cause }: StorageError): boolean {
  const step = stepOf(cause);
  return cause !== NOT_ASKED && step !== 'open' && step !== 'write' && step !== 'syncData';
}

export function isLocal(error: unknown, code?: StorageError['code']): error is StorageError {
  if (!(error instanceof StorageError) || error.store !== LOCAL) return false;
  return code === undefined || error.code === code;
}

function localError(code: StorageError['code'], message: string, cause?: unknown): StorageError {
  return new StorageError(code, `LocalCache.Directory: ${message}`, { store: LOCAL, cause });
}

function hangs(cause?: unknown): StorageError {
  return localError(
    'TIMEOUT',
    'its disk does not answer; look at the disk, or at its server',
    cause,
  );
}

function damaged(key: string): StorageError {
  return new StorageError(
    'INTEGRITY',
    `the file of "${key}" in LocalCache.Directory is damaged: its content does not match its checksum`,
    { key, store: LOCAL },
  );
}

/** @param name of the object */
function toLocalError(thrown: unknown, name: string): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const code = errorCode(thrown);
  switch (code) {
    case 'EOF':
      return damaged(name);
    case 'ETIMEDOUT':
      return hangs(thrown);
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
