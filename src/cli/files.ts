// SPDX-License-Identifier: GPL-3.0-or-later
// Files as bodies and sinks. A command does one thing at a time, so that all of it may be synchronous.

import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { StorageError } from '../errors.ts';
import type { Spool } from '../jobs/rekey.ts';
import { bodyOf } from '../store/bodies.ts';
import type { Body, Sink } from '../store/object-store.ts';

/** Stands for standard input or output. */
export const STANDARD_STREAM = '-';

export interface Input {
  readonly body: Body;
  close(): void;
}

/** Takes bytes; they are there for others once it is committed, or not at all. */
export interface Output {
  readonly sink: Sink;
  commit(): Promise<void>;
  /** After a commit does nothing. */
  discard(): void;
}

/** @param path of a file, or "-" for standard input, which is then held in memory: its size must be known before its first byte
 *  is encrypted */
export async function openInput(path: string): Promise<Input> {
  if (path === STANDARD_STREAM) {
    const pieces: Buffer[] = [];
    for await (const piece of process.stdin) pieces.push(Buffer.from(piece));
    return { body: bodyOf(Buffer.concat(pieces)), close: () => undefined };
  }
  const descriptor = attempt(path, 'read', () => openSync(path, 'r'));
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new StorageError('BAD_CONFIG', `${path}: is not a file`);
  }
  return {
    body: {
      sizeBytes: stat.size,
      read: (start, end) => readFully(path, descriptor, start, end),
    },
    close: () => {
      closeSync(descriptor);
    },
  };
}

export function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

/** Written beside its place and renamed when it is whole, so that a failure or a Ctrl-C leaves nothing under the name.
 *  @param path of a file, or "-" for standard output, which gets its first byte when all of them are known to be right
 *  @throws StorageError BAD_CONFIG where there is such a file, unless it may be replaced */
export function openOutput(path: string, mayReplace: boolean): Output {
  if (path === STANDARD_STREAM) return openStandardOutput();
  if (!mayReplace && existsSync(path)) {
    throw new StorageError('BAD_CONFIG', `${path}: is there already; --force replaces it`);
  }
  const temporary = `${path}.${randomBytes(4).toString('hex')}.part`;
  const descriptor = attempt(path, 'written', () => openSync(temporary, 'wx', 0o600));
  let isOpen = true;
  const remove = () => {
    if (!isOpen) return;
    isOpen = false;
    closeSync(descriptor);
    unlinkSync(temporary);
  };
  // Commander's exits and ours end here too.
  process.once('exit', remove);
  return {
    sink: {
      begin: () => undefined,
      write: (offset, bytes) => {
        writeFully(descriptor, offset, bytes);
      },
    },
    commit: async () => {
      fsyncSync(descriptor);
      closeSync(descriptor);
      isOpen = false;
      process.removeListener('exit', remove);
      try {
        attempt(path, 'written', () => {
          renameSync(temporary, path);
        });
      } catch (error) {
        unlinkSync(temporary);
        throw error;
      }
    },
    discard: () => {
      process.removeListener('exit', remove);
      remove();
    },
  };
}

function openStandardOutput(): Output {
  let held = Buffer.alloc(0);
  return {
    sink: {
      begin: (sizeBytes) => {
        held = Buffer.alloc(sizeBytes);
      },
      write: (offset, bytes) => {
        held.set(bytes, offset);
      },
    },
    commit: () =>
      new Promise((resolve, reject) => {
        process.stdout.write(held, (error) => {
          if (error === null || error === undefined) resolve();
          else reject(error);
        });
      }),
    discard: () => {
      held = Buffer.alloc(0);
    },
  };
}

/** For one object, encrypted as it is in the bucket. The file has no name any more when its first byte is written: nobody else can open
 *  it, and it is gone with the process, whatever ends that. */
export function openSpool(folder: string): Spool {
  const path = join(folder, `orthanc-object-storage-${randomBytes(8).toString('hex')}`);
  const subject = `a temporary file in ${folder} (TMPDIR)`;
  const descriptor = attempt(subject, 'written', () => openSync(path, 'wx+', 0o600));
  unlinkSync(path);
  let sizeBytes = 0;
  let failure: unknown;
  return {
    sink: {
      anyOrder: true,
      begin: (size) => {
        sizeBytes = size;
      },
      write: (offset, bytes) => {
        if (failure !== undefined) return;
        try {
          writeFully(descriptor, offset, bytes);
        } catch (error) {
          // Not into the store, which would take it for a transfer to be repeated.
          failure = error;
        }
      },
    },
    body: () => {
      attempt(subject, 'written', () => {
        if (failure !== undefined) throw failure;
      });
      return { sizeBytes, read: (start, end) => readFully(subject, descriptor, start, end) };
    },
    close: () => {
      closeSync(descriptor);
    },
  };
}

function writeFully(descriptor: number, offset: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(descriptor, bytes, at, bytes.length - at, offset + at);
  }
}

function readFully(path: string, descriptor: number, start: number, end: number): Uint8Array {
  const bytes = Buffer.allocUnsafeSlow(end - start);
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(descriptor, bytes, at, bytes.length - at, start + at);
    if (count === 0) throw new StorageError('SHORT_BODY', `${path}: became shorter meanwhile`);
    at += count;
  }
  return bytes;
}

/** That a file can be written, before the work whose result will be in it.
 *  @throws StorageError BAD_CONFIG */
export function insistOnWritable(path: string): void {
  attempt(path, 'written', () => {
    accessSync(dirname(resolve(path)), constants.W_OK);
  });
}

/** @param what such as "written"
 *  @throws StorageError BAD_CONFIG that names the file, for whatever the work threw */
export function attempt<T>(path: string, what: 'read' | 'written', work: () => T): T {
  try {
    return work();
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause);
    throw new StorageError('BAD_CONFIG', `${path}: cannot be ${what} (${reason})`, { cause });
  }
}
