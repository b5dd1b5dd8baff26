// SPDX-License-Identifier: GPL-3.0-or-later
// Folders that are expensive to make, made once, shared by all clones and by concurrent runs.

import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { say } from './log.mjs';
import { inCache } from './paths.mjs';

/** A living owner touches its lock this often. */
const heartbeatMs = 2_000;
/** A lock that was not touched for this long has lost its owner. */
const staleMs = 30_000;

/** @param {...unknown} parts anything that JSON can say @returns {string} 12 hexadecimal digits */
export function hashOf(...parts) {
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 12);
}

/** @param {string} path */
export const exists = (path) =>
  stat(path).then(
    () => true,
    () => false,
  );

/**
 * Returns a finished folder of the cache, making it first if it is not there. A build that is
 * killed leaves only a partial folder, which the next one removes.
 * @param {string} name path below the cache folder; holds the hash of what it is made from
 * @param {(folder: string) => Promise<void>} make fills an empty folder that has another name yet
 * @returns {Promise<string>} the folder's absolute path
 */
export async function ensureCached(name, make) {
  const folder = inCache(name);
  if (await exists(folder)) return folder;
  await mkdir(dirname(folder), { recursive: true });
  return await withLock(`${folder}.lock`, async () => {
    if (await exists(folder)) return folder;
    await removePartials(folder);
    const partial = join(dirname(folder), `.partial-${basename(folder)}-${process.pid}`);
    await mkdir(partial);
    try {
      await make(partial);
      await rename(partial, folder);
    } catch (error) {
      await removeTree(partial);
      throw error;
    }
    return folder;
  });
}

/** Removes a folder without leaving its file system, should something be mounted inside.
 * @param {string} path */
export async function removeTree(path) {
  const { run } = await import('./run.mjs');
  if (process.platform === 'linux') await run(['rm', '-rf', '--one-file-system', '--', path]);
  else await rm(path, { recursive: true, force: true });
}

/** What killed builds left; to be called with the lock held.
 * @param {string} folder */
async function removePartials(folder) {
  const prefix = `.partial-${basename(folder)}-`;
  for (const name of await readdir(dirname(folder))) {
    if (name.startsWith(prefix)) await removeTree(join(dirname(folder), name));
  }
}

/**
 * Runs an action while no other process runs one with the same lock file. The lock saves double
 * work; that results are whole is due to the rename, so a rare double owner does no harm.
 * @template T
 * @param {string} path
 * @param {() => Promise<T>} action
 * @returns {Promise<T>}
 */
export async function withLock(path, action) {
  let told = false;
  let unlock = await tryLock(path);
  while (unlock === undefined) {
    if (!told) say(`  waiting for another run, which makes ${basename(path, '.lock')}`);
    told = true;
    await sleep(500);
    unlock = await tryLock(path);
  }
  try {
    return await action();
  } finally {
    await unlock();
  }
}

/**
 * Takes a lock if nobody alive has it.
 * @param {string} path
 * @returns {Promise<(() => Promise<void>) | undefined>} gives it back; undefined if another has it
 */
export async function tryLock(path) {
  const owner = JSON.stringify({ pid: process.pid, host: hostname() });
  if (!(await tryCreate(path, owner))) {
    if (!(await isAbandoned(path))) return undefined;
    await rm(path, { force: true });
    if (!(await tryCreate(path, owner))) return undefined;
  }
  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {}); // "npm run clean" may have removed it
  }, heartbeatMs);
  heartbeat.unref();
  return async () => {
    clearInterval(heartbeat);
    await rm(path, { force: true });
  };
}

/** @param {string} path @param {string} content */
async function tryCreate(path, content) {
  try {
    await writeFile(path, content, { flag: 'wx' });
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

/** @param {string} path */
async function isAbandoned(path) {
  try {
    const { mtimeMs } = await stat(path);
    if (Date.now() - mtimeMs > staleMs) return true;
    const { pid, host } = JSON.parse(await readFile(path, 'utf8'));
    return host === hostname() && !isAlive(pid);
  } catch {
    return false; // just released, or not yet written: the next round will tell
  }
}

/** @param {number} pid */
export function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/**
 * Skips a slow check that has succeeded before with all the same inputs. Failures are not kept.
 * @param {string} name
 * @param {readonly unknown[]} inputs everything that its outcome depends on
 * @param {() => Promise<number>} check resolves to an exit code
 * @returns {Promise<number>}
 */
export async function onceSucceeded(name, inputs, check) {
  const stamp = inCache('checks', `${name}-${hashOf(...inputs)}`);
  if (await exists(stamp)) return 0;
  const code = await check();
  if (code === 0) {
    await mkdir(dirname(stamp), { recursive: true });
    await writeFile(stamp, '');
  }
  return code;
}
