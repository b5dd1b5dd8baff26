// SPDX-License-Identifier: GPL-3.0-or-later
// Looks a message up in docs/messages.md, as somebody on call does.

import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { inProject } from '../../scripts/lib/paths.mjs';

/** Texts that say nothing without their context, such as "… fine", would fit nearly everything. */
const MIN_LETTERS = 9;

/** The parts of each message between what varies. */
const messages: readonly (readonly string[])[] = readFileSync(
  inProject('docs', 'messages.md'),
  'utf8',
)
  .split('\n')
  .flatMap((line) => /^(?:\| |- )`(?<text>[^`]+)`/.exec(line)?.groups?.['text'] ?? [])
  .map((text) => text.replaceAll('\\|', '|').split('…'))
  .filter((parts) => parts.join('').replace(/[^\p{L}]/gu, '').length >= MIN_LETTERS);

export function expectDocumented(line: string): void {
  expect(isDocumented(line), `docs/messages.md says nothing of: ${line}`).toBe(true);
}

export function isDocumented(line: string): boolean {
  return messages.some((parts) => {
    let at = 0;
    for (const part of parts) {
      const found = line.indexOf(part, at);
      if (found < 0) return false;
      at = found + part.length;
    }
    return true;
  });
}
