// SPDX-License-Identifier: GPL-3.0-or-later
// What package.json says of the project.

import { readFile } from 'node:fs/promises';

import { inProject } from './paths.mjs';
import { run } from './run.mjs';

/** @returns {Promise<{ version: string, orthancMinimum: string, nodeMinimum: string }>} */
export async function readProject() {
  const { version, engines } = JSON.parse(await readFile(inProject('package.json'), 'utf8'));
  const minimum = (/** @type {string} */ range) => range.replace(/^>=/, '');
  return { version, orthancMinimum: minimum(engines.orthanc), nodeMinimum: minimum(engines.node) };
}

/**
 * What makes two builds of one commit the same.
 * @returns {Promise<{ date: Date, isClean: boolean }>} the commit's time, or that of SOURCE_DATE_EPOCH
 */
export async function readCommit() {
  const seconds = process.env.SOURCE_DATE_EPOCH || (await git('log', '-1', '--format=%ct'));
  const date = new Date(Number(seconds) * 1000);
  return { date, isClean: (await git('status', '--porcelain')) === '' };
}

/** @param {...string} args */
export async function git(...args) {
  return (await run(['git', '-C', inProject(), ...args])).trim();
}
