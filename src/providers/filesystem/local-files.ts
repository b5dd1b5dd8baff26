// SPDX-License-Identifier: GPL-3.0-or-later
// Files as bodies and sinks: synchronous, as those are, and never held as a whole.

import { constants, ftruncateSync, readSync, writeSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { StorageError } from '../../errors.ts';
import { bodyFrom } from '../../store/bodies.ts';
import type { OpenFile, Sink } from '../../store/object-store.ts';
import { UNLINKED } from '../../store/regular-file.ts';

/** @returns undefined where there is something else than a file */
export async function openFile(path: string): Promise<OpenFile | undefined> {
  const file = await open(path, constants.O_RDONLY | UNLINKED);
  const found = await file.stat();
  if (!found.isFile()) {
    await file.close();
    return undefined;
  }
  const body = bodyFrom(found.size, (start, target) => {
    for (let at = 0; at < target.length; ) {
      const count = readSync(file.fd, target, at, target.length - at, start + at);
      if (count === 0) {
        throw new StorageError('SHORT_BODY', `"${path}" was cut while being read`, { key: path });
      }
      at += count;
    }
  });
  return { body, close: () => file.close() };
}

/** @param translate whatever writing threw: the store that the bytes come from must not take it for an error of its own */
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
        for (let at = 0; at < bytes.length; ) {
          at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
        }
      });
    },
  };
}
