// SPDX-License-Identifier: GPL-3.0-or-later
// The names of the files: they tell what is to be done with each, so that the folder is the journal.

import { createHash, randomUUID } from 'node:crypto';

const KINDS = ['pending', 'removed', 'cached'] as const;
/** pending: to be uploaded. removed: to be deleted in the bucket. cached: the bucket has it, too. */
export type FileKind = (typeof KINDS)[number];

/** One file. It is never changed, only renamed or removed. */
export interface LocalFile {
  readonly kind: FileKind;
  /** Of the object's key, which may be too long for a name, or lead elsewhere. */
  readonly hash: string;
  /** Of two files of one object, the one with the higher number counts. Clocks play no part. */
  readonly sequence: number;
  readonly sizeBytes: number;
  /** When the object was stored; for people only. */
  readonly timeMs: number;
}

export type Folder = 'pending' | 'cached';
export const FOLDERS: readonly Folder[] = ['pending', 'cached'];

const HASH_CHARACTERS = 40;
const RADIX = 36;
const NAME = /^([0-9a-f]{40})-([0-9a-z]{1,11})-([0-9a-z]{1,11})-([0-9a-z]{1,11})\.([a-z]+)$/;
const TEMPORARY = '.tmp';

export function hashOf(key: string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, HASH_CHARACTERS);
}

/** Relative to LocalCache.Directory. Files that tell what is to be done lie in one folder, so that one sync is enough. */
export function pathOf({ kind, hash, sequence, sizeBytes, timeMs }: LocalFile): string {
  const numbers = [sequence, sizeBytes, timeMs].map((number) => number.toString(RADIX)).join('-');
  return `${folderOf(kind)}/${hash}-${numbers}.${kind}`;
}

function folderOf(kind: FileKind): Folder {
  return kind === 'cached' ? 'cached' : 'pending';
}

/** What is being written has such a name. Left behind by a crash, nobody was told that it is safe. */
export function temporaryPath(folder: string): string {
  return `${folder}/${randomUUID()}${TEMPORARY}`;
}

export function isTemporary(name: string): boolean {
  return name.endsWith(TEMPORARY);
}

/** @returns undefined for a name that `pathOf` never makes in this folder */
export function parseName(folder: Folder, name: string): LocalFile | undefined {
  const [, hash = '', sequence = '', size = '', time = '', ending] = NAME.exec(name) ?? [];
  const kind = KINDS.find((known) => known === ending);
  if (kind === undefined || folderOf(kind) !== folder) return undefined;
  return {
    kind,
    // A copy, since a part of a string keeps the whole: that is a third of what 100,000 files take.
    hash: Buffer.from(hash, 'latin1').toString('latin1'),
    sequence: Number.parseInt(sequence, RADIX),
    sizeBytes: Number.parseInt(size, RADIX),
    timeMs: Number.parseInt(time, RADIX),
  };
}

/** Whether it counts more than the other of the same object. A crash may leave a file under its old name, too. */
export function comesAfter(one: LocalFile, other: LocalFile): boolean {
  if (one.sequence !== other.sequence) return one.sequence > other.sequence;
  return other.kind === 'cached';
}
