// SPDX-License-Identifier: GPL-3.0-or-later
// Files that commands keep or write: whose they are, and what must not be in their place.

import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readRegularFile } from '../../../../src/store/regular-file.ts';
import { openOutput, readStateFile, writeStateFile } from '../../../../src/tools/common/files.ts';
import { openJournal } from '../../../../src/tools/migrate/journal.ts';
import { openRekeyState } from '../../../../src/tools/rekey/state.ts';
import { readOrphanReport, writeOrphanReport } from '../../../../src/tools/verify/orphan-report.ts';

const PLACE = {
  name: 's3 bucket',
  naming: { rootPath: '', structure: 'flat', legacyUnknownFiles: false },
} as const;

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'object-storage-test-'));
  path = join(folder, 'kept');
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const mode = () => statSync(path).mode & 0o777;

/** What each command keeps, written once. */
const keepers: readonly (readonly [string, () => void])[] = [
  [
    'a journal',
    () => {
      openJournal(path, PLACE).close();
    },
  ],
  [
    'a state of rekey',
    () => {
      openRekeyState(path, {}).save();
    },
  ],
  [
    'a report of orphans',
    () => {
      writeOrphanReport(path, 'bucket', Date.now(), []);
    },
  ],
];

describe.each(keepers)('%s', (_name, keep) => {
  test('is for its user alone', () => {
    keep();
    expect(mode()).toBe(0o600);
    // Also where others could read it before.
    execFileSync('chmod', ['644', path]);
    keep();
    expect(mode()).toBe(0o600);
    expect(readdirSync(folder)).toEqual(['kept']);
  });

  test('is never written through a link', () => {
    const target = join(folder, 'of-somebody-else');
    writeFileSync(target, 'untouched');
    symlinkSync(target, path);
    expect(keep).toThrow(/symbolic link, which is not followed/);
    expect(readFileSync(target, 'utf8')).toBe('untouched');
    rmSync(target);
    expect(keep).toThrow(/symbolic link/);
    expect(existsSync(target)).toBe(false);
  });

  test('is no device and no pipe, at once', () => {
    execFileSync('mkfifo', [path]);
    expect(keep).toThrow(/no file but a folder, a device or a pipe/);
    rmSync(path);
    symlinkSync('/dev/zero', path);
    expect(keep).toThrow(/symbolic link/);
  });
});

test('a report or a state is not read through a link either', () => {
  const target = join(folder, 'target');
  writeStateFile(target, '{}');
  symlinkSync(target, path);
  expect(() => readStateFile(path)).toThrow(/symbolic link/);
  expect(() => readOrphanReport(path, 'bucket', Date.now())).toThrow(/symbolic link/);
});

test('a device is no file, and a link to a file is one where links may be', () => {
  expect(() => readRegularFile('/dev/zero')).toThrow(/no file/);
  writeFileSync(join(folder, 'target'), 'text');
  symlinkSync(join(folder, 'target'), path);
  expect(readRegularFile(path)).toBe('text');
});

test('what a killed run has left beside its output goes with the next one; what a running one writes stays', () => {
  const { pid } = spawnSync('true');
  const left = `${path}.${pid}-01234567.part`;
  const other = join(folder, `other.${process.pid}-01234567.part`);
  const unrelated = join(folder, 'notes.part');
  for (const file of [left, other, unrelated]) writeFileSync(file, 'plain');
  const output = openOutput(path, false);
  expect(existsSync(left)).toBe(false);
  expect(existsSync(other)).toBe(true);
  expect(existsSync(unrelated)).toBe(true);
  const [part] = readdirSync(folder).filter((name) => name.startsWith('kept.'));
  expect(statSync(join(folder, part ?? '')).mode & 0o777).toBe(0o600);
  output.discard();
  expect(readdirSync(folder).some((name) => name.startsWith('kept.'))).toBe(false);
});
