// SPDX-License-Identifier: GPL-3.0-or-later
// The npm packages that are inside of what is built, with their licences.

import { readdir, readFile } from 'node:fs/promises';

import { inProject } from './paths.mjs';

/**
 * @typedef {object} BundledPackage
 * @property {string} name
 * @property {string} version
 * @property {string} license an SPDX identifier
 * @property {readonly string[]} holders such as "2011-2026 Somebody"
 * @property {string} text of its licence and notice files; "" if it has none
 */

/** The shim is compiled with its headers. */
const compiledIn = 'node_modules/node-addon-api';

/**
 * Those of which something is in the output: what esbuild only reads, it leaves out.
 * @param {readonly import('esbuild').Metafile[]} metafiles
 * @returns {readonly string[]} their folders, relative to the project's
 */
export function bundledFolders(metafiles) {
  const inputs = metafiles
    .flatMap(({ outputs }) => Object.values(outputs))
    .flatMap((output) => Object.entries(output.inputs))
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0);
  const folders = inputs.flatMap(([path]) => {
    const match = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(path);
    return match?.[1] === undefined ? [] : [match[1]];
  });
  return [...new Set([...folders, compiledIn])].sort();
}

/**
 * @param {readonly string[]} folders
 * @returns {Promise<readonly BundledPackage[]>}
 */
export async function readPackages(folders) {
  return await Promise.all(folders.map(readPackage));
}

/** @param {string} folder @returns {Promise<BundledPackage>} */
async function readPackage(folder) {
  const about = JSON.parse(await readFile(inProject(folder, 'package.json'), 'utf8'));
  const files = (await readdir(inProject(folder)))
    .filter((name) => /^(licen[cs]e|notice|copying)(\.(md|txt))?$/i.test(name))
    .sort();
  const texts = await Promise.all(files.map((name) => readFile(inProject(folder, name), 'utf8')));
  const text = texts.map((each) => each.replaceAll('\r', '').trim()).join('\n\n');
  const author = typeof about.author === 'object' ? about.author.name : about.author;
  const holders = holdersIn(text);
  return {
    name: about.name,
    version: about.version,
    license: about.license,
    holders: holders.length > 0 ? holders : [author ?? `the authors of ${about.name}`],
    text,
  };
}

/**
 * "Copyright (c) 2020 Somebody", not "Copyright [yyyy]" of a form and not "Copyright and related rights" of a text.
 * @param {string} text of a licence
 */
function holdersIn(text) {
  const lines = text.matchAll(
    /^[^\p{L}©\n]*Copyright:?(?!\s*(?:and |notice|licen|\[))\s*(?:\([Cc]\)|©)?(.+)$/gmu,
  );
  return Array.from(lines, ([, holder = '']) =>
    holder
      .replace(/[.,]?\s*All rights reserved.*$/i, '')
      .replace(/[`<>]/g, '')
      .trim(),
  );
}

/** @param {readonly BundledPackage[]} packages */
export function renderNotices(packages) {
  const notices = packages.map(({ name, version, license, holders, text }) => {
    const none = `It has no file of its licence, and names ${license}, whose text stands with another package here. Its author: ${holders.join(', ')}`;
    return `=== ${name} ${version} (${license})\n\n${text === '' ? none : text}\n`;
  });
  return `The plugin and the command line contain these packages.\n\n${notices.join('\n')}`;
}

/** Where Debian keeps the texts that most packages share. */
const commonLicenses = { 'Apache-2.0': 'Apache-2.0' };

/**
 * For debian/copyright: a paragraph for each package, and one for each licence.
 * @param {readonly BundledPackage[]} packages
 */
export function renderDebianCopyright(packages) {
  const files = packages.map(
    ({ name, license, holders }) =>
      `Files: node_modules/${name}/*\nCopyright: ${holders.join('\n           ')}\nLicense: ${license}\n`,
  );
  const licenses = [...new Set(packages.map(({ license }) => license))].sort();
  const texts = licenses.map((license) => {
    const common = commonLicenses[license];
    if (common !== undefined) {
      return `License: ${license}\n On Debian systems, the text is in /usr/share/common-licenses/${common}.\n`;
    }
    const text = packages.find((each) => each.license === license && each.text !== '')?.text;
    if (text === undefined) throw new Error(`no package has the text of the licence ${license}`);
    const lines = text.split('\n').filter((line) => !/^\W*copyright \(c\)/i.test(line));
    return `License: ${license}\n${lines.map((line) => ` ${line.trim() || '.'}`).join('\n')}\n`;
  });
  return [...files, ...texts].join('\n');
}
