// SPDX-License-Identifier: GPL-3.0-or-later
// What a build is for, in the words of those who install it.

import { hasDocker } from './host.mjs';
import { UserError } from './log.mjs';
import { defaultBox, parseBoxName, suites } from './suites.mjs';

/**
 * @typedef {import('./suites.mjs').BoxName} BoxName
 * @typedef {object} Target
 * @property {BoxName} box
 * @property {string} [image] with Docker, what the box is made on
 * @property {string} [revision] of Debian's package: a newer release of Debian sorts after an older one, so that an upgrade takes its build
 */

/**
 * With Docker, the box "trixie" is the official image, so Debian 13 is another one.
 * @type {Readonly<Record<string, Target>>}
 */
const targets = {
  debian13: { box: 'trixie', image: 'debian:13-slim', revision: '1~deb13u1' },
  testing: { box: 'testing', revision: '1' },
  image: { box: 'trixie', image: suites.trixie.image },
};

/** Those that the packages are for. */
const packagedTargets = ['debian13', 'testing'];

const notBoth = 'Write --for or --box, not both.';

/**
 * @param {string} name
 * @returns {Target}
 */
export function findTarget(name) {
  const target = targets[name];
  if (target === undefined) {
    const known = Object.keys(targets).join(', ');
    throw new UserError(`There is no target "${name}"; there are ${known}.`);
  }
  return target;
}

/**
 * @param {{ for?: string, box?: string }} options of the command line
 * @returns {Promise<Target>}
 */
export async function chooseTarget({ for: name, box }) {
  if (name === undefined) return { box: parseBoxName(box ?? defaultBox) };
  if (box !== undefined) throw new UserError(notBoth);
  const target = findTarget(name);
  if (name === 'image' && !(await hasDocker())) {
    throw new UserError(
      'A build for the official image needs a Docker engine that answers "docker info": it is built inside of that image.',
    );
  }
  return target;
}

/** @param {{ for?: string, box?: string }} options of the command line @returns {readonly string[]} */
export function choosePackagedTargets({ for: name, box }) {
  if (name !== undefined && box !== undefined) throw new UserError(notBoth);
  if (name !== undefined && !packagedTargets.includes(name)) {
    throw new UserError(`Packages are for ${packagedTargets.join(' and ')}, not for "${name}".`);
  }
  if (name !== undefined) return [name];
  const boxName = box === undefined ? undefined : parseBoxName(box);
  return packagedTargets.filter((target) => [undefined, findTarget(target).box].includes(boxName));
}
