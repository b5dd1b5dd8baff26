// SPDX-License-Identifier: GPL-3.0-or-later
// Files that a path names, and nothing else: to open a pipe would wait for somebody who writes to it, to read a device might never end.

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { errorCode } from '../errors.ts';

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
