// SPDX-License-Identifier: GPL-3.0-or-later
// Files, and neither pipes nor devices: to open a pipe waits for somebody who writes to it, and to read a device may never end.

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

/** Where somebody else could have put a link in place of the file. */
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

/** @param cut makes the error for a file that became shorter meanwhile */
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

/** For a message about a file of the configuration: what stands behind its path.
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
