// SPDX-License-Identifier: GPL-3.0-or-later
// The lock that the plugin takes by flock(2). Node cannot, so flock(1) of util-linux does.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { badConfig, errorCode } from '../../errors.ts';
import { LOCK_FILE, type LockFolder } from '../../local/folder.ts';

/** While it holds the lock, `cat` waits for the end of our pipe, so that it ends with this process. */
export const lockByTool: LockFolder = async (path) => {
  const child = spawn('flock', ['--nonblock', path, 'cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Ctrl-C must not end it before us.
    detached: true,
  });
  const ended = once(child, 'close');
  try {
    await once(child, 'spawn');
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
    throw badConfig('the command flock (package util-linux) is needed', { cause: error });
  }
  // It may have ended.
  child.stdin.on('error', () => undefined);
  child.stdin.write('\n');
  const isHeld = await Promise.race([
    once(child.stdout, 'data').then(() => true),
    ended.then(() => false),
  ]);
  if (!isHeld) return undefined;
  return async () => {
    child.stdin.end();
    await ended;
  };
};

export async function isLocked(directory: string): Promise<boolean> {
  const path = join(directory, LOCK_FILE);
  // The command would make it, perhaps as another user than Orthanc's.
  if (!existsSync(path)) return false;
  const unlock = await lockByTool(path);
  await unlock?.();
  return unlock === undefined;
}
