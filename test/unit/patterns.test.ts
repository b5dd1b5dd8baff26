// SPDX-License-Identifier: GPL-3.0-or-later
// What holds for all of src: no text can keep a regular expression busy, and no text gets out but by the ways that make it safe.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isSafePattern } from 'redos-detector';
import { expect, test } from 'vitest';
import { parseAst } from 'vitest/node';

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly regex?: { readonly pattern: string; readonly flags: string };
}

interface Found {
  readonly file: string;
  readonly node: Node;
  readonly text: string;
}

const nodes: readonly Found[] = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  .flatMap((file) => {
    const source = readFileSync(join(SOURCES, file), 'utf8');
    return [...nodesIn(parseAst(source, { lang: 'ts' }))].map((node) => ({
      file,
      node,
      text: source.slice(node.start, node.end),
    }));
  });

function* nodesIn(value: unknown): Generator<Node> {
  if (typeof value !== 'object' || value === null) return;
  if ('type' in value && 'start' in value) yield value as Node;
  for (const child of Object.values(value)) yield* nodesIn(child);
}

/** @returns why it is not known to take time in proportion to the text, whatever that is; undefined: it does */
function describeDoubt(pattern: string, flags: string): string | undefined {
  // Without a repetition each attempt takes at most so many steps as the pattern has.
  if (!/[*+{]|\\[1-9k]/.test(pattern)) return undefined;
  const result = isSafePattern(flags.includes('y') ? `^(?:${pattern})` : pattern, {
    unicode: flags.includes('u'),
    caseInsensitive: flags.includes('i'),
    multiLine: flags.includes('m'),
    dotAll: flags.includes('s'),
    maxSteps: 5_000,
  });
  return result.safe ? undefined : (result.error ?? 'unsafe');
}

const patterns = nodes.flatMap(({ file, node: { regex } }) =>
  regex === undefined ? [] : [{ file, ...regex }],
);

test('the patterns of src are found', () => {
  expect(patterns.length).toBeGreaterThan(150);
});

test('every regular expression of src takes linear time', { timeout: 120_000 }, () => {
  const unproven = patterns.flatMap(({ file, pattern, flags }) => {
    const doubt = describeDoubt(pattern, flags);
    return doubt === undefined ? [] : [`${file}: /${pattern}/${flags}: ${doubt}`];
  });
  expect(unproven).toEqual([]);
});

// Those that src once had.
test.each([
  [String.raw`="(?:\\.|[^"])*"`],
  [String.raw`Authorization\s*[:=]\s*[^\r\n]+`],
  [String.raw`\s+$`],
  [String.raw`[ \t]*(?:\/\*[\s\S]*?\*\/)`],
  [String.raw`^\s*(.*?)\s*$`],
  ['bucket.*does not exist'],
])('%s does not pass', (pattern) => {
  expect(describeDoubt(pattern, '')).toBeDefined();
});

test('none is put together at run time, where nobody could look at it', () => {
  const made = nodes.filter(
    ({ node, text }) =>
      /^(New|Call)Expression$/.test(node.type) && /^(new )?(globalThis\.)?RegExp\b/.test(text),
  );
  expect(made.map(({ file, text }) => `${file}: ${text}`)).toEqual([]);
});

test('commands print by tools/common/output.ts alone', () => {
  const outputs = /^(process\.(stdout|stderr)|console)\b/;
  const found = nodes.filter(
    ({ file, node, text }) =>
      node.type === 'MemberExpression' && outputs.test(text) && file !== 'tools/common/output.ts',
  );
  expect(found.map(({ file, text }) => `${file}: ${text}`)).toEqual([]);
});

test('only safe-text.ts says that a text is safe', () => {
  const casts = nodes.filter(
    ({ file, node, text }) =>
      node.type === 'TSAsExpression' && text.endsWith('SafeText') && file !== 'text/safe-text.ts',
  );
  expect(casts.map(({ file, text }) => `${file}: ${text}`)).toEqual([]);
});
