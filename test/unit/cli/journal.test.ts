// SPDX-License-Identifier: GPL-3.0-or-later

import { createHash } from 'node:crypto';
import {
  appendFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openJournal } from '../../../src/cli/journal.ts';
import { StorageError } from '../../../src/errors.ts';

// Two bytes a letter: some of them lie across the borders of what is read at once.
const naming = { rootPath: 'üö', structure: 'flat', legacyUnknownFiles: false } as const;
/** As random as Orthanc's. */
function keyOf(number: number): string {
  const hex = createHash('md5').update(String(number)).digest('hex');
  return `üö/${hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')}.dcm`;
}

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'object-storage-test-'));
  path = join(folder, 'journal.txt');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

test('knows every key of earlier runs, however many', () => {
  // Some 4 MB.
  const count = 80_000;
  const first = openJournal(path, naming);
  for (let number = 0; number < count; number += 1) first.add(keyOf(number));
  first.close();
  const second = openJournal(path, naming);
  const unknown = Array.from({ length: count }, (_, number) => keyOf(number)).filter(
    (key) => !second.isDone(key),
  );
  expect(unknown).toEqual([]);
  expect(second.isDone(keyOf(count))).toBe(false);
  second.close();
});

test('a line that a crash has torn is none, and spoils no other', () => {
  writeFileSync(path, `${keyOf(1)}\n${keyOf(2)}\n`);
  truncateSync(path, readFileSync(path).length - 6);
  const second = openJournal(path, naming);
  expect([1, 2].map((number) => second.isDone(keyOf(number)))).toEqual([true, false]);
  second.add(keyOf(3));
  second.close();
  appendFileSync(path, `${keyOf(4)}\n`);
  const third = openJournal(path, naming);
  expect([1, 2, 3, 4].map((number) => third.isDone(keyOf(number)))).toEqual([
    true,
    false,
    true,
    true,
  ]);
  third.close();
});

test('that cannot be written is refused by its name', () => {
  const open = () => openJournal(join(folder, 'nowhere', 'journal.txt'), naming);
  expect(open).toThrow(StorageError);
  expect(open).toThrow(/nowhere.*journal\.txt: cannot be written \(ENOENT\)/);
});
