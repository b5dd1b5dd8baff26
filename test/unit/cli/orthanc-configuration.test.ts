// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readOrthancConfiguration } from '../../../src/cli/orthanc-configuration.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'configuration-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const write = (name: string, text: string) => {
  writeFileSync(join(folder, name), text);
};
const read = (environment = {}) =>
  JSON.parse(readOrthancConfiguration(folder, environment)) as unknown;

// Each of them has been tried with Orthanc 1.12.7, which starts.
describe('what Orthanc reads is read', () => {
  test.each<[string, string]>([
    ['comments', '{ /* one */ "Name": "x" // two\n}'],
    ['a comma behind the last member', '{ "Name": "x", }'],
    ['a byte order mark', '\uFEFF{ "Name": "x" }'],
    ['text behind the object', '{ "Name": "x" } }'],
  ])('%s', (_name, text) => {
    write('orthanc.json', text);
    expect(read()).toEqual({ Name: 'x' });
  });

  test('a comma behind the last element of an array', () => {
    write('orthanc.json', '{ "Plugins": ["a", "b",] }');
    expect(read()).toEqual({ Plugins: ['a', 'b'] });
  });

  test('variables of the environment, and what stands for missing ones', () => {
    const variable = (text: string) => `$\{${text}}`;
    write('orthanc.json', `{ "Name": "${variable('NAME')}", "Other": "${variable('OTHER:-y')}" }`);
    expect(read({ NAME: 'x' })).toEqual({ Name: 'x', Other: 'y' });
  });

  test('the files of a folder, put together', () => {
    write('a.json', '{ "Name": "x" }');
    write('b.json', '{ "Other": "y" }');
    write('c.txt', 'none of them');
    expect(read()).toEqual({ Name: 'x', Other: 'y' });
  });
});

test.each<[string, RegExp]>([
  ['{\n  "Name": "x"\n  "Other": "y"\n}', /a\.json:3: no JSON \(CommaExpected\)$/],
  ['{ "Name": ', /a\.json:1: no JSON/],
  ['["Name"]', /a\.json: no JSON object$/],
])('%j is refused, with its file and line', (text, message) => {
  write('a.json', text);
  expect(() => read()).toThrow(message);
});

test('a setting that two files have is refused', () => {
  write('a.json', '{ "Name": "x" }');
  write('b.json', '{ "Name": "y" }');
  expect(() => read()).toThrow(/b\.json: "Name" stands in another file/);
});
