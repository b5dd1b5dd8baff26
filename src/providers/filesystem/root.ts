// SPDX-License-Identifier: GPL-3.0-or-later
// Whether a file that is not there is really gone, or only the disk that it is on.

import { stat } from 'node:fs/promises';
import { StorageError } from '../../errors.ts';
import { isGone } from './errors.ts';

/** StorageDirectory. A disk that is not mounted must not read as a folder without files: reads would end as 404, removals
 *  would leave files behind, and new files would go to the disk below. */
export interface Root {
  readonly path: string;
  /** To be called wherever something below is missing.
   *  @throws StorageError UNAVAILABLE where the folder is gone, or was a disk's mount point before and no longer is one */
  expectPresent(): Promise<void>;
}

export function createRoot(path: string): Root {
  let wasMountPoint = false;

  return {
    path,
    async expectPresent() {
      const isMountPoint = await isMountPointAt(path);
      if (wasMountPoint && !isMountPoint) {
        throw unavailable(path, 'nothing is mounted there any more; mount its disk again');
      }
      wasMountPoint = isMountPoint;
    },
  };
}

/** As mountpoint(1) tells: it is on another device than the folder that it is in. Of bind mounts from the same device it can't. */
async function isMountPointAt(path: string): Promise<boolean> {
  try {
    const [folder, parent] = await Promise.all([stat(path), stat(`${path}/..`)]);
    if (!folder.isDirectory()) throw unavailable(path, 'it is no folder any more');
    return folder.dev !== parent.dev;
  } catch (thrown) {
    if (!isGone(thrown)) throw thrown;
    throw unavailable(path, 'it is gone; is its disk mounted?', thrown);
  }
}

function unavailable(path: string, text: string, cause?: unknown): StorageError {
  return new StorageError('UNAVAILABLE', `StorageDirectory "${path}" cannot be used: ${text}`, {
    key: path,
    cause,
  });
}
