// SPDX-License-Identifier: GPL-3.0-or-later
// Opens regular files only. Opening a pipe waits for a writer, and reading a device may never end.

import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { errorCode, type StorageError } from '../errors.ts';
import { bodyFrom } from './bodies.ts';
import type { Body } from './object-store.ts';

const { O_NONBLOCK, O_NOFOLLOW } = constants;

/** For folders where other users could put a link in place of the file. */
export const UNLINKED = O_NONBLOCK | O_NOFOLLOW;

/** @param flags such as O_RDONLY. With UNLINKED, a symbolic link fails with ELOOP.
 *  @returns the descriptor
 *  @throws Error with one of Node's codes, or with ENOTFILE for a device or a pipe */
export function openRegularFile(path: string, flags: number, mode?: number): number {
  const descriptor = openSync(path, flags | O_NONBLOCK, mode);
  const found = fstatSync(descriptor);
  if (found.isFile()) return descriptor;
  closeSync(descriptor);
  const code = found.isDirectory() ? 'EISDIR' : 'ENOTFILE';
  throw Object.assign(new Error(`${path} is no file`), { code });
}

/** @throws as `openRegularFile` */
export function readRegularFile(path: string, flags = 0): string {
  const descriptor = openRegularFile(path, constants.O_RDONLY | flags);
  try {
    return readFileSync(descriptor, 'utf8');
  } finally {
    closeSync(descriptor);
  }
}

/** @param cut makes the error for a file that has become shorter than `sizeBytes` */
export function fileBody(descriptor: number, sizeBytes: number, cut: () => StorageError): Body {
  return bodyFrom(sizeBytes, (start, target) => {
    for (let at = 0; at < target.length; ) {
      const count = readSync(descriptor, target, at, target.length - at, start + at);
      if (count === 0) throw cut();
      at += count;
    }
  });
}

export function writeFully(descriptor: number, offset: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) {
    at += writeSync(descriptor, bytes, at, bytes.length - at, offset + at);
  }
}

/** The end of a message about a file that the configuration names.
 *  @param thrown by `readRegularFile` */
export function describeReadFailure(thrown: unknown): string {
  const code = errorCode(thrown) ?? 'unknown';
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'does not exist; in a container, mount it there';
    case 'EACCES':
    case 'EPERM':
      return 'may not be read by the user that runs Orthanc';
    case 'EISDIR':
      return 'is a folder; name the file in it';
    case 'ENOTFILE':
      return 'is a device or a pipe; name a file';
    default:
      return `cannot be read (${code})`;
  }
}
