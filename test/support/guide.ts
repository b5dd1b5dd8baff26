// SPDX-License-Identifier: GPL-3.0-or-later
// The docs, typed: blocks of commands are run as they stand there, and what they print is compared with the block right below.

import { readFile } from 'node:fs/promises';
import { type Box, runInBox } from '../../scripts/lib/box.mjs';
import { inProject } from '../../scripts/lib/paths.mjs';

export interface Block {
  readonly commands: string;
  /** undefined: the page does not say. */
  readonly prints: string | undefined;
}

/** @param page such as "docs/operations.md"
 *  @returns the blocks of commands below a heading, in their order; an own one for each block of output */
export async function readBlocks(page: string, heading: string): Promise<readonly Block[]> {
  const markdown = await readFile(inProject(page), 'utf8');
  const [section] = markdown
    .split(/^(?=## )/m)
    .filter((part) => part.startsWith(`## ${heading}\n`));
  if (section === undefined) throw new Error(`${page} has no heading "${heading}"`);
  const blocks: Block[] = [];
  for (const { language, content, isNext } of fencesIn(section)) {
    const last = blocks.at(-1);
    if (language === 'sh') blocks.push({ commands: content, prints: undefined });
    else if (language === '' && isNext && last !== undefined && last.prints === undefined) {
      blocks[blocks.length - 1] = { ...last, prints: content };
    }
  }
  return blocks;
}

/** Also in lists, without their indent. `isNext`: nothing stands between it and the block before. */
function fencesIn(section: string) {
  const fence = /^( *)```(\w*)\n([\s\S]*?)^ *```$/gm;
  let end = 0;
  return Array.from(section.matchAll(fence), (match) => {
    const [whole, indent = '', language = '', content = ''] = match;
    const isNext = section.slice(end, match.index).trim() === '';
    end = match.index + whole.length;
    return { language, content: content.replaceAll(new RegExp(`^${indent}`, 'gm'), ''), isNext };
  });
}

/** Where the docs' paths and addresses are others. */
export interface GuideMap {
  /** What the docs say, and what is there instead. */
  readonly places: readonly (readonly [string, string])[];
  readonly box: Box;
  readonly environment: Readonly<Record<string, string>>;
  readonly folder: string;
}

/** @returns what was printed, standard error included, in the docs' words */
export async function typeCommands(commands: string, map: GuideMap): Promise<string> {
  const { box, places, environment, folder } = map;
  const mapped = places.reduce((all, [from, to]) => all.replaceAll(from, to), commands);
  const { stdout } = await runInBox(box, ['bash', '-c', `exec 2>&1\n${mapped}`], {
    cwd: folder,
    env: environment,
    binds: [folder],
  });
  return places.reduce((all, [from, to]) => all.replaceAll(to, from), stdout);
}

/** What may differ from one archive to another: ids, and numbers that are not 0; "…" stands for anything. */
const FREE = [
  ['…', '[\\s\\S]*?'],
  ['[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '[0-9a-f-]{36}'],
  ['[0-9a-f]{8}(?:-[0-9a-f]{8}){4}', '[0-9a-f-]{44}'],
  ['\\b[0-9a-f]{2}/[0-9a-f]{2}/', '[0-9a-f]{2}/[0-9a-f]{2}/'],
  ['\\b(?:[1-9]\\d*(?:\\.\\d+)?|0\\.\\d*[1-9])\\b', '\\d+(?:\\.\\d+)?'],
] as const;

/** @param prints as it stands in the docs */
export function patternOf(prints: string): RegExp {
  const free = new RegExp(FREE.map(([from]) => `(${from})`).join('|'), 'g');
  let pattern = '';
  let end = 0;
  for (const match of prints.trimEnd().matchAll(free)) {
    const kind = match.slice(1).findIndex((group) => group !== undefined);
    pattern += escapePattern(prints.slice(end, match.index)) + FREE[kind]?.[1];
    end = match.index + match[0].length;
  }
  return new RegExp(`^${pattern}${escapePattern(prints.trimEnd().slice(end))}\\s*$`);
}

function escapePattern(literal: string): string {
  return literal.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/[ \t]+/g, '[ \\t]+');
}
