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
import { StorageError } from '../../../../src/errors.ts';
import { openJournal } from '../../../../src/tools/migrate/journal.ts';

// Two bytes a letter: some of them lie across the borders of what is read at once.
const to = {
  name: 's3 https://host images üö',
  naming: { rootPath: 'üö', structure: 'flat', legacyUnknownFiles: false },
} as const;
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
  const first = openJournal(path, to);
  for (let number = 0; number < count; number += 1) first.add(keyOf(number));
  first.close();
  const second = openJournal(path, to);
  const unknown = Array.from({ length: count }, (_, number) => keyOf(number)).filter(
    (key) => !second.isDone(key),
  );
  expect(unknown).toEqual([]);
  expect(second.isDone(keyOf(count))).toBe(false);
  second.close();
});

test('a line that a crash has torn is none, and spoils no other', () => {
  const first = openJournal(path, to);
  first.add(keyOf(1));
  first.add(keyOf(2));
  first.close();
  truncateSync(path, readFileSync(path).length - 6);
  const second = openJournal(path, to);
  expect([1, 2].map((number) => second.isDone(keyOf(number)))).toEqual([true, false]);
  second.add(keyOf(3));
  second.close();
  appendFileSync(path, `${keyOf(4)}\n`);
  const third = openJournal(path, to);
  expect([1, 2, 3, 4].map((number) => third.isDone(keyOf(number)))).toEqual([
    true,
    false,
    true,
    true,
  ]);
  third.close();
});

test('of another bucket is refused: what is done there is not done here', () => {
  openJournal(path, to).close();
  const other = { ...to, name: 'azure https://account images üö' };
  expect(() => openJournal(path, other)).toThrow(
    /journal\.txt: is the journal of copies into s3 .*, not into azure /,
  );
});

test.each([
  ['of an earlier version', `${keyOf(1)}\n${keyOf(2)}\n`],
  ['that is no journal', '{ "Name": "Orthanc" }\n'],
  ['of one line without an end', 'x'],
])('%s is refused and left as it is', (_, content) => {
  writeFileSync(path, content);
  expect(() => openJournal(path, to)).toThrow(/journal\.txt: is no journal, or one of an earlier/);
  expect(readFileSync(path, 'utf8')).toBe(content);
});

test('that cannot be written is refused by its name', () => {
  const open = () => openJournal(join(folder, 'nowhere', 'journal.txt'), to);
  expect(open).toThrow(StorageError);
  expect(open).toThrow(/nowhere.*journal\.txt: cannot be written \(ENOENT\)/);
});
