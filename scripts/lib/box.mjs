// SPDX-License-Identifier: GPL-3.0-or-later
// The box: where Orthanc, libnode and the compiler are. What uses it need not know which kind it is.

import { tmpdir } from 'node:os';

import { ensureChroot, spawnInChroot } from './chroot-box.mjs';
import { ensureImage, spawnInContainer } from './docker-box.mjs';
import { canInstallPackages, hasDocker } from './host.mjs';
import { UserError } from './log.mjs';
import { listPackageNames, packagerPackages } from './packages.mjs';
import { projectRoot } from './paths.mjs';
import { collectOutput, createCommandError } from './run.mjs';
import { suites } from './suites.mjs';

/**
 * @typedef {import('./suites.mjs').BoxName} BoxName
 * @typedef {{ name: BoxName, kind: 'chroot', folder: string }
 *   | { name: BoxName, kind: 'docker', image: string }} Box
 *
 * @typedef {object} BoxOptions
 * @property {string} [cwd] the project root if absent; below it, a bind or the temporary folder
 * @property {Readonly<Record<string, string>>} [env] added to a clean environment
 * @property {readonly string[]} [binds] more folders, at the same absolute path inside; the project
 *   root and the temporary folder always are
 * @property {import('node:child_process').StdioOptions} [stdio]
 * @property {boolean} [endWithParent] kill it when this process dies in whatever way (true)
 * @property {boolean} [asRoot] in a container, too, where commands otherwise run as the user who started them
 * @property {boolean} [detached] a process group of its own, which Ctrl-C at the terminal spares
 */

/**
 * Another use of a suite than to build and to try.
 * @typedef {object} Variation
 * @property {string} [image] with Docker, what it is made on
 * @property {'packager'} [purpose] another list of packages
 */

/** @type {Map<string, Promise<Box>>} */
const boxes = new Map();

/**
 * Returns a box that is ready, making it first if it is not in the cache.
 * @param {BoxName} [name]
 * @param {Variation} [variation]
 * @returns {Promise<Box>}
 */
export function ensureBox(name = 'trixie', variation = {}) {
  const key = JSON.stringify([name, variation]);
  let box = boxes.get(key);
  if (box === undefined) {
    box = makeBox(name, variation);
    boxes.set(key, box);
  }
  return box;
}

/** @param {BoxName} name @param {Variation} variation @returns {Promise<Box>} */
async function makeBox(name, { image = suites[name].image, purpose }) {
  const recipe = {
    ...suites[name],
    name: purpose === undefined ? name : `${purpose}-${name}`,
    image,
    packages: purpose === undefined ? listPackageNames(name) : packagerPackages,
  };
  if (await hasDocker()) return { name, kind: 'docker', image: await ensureImage(recipe) };
  if (await canInstallPackages()) {
    return { name, kind: 'chroot', folder: await ensureChroot(recipe) };
  }
  throw new UserError(
    `The box (${suites[name].label}) needs one of:\n` +
      '  - a Docker engine that answers "docker info" (https://docs.docker.com/engine/install, or\n' +
      '    on Debian: sudo apt-get install docker.io && sudo usermod -aG docker $USER)\n' +
      '  - root on Debian or Ubuntu, where mmdebstrap makes it: run the same command with sudo',
  );
}

/**
 * Starts a command in a box. In the chroot kind the child's pid is the command's own, so signals
 * reach it and /proc tells about it; in the Docker kind it is that of the client, which passes
 * signals on.
 * @param {Box} box
 * @param {readonly string[]} argv
 * @param {BoxOptions} [options]
 * @returns {import('node:child_process').ChildProcess}
 */
export function spawnInBox(box, argv, options = {}) {
  const {
    cwd = projectRoot,
    env = {},
    binds = [],
    stdio = 'inherit',
    endWithParent = true,
  } = options;
  const full = {
    cwd,
    env: { ...createEnvironment(), ...env },
    binds: [...new Set([tmpdir(), projectRoot, ...binds])],
    stdio,
    endWithParent,
    detached: options.detached ?? false,
    asRoot: options.asRoot ?? false,
  };
  if (box.kind === 'chroot') return spawnInChroot(box.folder, argv, full);
  return spawnInContainer(box.image, argv, full);
}

/** Nothing of the host's environment leaks, so that a run is the same on every machine. */
function createEnvironment() {
  return {
    PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    HOME: '/root',
    LANG: 'C.UTF-8',
    TERM: process.env.TERM ?? 'dumb',
  };
}

/**
 * Runs a command in a box to its end and returns what it wrote, whatever its exit code.
 * @param {Box} box
 * @param {readonly string[]} argv
 * @param {Omit<BoxOptions, 'stdio'> & { input?: string | Uint8Array }} [options]
 * @returns {Promise<import('./run.mjs').CommandResult>}
 */
export function runInBox(box, argv, { input, ...options } = {}) {
  return collectOutput(spawnInBox(box, argv, { ...options, stdio: 'pipe' }), input);
}

/**
 * Runs a command in a box that has to succeed.
 * @param {Box} box
 * @param {readonly string[]} argv
 * @param {Omit<BoxOptions, 'stdio'> & { input?: string | Uint8Array }} [options]
 * @returns {Promise<string>} its stdout
 * @throws UserError with the end of its output
 */
export async function runInBoxOrFail(box, argv, options = {}) {
  const result = await runInBox(box, argv, options);
  if (result.code !== 0) throw createCommandError(argv, result);
  return result.stdout;
}
