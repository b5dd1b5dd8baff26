// SPDX-License-Identifier: GPL-3.0-or-later
// node_modules, kept in step with package-lock.json.

import { mkdir, readFile } from 'node:fs/promises';

import { withLock } from './cache.mjs';
import { runStep } from './log.mjs';
import { inProject, projectRoot } from './paths.mjs';
import { run } from './run.mjs';

/** Installs the npm packages where node_modules is missing or not what package-lock.json says. */
export async function ensureDependencies() {
  if (await areDependenciesInstalled()) return;
  await mkdir(inProject('build'), { recursive: true });
  await withLock(inProject('build', 'npm-ci.lock'), async () => {
    if (await areDependenciesInstalled()) return;
    await runStep('Installing the npm packages (npm ci)', () =>
      run(['npm', 'ci', '--no-audit', '--no-fund'], { cwd: projectRoot }),
    );
  });
}

/** npm notes at the end of every installation what it has put where. */
async function areDependenciesInstalled() {
  const wanted = await readPackages(inProject('package-lock.json'));
  const installed = await readPackages(inProject('node_modules', '.package-lock.json'));
  if (wanted === undefined || installed === undefined) return false;
  for (const [path, { integrity, optional }] of Object.entries(wanted)) {
    if (path === '') continue; // the project itself
    const found = installed[path];
    if (found === undefined ? !optional : found.integrity !== integrity) return false;
  }
  return Object.keys(installed).every((path) => path in wanted);
}

/**
 * @param {string} lockFile
 * @returns {Promise<Record<string, { integrity?: string, optional?: boolean }> | undefined>}
 */
async function readPackages(lockFile) {
  try {
    return JSON.parse(await readFile(lockFile, 'utf8')).packages;
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}
