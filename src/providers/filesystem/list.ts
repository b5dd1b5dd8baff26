// SPDX-License-Identifier: GPL-3.0-or-later
// All files below a folder in the order of their keys, one folder in memory for each level, while others write and remove.

import type { Dirent } from 'node:fs';
import { lstat, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode } from '../../errors.ts';
import type { ObjectInfo } from '../../store/object-store.ts';
import { isGone } from './errors.ts';
import { isTemporary, pathOf } from './paths.ts';
import type { Root } from './root.ts';

/** @param run one step of the listing, which may fail or be aborted */
export async function* listFiles(
  root: Root,
  prefix: string,
  run: <T>(step: () => Promise<T>) => Promise<T>,
): AsyncGenerator<ObjectInfo> {
  const slash = prefix.lastIndexOf('/');
  const folderKey = slash < 0 ? '' : prefix.slice(0, slash);
  // An empty folder needs no error to be taken for one without files.
  await run(() => root.expectPresent());
  const start = await run(async () =>
    folderKey === '' ? root.path : pathOf(root.path, folderKey),
  );
  yield* walk(start, slash < 0 ? '' : `${folderKey}/`, prefix.slice(slash + 1));

  async function* walk(
    folder: string,
    keyPrefix: string,
    namePrefix: string,
  ): AsyncGenerator<ObjectInfo> {
    const entries = await run(() => readFolder(root, folder, namePrefix));
    for (const { name, isFolder } of entries) {
      const key = keyPrefix + name;
      const path = join(folder, name);
      if (isFolder) {
        yield* walk(path, `${key}/`, '');
        continue;
      }
      const info = await run(() => describe(root, path));
      if (info !== undefined) yield { key, ...info };
    }
  }
}

interface Entry {
  readonly name: string;
  readonly isFolder: boolean;
}

async function readFolder(
  root: Root,
  folder: string,
  namePrefix: string,
): Promise<readonly Entry[]> {
  const entries: Entry[] = [];
  for (const entry of (await unlessGone(root, readdir(folder, { withFileTypes: true }))) ?? []) {
    const { name } = entry;
    if (!name.startsWith(namePrefix) || isTemporary(name)) continue;
    const kind = entry.isSymbolicLink() ? await followLink(join(folder, name)) : entry;
    if (kind?.isDirectory() === true) entries.push({ name, isFolder: true });
    // A link to a file is listed, so that whoever reads it hears that it is one.
    else if (kind?.isFile() === true) entries.push({ name, isFolder: false });
  }
  return entries.sort(byKey);
}

/** "a.b" comes before "a/…", as in object stores. */
function byKey(one: Entry, other: Entry): number {
  const [a, b] = [one, other].map(({ name, isFolder }) => (isFolder ? `${name}/` : name));
  return a === b ? 0 : (a ?? '') < (b ?? '') ? -1 : 1;
}

/** Folders may be links to other disks. */
async function followLink(
  path: string,
): Promise<Pick<Dirent, 'isFile' | 'isDirectory'> | undefined> {
  try {
    return await stat(path);
  } catch (thrown) {
    if (isGone(thrown) || errorCode(thrown) === 'ELOOP') return undefined;
    throw thrown;
  }
}

async function describe(root: Root, path: string): Promise<Omit<ObjectInfo, 'key'> | undefined> {
  const found = await unlessGone(root, lstat(path));
  return found === undefined ? undefined : { sizeBytes: found.size, modified: found.mtime };
}

/** @returns undefined for what was removed meanwhile, as long as the disk is there */
async function unlessGone<T>(root: Root, work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (thrown) {
    if (!isGone(thrown)) throw thrown;
    await root.expectPresent();
    return undefined;
  }
}
