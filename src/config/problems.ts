// SPDX-License-Identifier: GPL-3.0-or-later

import type * as z from 'zod/mini';
import { showName } from '../text/secret.ts';
import { type NamesElsewhere, suggest, suggestForName } from './suggest.ts';

export interface Report {
  /** Any of these stops Orthanc. */
  readonly problems: string[];
  readonly warnings: string[];
  readonly notes: string[];
}

export interface SectionKeys {
  /** With a dot for a section inside another. */
  readonly section: string;
  readonly keys: readonly string[];
  readonly elsewhere?: NamesElsewhere | undefined;
  /** Text to append to the suggestion of a key. */
  readonly hints?: Readonly<Record<string, string>> | undefined;
}

/** @returns such as "AwsS3Storage.StorageEncryption.PreviousMasterKeys[0][1]" */
function settingName(section: string, path: readonly PropertyKey[]): string {
  return path.reduce<string>(
    (name, part) =>
      typeof part === 'number' ? `${name}[${part}]` : `${name}.${showName(String(part))}`,
    section,
  );
}

/** @param known all sections, to find the right one for a misplaced key */
export function describeIssue(
  section: string,
  issue: z.core.$ZodIssue,
  known: readonly SectionKeys[],
): readonly string[] {
  const name = settingName(section, issue.path);
  if (issue.code !== 'unrecognized_keys') return [`${name}: ${issue.message}`];
  return issue.keys.map(
    (key) => `${name}.${showName(key)}: ${describeUnknownKey(name, key, known)}`,
  );
}

function describeUnknownKey(section: string, key: string, known: readonly SectionKeys[]): string {
  const its = known.find((other) => other.section === section);
  const own = its?.keys ?? [];
  const name = suggestForName(key, own, its?.elsewhere);
  if (name !== undefined) return `unknown key, did you mean "${name}"?${its?.hints?.[name] ?? ''}`;
  const owners = known.filter((other) => other.section !== section && other.keys.includes(key));
  // A subsection of this section is likelier than another provider's section.
  const owner = owners.find((other) => other.section.startsWith(`${section}.`)) ?? owners[0];
  if (owner !== undefined) {
    const where = owner.section === '' ? 'at the top of the configuration' : `in ${owner.section}`;
    return `unknown key, it belongs ${where}`;
  }
  const guess = suggest(key, own);
  return guess === undefined ? 'unknown key, remove it' : `unknown key, did you mean "${guess}"?`;
}
