// SPDX-License-Identifier: GPL-3.0-or-later
// What the file system reports, as StorageErrors that name StorageDirectory.

import { errorCode, StorageError, type StorageErrorCode } from '../../errors.ts';
import type { Operation } from '../operation.ts';

export function toFileSystemError(
  thrown: unknown,
  operation: Operation,
  root: string,
): StorageError {
  if (thrown instanceof StorageError) return thrown;
  const { verb, key } = operation;
  const subject = key === undefined ? 'StorageDirectory' : `"${key}" in StorageDirectory`;
  const [code, text] = explain(thrown, verb);
  return new StorageError(code, `cannot ${verb} ${subject} ("${root}"): ${text}`, {
    key: key ?? root,
    cause: thrown,
  });
}

function explain(thrown: unknown, verb: string): readonly [StorageErrorCode, string] {
  const code = errorCode(thrown);
  switch (code) {
    case 'ENOENT':
    case 'EISDIR':
      return verb === 'check'
        ? ['BAD_CONFIG', 'there is no such folder; create it, or correct StorageDirectory']
        : ['NOT_FOUND', 'there is no such file'];
    case 'ENOTDIR':
      if (verb === 'check') return ['BAD_CONFIG', 'this is no folder; correct StorageDirectory'];
      return verb === 'write'
        ? ['INTERNAL', 'a file lies where a folder must be']
        : ['NOT_FOUND', 'there is no such file'];
    case 'EEXIST':
      return ['INTERNAL', 'a file lies where a folder must be'];
    case 'ENOSPC':
      return ['UNAVAILABLE', 'the disk is full (space or inodes); make room on it'];
    case 'EDQUOT':
      return ['UNAVAILABLE', "the quota of Orthanc's user on this disk is used up; raise it"];
    case 'EACCES':
    case 'EPERM':
      return [
        'ACCESS_DENIED',
        `the user that runs Orthanc may not ${verb === 'check' ? 'write here' : 'do that'}; give it the folder and all below (chown)`,
      ];
    case 'EROFS':
      return ['ACCESS_DENIED', 'the disk is mounted read-only; mount it for writing'];
    case 'EMFILE':
    case 'ENFILE':
      return [
        'UNAVAILABLE',
        'too many files are open; raise the limit (LimitNOFILE, ulimit -n), or lower MaxConnections',
      ];
    case 'EIO':
    case 'ESTALE':
    case 'ENXIO':
    case 'ETIMEDOUT':
    case 'ENOTCONN':
    case 'EHOSTDOWN':
      return ['UNAVAILABLE', `the disk, or the server that it is on, fails (${code})`];
    case 'ELOOP':
      return [
        'INTEGRITY',
        'it is a symbolic link, which is not followed; put the file itself in its place',
      ];
    case 'ENAMETOOLONG':
      return ['BAD_CONFIG', `the path is too long or runs in a circle (${code})`];
    default:
      return ['INTERNAL', thrown instanceof Error ? thrown.message : String(thrown)];
  }
}

/** Nothing lies there. Whether that is so because the disk is away, Root.expectPresent tells. */
export function isGone(thrown: unknown): boolean {
  const code = errorCode(thrown);
  return code === 'ENOENT' || code === 'ENOTDIR';
}
