// SPDX-License-Identifier: GPL-3.0-or-later
// The rule of deploy/monitoring/vector.toml, by the two patterns in it. `npm run monitoring:test` tries more of that file.

import { readFileSync } from 'node:fs';
import { inProject } from '../../scripts/lib/paths.mjs';

export interface ParsedLine {
  /** E, W, I or T. */
  readonly level: string;
  readonly thread: string;
  readonly source: string;
  readonly text: string;
  readonly values: Readonly<Record<string, string>>;
}

const [linePattern, valuePattern] = [
  ...readFileSync(inProject('deploy', 'monitoring', 'vector.toml'), 'utf8').matchAll(
    /parse_regex(?:_all!)?\(\.\w+, r'(?<pattern>.+)'\)$/gm,
  ),
].map(({ groups }) => {
  // Rust's ways to write a named group and a flag.
  const pattern = (groups?.['pattern'] ?? '').replaceAll('(?P<', '(?<').replace('(?s)', '');
  return new RegExp(pattern, 'gsu');
});

/** The names of the values that the rule knows. */
export const KNOWN_NAMES: readonly string[] =
  /\?<name>(?<names>[\w|]+)\)/.exec(valuePattern?.source ?? '')?.groups?.['names']?.split('|') ??
  [];

/** @returns undefined where it is not the plugin's line */
export function parseLogLine(line: string): ParsedLine | undefined {
  if (linePattern === undefined || valuePattern === undefined) throw new Error('no pattern');
  const [found] = line.matchAll(linePattern);
  if (found === undefined) return undefined;
  const { level = '', thread = '', source = '', text = '' } = found.groups ?? {};
  return { level, thread, source, text, values: parseValues(text) };
}

export function parseValues(text: string): Readonly<Record<string, string>> {
  if (valuePattern === undefined) throw new Error('no pattern');
  const pairs = [...text.matchAll(valuePattern)].map(({ groups }) => {
    const { name = '', value = '' } = groups ?? {};
    return [name, value.startsWith('"') ? parseJson(value) : value];
  });
  // The first of two counts.
  return Object.fromEntries(pairs.toReversed()) as Readonly<Record<string, string>>;
}

function parseJson(value: string): unknown {
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}
