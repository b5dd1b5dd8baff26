// SPDX-License-Identifier: GPL-3.0-or-later
// Files as bodies and sinks. All calls are synchronous, because a command does one thing at a time.

import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  lstatSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { badConfig, errorCode, StorageError, toStorageError } from '../../errors.ts';
import { abortReason, type Signal } from '../../store/abort.ts';
import { bodyOf, MemorySink } from '../../store/bodies.ts';
import type { Body, OperationOptions, Sink } from '../../store/object-store.ts';
import {
  fileBody,
  openRegularFile,
  readRegularFile,
  UNLINKED,
  writeFully,
} from '../../store/regular-file.ts';
import { printBytes } from './output.ts';

const PRIVATE_MODE = 0o600;
export const STANDARD_STREAM = '-';

export interface Input {
  readonly body: Body;
  close(): void;
}

/** Nobody sees its bytes before the commit. */
export interface Output {
  readonly sink: Sink;
  commit(): Promise<void>;
  /** Does nothing after a commit. */
  discard(): void;
}

/** @param path of a file, or "-" for standard input. Standard input is held in memory, since encryption needs its size first */
export async function openInput(path: string, { signal }: OperationOptions): Promise<Input> {
  if (path === STANDARD_STREAM) {
    return { body: bodyOf(await readStandardInput(signal)), close: () => undefined };
  }
  const descriptor = attempt(path, 'read', () => openSync(path, 'r'));
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw badConfig(`${path}: is not a file`);
  }
  return {
    body: bodyOfFile(path, descriptor, stat.size),
    close: () => {
      closeSync(descriptor);
    },
  };
}

async function readStandardInput(signal: Signal): Promise<Uint8Array> {
  if (signal.aborted) throw abortReason(signal);
  // Otherwise the process would wait for the writer.
  const stop = () => process.stdin.destroy(abortReason(signal));
  signal.addEventListener('abort', stop, { once: true });
  return await buffer(process.stdin);
}

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Writes to a temporary file beside the target and renames it at the end. A failure or a Ctrl-C thus leaves no partial file.
 *  @param path of a file, or "-" for standard output, which gets no byte before all are verified
 *  @throws StorageError BAD_CONFIG */
export function openOutput(path: string, mayReplace: boolean): Output {
  if (path === STANDARD_STREAM) {
    const sink = new MemorySink();
    return { sink, commit: () => printBytes(sink.bytes), discard: () => undefined };
  }
  const target = attempt(path, 'written', () => targetOf(path, mayReplace));
  attempt(path, 'written', () => {
    removeLeftovers(dirname(target));
  });
  const temporary = temporaryName(target);
  const descriptor = attempt(path, 'written', () => openSync(temporary, 'wx', 0o600));
  const sink = new FileSink(path, descriptor);
  let isOpen = true;
  const discard = () => {
    process.removeListener('exit', discard);
    if (!isOpen) return;
    isOpen = false;
    closeSync(descriptor);
    unlinkSync(temporary);
  };
  process.once('exit', discard);
  return {
    sink,
    async commit() {
      const sizeBytes = sink.requireWritten();
      attempt(path, 'written', () => {
        // A first attempt of the transfer may have written more bytes.
        ftruncateSync(descriptor, sizeBytes);
        fsyncSync(descriptor);
        renameSync(temporary, target);
      });
      process.removeListener('exit', discard);
      isOpen = false;
      closeSync(descriptor);
    },
    discard,
  };
}

/** The process id is for `removeLeftovers`. */
function temporaryName(target: string): string {
  return `${target}.${process.pid}-${randomBytes(4).toString('hex')}.part`;
}

/** A run that was killed may have left a decrypted content. */
function removeLeftovers(folder: string): void {
  for (const name of readdirSync(folder)) {
    const pid = /\.(\d{1,10})-[0-9a-f]{8}\.part$/.exec(name)?.[1];
    if (pid === undefined || isRunning(Number(pid))) continue;
    const path = join(folder, name);
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found?.isFile() === true && found.uid === process.geteuid?.()) {
      rmSync(path, { force: true });
    }
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== 'ESRCH';
  }
}

/** For files that a command keeps for its next run: state, journal and report. Other users may not read them, and links are not followed.
 *  @returns a descriptor for reading and appending
 *  @throws StorageError BAD_CONFIG */
export function openStateFile(path: string): number {
  const { O_APPEND, O_CREAT, O_RDWR } = constants;
  return attempt(path, 'written', () => {
    const descriptor = openRegularFile(path, O_APPEND | O_CREAT | O_RDWR | UNLINKED, PRIVATE_MODE);
    fchmodSync(descriptor, PRIVATE_MODE);
    return descriptor;
  });
}

/** @returns undefined if there is no such file */
export function readStateFile(path: string): string | undefined {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return undefined;
  return attempt(path, 'read', () => readRegularFile(path, UNLINKED));
}

/** Replaces an older file in one step. */
export function writeStateFile(path: string, text: string): void {
  attempt(path, 'written', () => {
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found !== undefined && !found.isFile()) {
      throw Object.assign(new Error('no file'), {
        code: found.isSymbolicLink() ? 'ELOOP' : 'ENOTFILE',
      });
    }
    const temporary = temporaryName(path);
    const descriptor = openSync(temporary, 'wx', PRIVATE_MODE);
    try {
      writeFully(descriptor, 0, Buffer.from(text));
      fsyncSync(descriptor);
      renameSync(temporary, path);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    } finally {
      closeSync(descriptor);
    }
  });
}

/** @returns the path of the file itself. For a link this is its target, because a rename would replace the link */
function targetOf(path: string, mayReplace: boolean): string {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return path;
    throw badConfig(`${path}: is a link to a file that is not there`);
  }
  if (!found.isFile()) {
    throw badConfig(
      `${path}: is no file but a folder, a device or a pipe; for standard output write "${STANDARD_STREAM}"`,
    );
  }
  if (!mayReplace) {
    throw badConfig(`${path}: is there already; --force replaces it`);
  }
  return realpathSync(path);
}

/** Keeps a failure of the disk until `requireWritten`. If `write` threw it, a store would repeat the transfer. */
class FileSink implements Sink {
  readonly anyOrder = true;
  readonly #path: string;
  readonly #descriptor: number;
  #sizeBytes = 0;
  #failure: unknown;

  constructor(path: string, descriptor: number) {
    this.#path = path;
    this.#descriptor = descriptor;
  }

  begin(sizeBytes: number): void {
    this.#sizeBytes = sizeBytes;
  }

  write(offset: number, bytes: Uint8Array): void {
    if (this.#failure !== undefined) return;
    try {
      writeFully(this.#descriptor, offset, bytes);
    } catch (error) {
      this.#failure = error;
    }
  }

  /** @returns the size that `begin` was told */
  requireWritten(): number {
    attempt(this.#path, 'written', () => {
      if (this.#failure !== undefined) throw this.#failure;
    });
    return this.#sizeBytes;
  }
}

/** A temporary file that holds one object while rekey verifies and encrypts it. The object stays encrypted, as in the bucket. */
export interface Spool {
  readonly sink: Sink;
  /** @throws StorageError if it could not be written */
  body(): Body;
  close(): void;
}

/** The file loses its name before its first byte is written. Nobody else can open it, and it ends with the process. */
export function openSpool(folder: string): Spool {
  const path = join(folder, `orthanc-object-storage-${randomBytes(8).toString('hex')}`);
  const subject = `a temporary file in ${folder} (TMPDIR)`;
  const descriptor = attempt(subject, 'written', () => openSync(path, 'wx+', 0o600));
  unlinkSync(path);
  const sink = new FileSink(subject, descriptor);
  return {
    sink,
    body: () => bodyOfFile(subject, descriptor, requireSpooled(sink)),
    close: () => {
      closeSync(descriptor);
    },
  };
}

/** @throws StorageError UNAVAILABLE: where the disk is full, the next object fails, too */
function requireSpooled(sink: FileSink): number {
  try {
    return sink.requireWritten();
  } catch (cause) {
    throw new StorageError('UNAVAILABLE', toStorageError(cause).message, { cause });
  }
}

function bodyOfFile(path: string, descriptor: number, sizeBytes: number): Body {
  return fileBody(
    descriptor,
    sizeBytes,
    () => new StorageError('SHORT_BODY', `${path}: became shorter meanwhile`),
  );
}

/** Call it before long work, whose result could not be written. */
export function requireWritable(path: string): void {
  attempt(path, 'written', () => {
    accessSync(dirname(resolve(path)), constants.W_OK);
  });
}

/** @throws StorageError BAD_CONFIG that names the file, if the work throws */
export function attempt<T>(path: string, what: 'read' | 'written', work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof StorageError) throw cause;
    const code = errorCode(cause) ?? String(cause);
    const problem =
      code === 'ELOOP'
        ? 'is a symbolic link, which is not followed; give the path of the file itself'
        : code === 'ENOTFILE' || code === 'EISDIR'
          ? 'is no file but a folder, a device or a pipe'
          : `cannot be ${what} (${code})`;
    throw badConfig(`${path}: ${problem}`, { cause });
  }
}

/** @returns undefined if the text is no JSON, such as half a line */
export function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
