// SPDX-License-Identifier: GPL-3.0-or-later
// The boxes there are.

import { UserError } from './log.mjs';

/**
 * @typedef {'trixie' | 'testing'} BoxName
 * @typedef {{ suite: string, label: string, aptOptions: readonly string[], image: string }} Suite
 */

/**
 * With Docker, the default box is the official image, whatever it is made from; ORTHANC_IMAGE
 * names another.
 * @type {Readonly<Record<BoxName, Suite>>}
 */
export const suites = {
  trixie: {
    suite: 'trixie',
    label: 'Debian 13: Orthanc 1.12.7, Node 20',
    aptOptions: [],
    image: process.env.ORTHANC_IMAGE || 'orthancteam/orthanc:26.8.1',
  },
  testing: {
    suite: 'forky',
    label: 'Debian testing: Orthanc 1.13, Node 24',
    // Release files of a moving suite expire in a week; a mirror may lag behind.
    aptOptions: ['Acquire::Check-Valid-Until "false"'],
    image: 'debian:testing-slim',
  },
};

/** @type {BoxName} */
export const defaultBox = 'trixie';

/** @type {readonly BoxName[]} */
export const boxNames = /** @type {BoxName[]} */ (Object.keys(suites));

/** @param {string} text @returns {BoxName} */
export function parseBoxName(text) {
  const name = boxNames.find((known) => known === text);
  if (name === undefined) {
    throw new UserError(`There is no box "${text}"; there are ${boxNames.join(' and ')}.`);
  }
  return name;
}
