// SPDX-License-Identifier: GPL-3.0-or-later
// A file is there whole or not at all: it is written under another name in its own folder, then renamed.

import { randomUUID } from 'node:crypto';
import { constants, ftruncateSync } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errorCode, type StorageError } from '../../errors.ts';
import { PIECE_BYTES } from '../../http/content.ts';
import { abortReason, type Signal } from '../../store/abort.ts';
import type { Body, Sink } from '../../store/object-store.ts';
import { writeFully } from '../../store/regular-file.ts';
import { syncFolder } from '../../store/sync-folder.ts';
import { temporaryName } from './paths.ts';
import type { Root } from './root.ts';

/** So often may others remove a folder, since it is empty, just before we put something into it. */
const FOLDER_ATTEMPTS = 100;

export interface WriteOptions {
  readonly root: Root;
  readonly path: string;
  /** The disk has the file, and its name, before the write ends. */
  readonly isSynchronous: boolean;
  readonly signal: Signal;
}

export function writeFile(body: Body, options: WriteOptions): Promise<void> {
  return fillFile((file) => copy(body, file, options.signal), options);
}

/** @param fill writes the whole content */
export async function fillFile(
  fill: (file: FileHandle) => Promise<void>,
  options: WriteOptions,
): Promise<void> {
  const { path, isSynchronous, signal } = options;
  const folder = dirname(path);
  const temporary = join(folder, temporaryName(randomUUID()));
  const { file, firstCreated } = await create(options.root, temporary, signal);
  try {
    try {
      await fill(file);
      if (isSynchronous) await file.sync();
    } finally {
      await file.close();
    }
    if (signal.aborted) throw abortReason(signal);
    await rename(temporary, path);
  } catch (thrown) {
    await unlink(temporary).catch(() => undefined);
    await removeEmptyFolders(options.root.path, folder);
    throw thrown;
  }
  if (isSynchronous) await syncFolders(folder, firstCreated);
}

/** For `fillFile`.
 *  @param translate whatever writing threw: the store that the bytes come from must not take it for an error of its own */
export function createFileSink(
  { fd }: FileHandle,
  translate: (thrown: unknown) => StorageError,
): Sink {
  const attempt = (work: () => void) => {
    try {
      work();
    } catch (thrown) {
      throw translate(thrown);
    }
  };
  return {
    begin: () => {
      attempt(() => {
        ftruncateSync(fd);
      });
    },
    write: (offset, bytes) => {
      attempt(() => {
        writeFully(fd, offset, bytes);
      });
    },
  };
}

/** Folders that are empty now are removed, from this one up to the root, which stays. */
export async function removeEmptyFolders(root: string, folder: string): Promise<void> {
  for (let current = folder; current !== root; current = dirname(current)) {
    try {
      await rmdir(current);
    } catch {
      // Not empty, gone already, or not ours to remove: an empty folder does no harm.
      return;
    }
  }
}

/** The temporary file keeps the folder from being removed from here on. */
async function create(
  root: Root,
  temporary: string,
  signal: Signal,
): Promise<{ readonly file: FileHandle; readonly firstCreated: string | undefined }> {
  const folder = dirname(temporary);
  const { O_CREAT, O_EXCL, O_WRONLY } = constants;
  let firstCreated: string | undefined;
  for (let attempt = 1; ; attempt++) {
    if (signal.aborted) throw abortReason(signal);
    try {
      return { file: await open(temporary, O_CREAT | O_EXCL | O_WRONLY), firstCreated };
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT' || attempt === FOLDER_ATTEMPTS) throw thrown;
    }
    // Made anew, it would lie where a disk is not mounted.
    await root.expectPresent();
    try {
      firstCreated = (await mkdir(folder, { recursive: true })) ?? firstCreated;
    } catch (thrown) {
      // A folder above it was removed meanwhile.
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
  }
}

async function copy(body: Body, file: FileHandle, signal: Signal): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(Math.min(PIECE_BYTES, body.sizeBytes));
  for (let start = 0; start < body.sizeBytes; start += PIECE_BYTES) {
    if (signal.aborted) throw abortReason(signal);
    let piece = buffer.subarray(0, body.sizeBytes - start);
    body.readInto(start, piece);
    for (let position = start; piece.length > 0; ) {
      const { bytesWritten } = await file.write(piece, 0, piece.length, position);
      position += bytesWritten;
      piece = piece.subarray(bytesWritten);
    }
  }
}

/** A name is on the disk once its folder is, and so on for folders that are new. */
async function syncFolders(folder: string, firstCreated: string | undefined): Promise<void> {
  const last = firstCreated === undefined ? folder : dirname(firstCreated);
  for (let current = folder; ; current = dirname(current)) {
    await syncFolder(current);
    if (current === last || current === dirname(current)) return;
  }
}
