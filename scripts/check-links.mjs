// SPDX-License-Identifier: GPL-3.0-or-later
// Finds links of the Markdown files that lead nowhere: to files, to headings, to pages that sources name. Addresses of others are not asked.

import { readFile, stat } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';

import { runMain } from './lib/log.mjs';
import { inProject } from './lib/paths.mjs';
import { run } from './lib/run.mjs';

runMain(async () => {
  const files = await listFiles();
  const pages = new Map(
    await Promise.all(
      files
        .filter((file) => file.endsWith('.md'))
        .map(async (file) => /** @type {const} */ ([file, await readPage(file)])),
    ),
  );
  /** @type {string[]} */ const broken = [];
  for (const [file, { links }] of pages) {
    for (const { line, target } of links) {
      const problem = await findProblem(file, target, pages);
      if (problem !== undefined) broken.push(`${file}:${line}: ${target}: ${problem}`);
    }
  }
  for (const file of files.filter((name) => /\.(ts|mjs|cpp|h|json)$/.test(name))) {
    const text = await readFile(inProject(file), 'utf8');
    for (const [path] of text.matchAll(/\bdocs\/[\w/-]+\.md\b/g)) {
      if (!pages.has(path)) broken.push(`${file}: ${path}: there is no such page`);
    }
  }
  for (const one of broken) console.error(one);
  const count = [...pages.values()].reduce((sum, { links }) => sum + links.length, 0);
  console.log(`${count} links in ${pages.size} pages, ${broken.length} lead nowhere`);
  return broken.length === 0 ? 0 : 1;
});

/** @returns {Promise<readonly string[]>} those of the repository, new ones included */
async function listFiles() {
  const argv = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z'];
  const names = (await run(argv, { cwd: inProject('.') }))
    .split('\0')
    .filter((name) => name !== '');
  const present = await Promise.all(names.map(async (name) => (await isThere(name)) && name));
  return present.filter((name) => name !== false);
}

/** @param {string} path */
const isThere = (path) =>
  stat(inProject(path)).then(
    () => true,
    () => false,
  );

/** @param {string} file */
async function readPage(file) {
  const text = await readFile(inProject(file), 'utf8');
  // Lines stay, so that they can be counted.
  const prose = text.replace(/^( *)(```+)[\s\S]*?^\1\2$/gm, (block) => block.replace(/[^\n]/g, ''));
  /** @type {Set<string>} */ const anchors = new Set();
  for (const [, title = ''] of prose.matchAll(/^#+ (.*)$/gm)) {
    const slug = slugOf(title);
    let unique = slug;
    for (let number = 1; anchors.has(unique); number += 1) unique = `${slug}-${number}`;
    anchors.add(unique);
  }
  const links = [];
  for (const [index, line] of prose.split('\n').entries()) {
    const bare = line.replace(/`[^`]*`/g, 'code');
    for (const [, target = ''] of bare.matchAll(/\]\(([^)\s]+)\)/g)) {
      links.push({ line: index + 1, target });
    }
  }
  return { anchors, links };
}

/** As GitHub does it. @param {string} title */
const slugOf = (title) =>
  title
    .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-');

/**
 * @param {string} file
 * @param {string} target
 * @param {ReadonlyMap<string, { readonly anchors: ReadonlySet<string> }>} pages
 * @returns {Promise<string | undefined>}
 */
async function findProblem(file, target, pages) {
  if (/^[a-z]+:/.test(target)) return undefined;
  const [path = '', anchor] = target.split('#');
  const page = path === '' ? file : normalize(join(dirname(file), path));
  if (!(await isThere(page))) return 'there is no such file';
  if (anchor === undefined) return undefined;
  return pages.get(page)?.anchors.has(anchor) ? undefined : 'there is no such heading';
}
