// SPDX-License-Identifier: GPL-3.0-or-later
// What the machine offers, and installing what it lacks.

import { existsSync } from 'node:fs';

import { runStep, UserError } from './log.mjs';
import { capture, hasCommand, run } from './run.mjs';

/** Node's oldest major version that the project supports. */
const oldestNodeMajor = 20;

/** @throws UserError when this Node is too old */
export function checkNodeVersion() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major >= oldestNodeMajor) return;
  throw new UserError(
    `Node ${oldestNodeMajor} or later is needed, this is ${process.versions.node}. ` +
      'Install it from https://nodejs.org or with your package manager.',
  );
}

/** Whether packages can be installed here without asking: root on Debian or one of its children. */
export async function canInstallPackages() {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false;
  return await hasCommand('apt-get');
}

/** @type {Promise<boolean> | undefined} */ let dockerAnswer;

/** Whether a Docker engine answers; asked once per process. */
export function hasDocker() {
  dockerAnswer ??= capture(['docker', 'info']).then(
    ({ code }) => code === 0,
    () => false,
  );
  return dockerAnswer;
}

/** apt has one lock, so installations of one process follow each other. */
let lastInstallation = Promise.resolve();

/**
 * Installs Debian packages on the host where something of theirs is missing.
 * @param {Readonly<Record<string, string>>} packages command or absolute path → package
 * @throws UserError naming what is missing and how to get it, where it cannot be installed
 */
export async function ensureHostPackages(packages) {
  const installation = lastInstallation.then(() => installMissing(packages));
  lastInstallation = installation.catch(() => {});
  await installation;
}

/** @param {Readonly<Record<string, string>>} packages */
async function installMissing(packages) {
  const missing = [];
  for (const [part, name] of Object.entries(packages)) {
    const isThere = part.startsWith('/') ? existsSync(part) : await hasCommand(part);
    if (!isThere) missing.push(name);
  }
  if (missing.length === 0) return;
  const names = missing.join(' ');
  if (!(await canInstallPackages())) {
    throw new UserError(
      `Missing on this machine: ${names}. Install: sudo apt-get install ${names}`,
    );
  }
  await runStep(`Installing Debian packages on this machine: ${names}`, async () => {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    // Another apt-get may be at work: wait for its lock instead of failing.
    const apt = ['apt-get', '-o', 'DPkg::Lock::Timeout=300'];
    await run([...apt, 'update'], { env });
    await run([...apt, 'install', '-y', '--no-install-recommends', ...missing], { env });
  });
}

/** @throws UserError where even root may not mount, as in most containers */
export async function checkCanMount() {
  const { code, stderr } = await capture([
    'unshare',
    '--mount',
    '--propagation',
    'private',
    'true',
  ]);
  if (code === 0) return;
  throw new UserError(
    `Without Docker the box needs mounts, which are not allowed here (${stderr.trim()}). ` +
      'In a container: start it with --privileged, or give it the socket of the Docker engine.',
  );
}
