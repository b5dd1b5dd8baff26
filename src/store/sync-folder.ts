// SPDX-License-Identifier: GPL-3.0-or-later

import { open } from 'node:fs/promises';
import { errorCode } from '../errors.ts';

/** Waits until the disk has the names of the folder's files, as they are now. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder);
  try {
    await handle.sync();
  } catch (thrown) {
    // Network file systems that cannot do this do it by themselves.
    if (!['EINVAL', 'ENOTSUP', 'EBADF', 'EPERM'].includes(errorCode(thrown) ?? '')) throw thrown;
  } finally {
    await handle.close();
  }
}
