// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StorageError } from '../../../../src/errors.ts';
import { openRekeyState } from '../../../../src/tools/rekey/state.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'object-storage-test-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

test('a place that cannot be written is refused before anything is done', () => {
  const open = () => openRekeyState(join(folder, 'nowhere', 'state.json'), {});
  expect(open).toThrow(StorageError);
  expect(open).toThrow(/state\.json: cannot be written \(ENOENT\)/);
});

test('a place that goes away says so by the name of the file', () => {
  const state = openRekeyState(join(folder, 'state.json'), {});
  expect(readdirSync(folder)).toEqual([]);
  rmSync(folder, { recursive: true });
  expect(() => {
    state.save();
  }).toThrow(/state\.json: cannot be written \(ENOENT\)/);
});
