// SPDX-License-Identifier: GPL-3.0-or-later
// A disk of a few megabytes, which can be full, or hang for whoever writes. It needs root.

import { execFileSync } from 'node:child_process';
import { mkdir, open } from 'node:fs/promises';

export interface SmallDisk {
  readonly path: string;
  /** Writes wait until `thaw`. */
  freeze(): void;
  thaw(): void;
  unmount(): void;
}

/** @param path of a folder that does not exist yet */
export async function mountSmallDisk(path: string, megabytes: number): Promise<SmallDisk> {
  const image = `${path}.ext4`;
  const file = await open(image, 'wx');
  await file.truncate(megabytes * 1024 * 1024);
  await file.close();
  await mkdir(path);
  const call = (program: string, ...argv: readonly string[]) => execFileSync(program, argv);
  call('mkfs.ext4', '-q', image);
  call('mount', '-o', 'loop', image, path);
  let isFrozen = false;
  const thaw = () => {
    if (isFrozen) call('fsfreeze', '--unfreeze', path);
    isFrozen = false;
  };
  return {
    path,
    freeze: () => {
      call('fsfreeze', '--freeze', path);
      isFrozen = true;
    },
    thaw,
    unmount: () => {
      thaw();
      call('umount', path);
    },
  };
}
