// SPDX-License-Identifier: GPL-3.0-or-later
// Debian's prometheus, with promtool: those of this machine, else in a root file system of their own.

import { spawn } from 'node:child_process';

import { ensureChroot, spawnInChroot } from '../../scripts/lib/chroot-box.mjs';
import { canInstallPackages } from '../../scripts/lib/host.mjs';
import { UserError } from '../../scripts/lib/log.mjs';
import { projectRoot } from '../../scripts/lib/paths.mjs';
import { collectOutput, createCommandError, hasCommand } from '../../scripts/lib/run.mjs';

const root = {
  name: 'monitoring',
  label: 'prometheus of Debian 13',
  suite: 'trixie',
  packages: ['ca-certificates', 'prometheus'],
  aptOptions: [],
};

/**
 * @typedef {object} Tools
 * @property {(argv: readonly string[], input?: string) => Promise<string>} to its end; a failure throws
 * @property {(argv: readonly string[]) => import('node:child_process').ChildProcess} start a command
 */

/**
 * @param {string} folder that the commands have to see, beside the project
 * @returns {Promise<Tools>}
 */
export async function ensureTools(folder) {
  const spawnTool = await chooseSpawn(folder);
  return {
    start: (argv) => spawnTool(argv),
    run: async (argv, input) => {
      const result = await collectOutput(spawnTool(argv), input);
      if (result.code !== 0) throw createCommandError(argv, result);
      return result.stdout;
    },
  };
}

async function chooseSpawn(folder) {
  const found = await Promise.all(['prometheus', 'promtool'].map(hasCommand));
  if (found.every(Boolean)) {
    return ([command, ...args]) => spawn(command, args, { cwd: projectRoot, stdio: 'pipe' });
  }
  if (!(await canInstallPackages())) {
    throw new UserError(
      'Missing on this machine: prometheus, or promtool. Install: sudo apt-get install prometheus',
    );
  }
  const box = await ensureChroot(root);
  return (argv) =>
    spawnInChroot(box, argv, {
      cwd: projectRoot,
      env: { PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
      binds: [projectRoot, folder],
      stdio: 'pipe',
      endWithParent: true,
    });
}
