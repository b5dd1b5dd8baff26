// SPDX-License-Identifier: GPL-3.0-or-later
// Where things are. Everything that outlives a clone is under cacheRoot.

import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of this clone, absolute. */
export const projectRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** The user's cache of boxes and servers, shared by all clones. */
export const cacheRoot = join(
  process.env.XDG_CACHE_HOME || join(homedir(), '.cache'),
  'orthanc-object-storage',
);

/** @param {...string} parts path below the project root */
export const inProject = (...parts) => join(projectRoot, ...parts);

/** @param {...string} parts path below the cache folder */
export const inCache = (...parts) => join(cacheRoot, ...parts);
