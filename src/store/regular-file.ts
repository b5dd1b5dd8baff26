// SPDX-License-Identifier: GPL-3.0-or-later
// Files that a path names, and nothing else: to open a pipe would wait for somebody who writes to it, to read a device might never end.

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

/** For files that somebody else could have put a link in the place of. */
export const UNLINKED = O_NONBLOCK | O_NOFOLLOW;

/** @param flags such as O_RDONLY, and UNLINKED where a symbolic link must not be followed: the error is then ELOOP
 *  @returns its descriptor
 *  @throws Error with a code of Node's, or ENOTFILE for a device or a pipe */
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

/** What is in an open file, read synchronously, as bodies are, and never held as a whole.
 *  @param cut makes what is thrown where it became shorter meanwhile */
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

/** What a message says of a file that Orthanc's user has named, after its path.
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
