// SPDX-License-Identifier: GPL-3.0-or-later
// The docs, typed: blocks of commands are run as they stand there, and what they print is compared with the block right below.

import { readFile } from 'node:fs/promises';
import { inProject } from '../../scripts/lib/paths.mjs';

/** A block that a reader acts upon. */
export interface Block {
  /** Such as "docs/migrating.md:42". */
  readonly place: string;
  /** The headings above it, from the page's own on. */
  readonly headings: readonly string[];
  readonly commands: string;
  /** undefined: the page does not say. */
  readonly prints: string | undefined;
  /** Why this file does not run it: "not run: …" or "run by …", from a comment before the block. */
  readonly mark: string | undefined;
}

/** @param page such as "docs/migrating.md"
 *  @returns its blocks of commands, and its blocks of JSON for files that the line above them names, in their order */
export async function readBlocks(page: string): Promise<readonly Block[]> {
  const markdown = await readFile(inProject(page), 'utf8');
  const blocks: Block[] = [];
  const token = /^(#+) (.*)$|^( *)(?:<!-- (.*) -->\n+ *)?```(\w*)\n([\s\S]*?)^ *```$/gm;
  let headings: readonly string[] = [];
  let end = 0;
  for (const match of markdown.matchAll(token)) {
    const [whole, level, title = '', indent = '', mark, language = '', text = ''] = match;
    const above = markdown.slice(end, match.index).trimEnd();
    end = match.index + whole.length;
    if (level !== undefined) {
      headings = [...headings.slice(0, level.length - 1), title];
      continue;
    }
    const content = text.replaceAll(new RegExp(`^${indent}`, 'gm'), '');
    const last = blocks.at(-1);
    const file = /`(\/\S+)`:$/.exec(above)?.[1];
    const place = `${page}:${markdown.slice(0, match.index).split('\n').length}`;
    const common = { place, headings, prints: undefined, mark };
    if (language === 'sh') blocks.push({ ...common, commands: content });
    else if (language === 'json' && file !== undefined) {
      blocks.push({
        ...common,
        commands: `cat > ${file} <<'END OF FILE'\n${content}END OF FILE\n`,
      });
    } else if (language === '' && above === '' && last !== undefined) {
      blocks[blocks.length - 1] = { ...last, prints: content };
    }
  }
  return blocks;
}

/** What may differ from one archive to another: ids, and numbers that are not 0; "…" stands for anything. */
const FREE = [
  ['…', '[\\s\\S]*?'],
  ['[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '[0-9a-f-]{36}'],
  ['[0-9a-f]{8}(?:-[0-9a-f]{8}){4}', '[0-9a-f-]{44}'],
  ['\\b[0-9a-f]{2}/[0-9a-f]{2}/', '[0-9a-f]{2}/[0-9a-f]{2}/'],
  ['\\b\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z', '[\\dT:.-]+Z'],
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
