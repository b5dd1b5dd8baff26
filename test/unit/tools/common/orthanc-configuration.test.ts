// SPDX-License-Identifier: GPL-3.0-or-later

import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readOrthancConfiguration } from '../../../../src/tools/common/orthanc-configuration.ts';

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
const read = (environment = {}) => readOrthancConfiguration(folder, environment);

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

// What Orthanc 1.12.7 of Debian 13 (jsoncpp 1.9.6) handed to a plugin for each of them, or that it did not start; 1.13.0 of Debian testing
// (jsoncpp 1.9.8) likewise, but for control characters.
describe('Orthanc and this reader agree', () => {
  const REFUSED = undefined;
  const variables = { NAME: 'x', QUOTED: 'a"b', EMPTY: '', LINES: 'a\nb' };

  test.each<[string, unknown]>([
    // Control characters in texts.
    ['{ "a": "x\ty" }', 'x\ty'],
    ['{ "a": "x\r\ny" }', 'x\r\ny'],
    ['{ "a": "x\u0000\u0001y" }', 'x\u0000\u0001y'],
    ['{ "a": "x\\\ny" }', REFUSED],
    // Behind the end.
    ['{ "a": 1 } words', 1],
    ['{ "a": 1 } {"a": 2}', 1],
    ['{ "a": 1 }, \' "unclosed', 1],
    ['{ "a": 1 } /* unclosed', 1],
    ['{ "a": 1 }\u0000', 1],
    ['{ "a": 1', REFUSED],
    ['{ "a": {}', REFUSED],
    ['{ "a": 1 ]', REFUSED],
    // Comments.
    ['/* c */ // c\n { /* c */ "a": /* c */ 1 /* c */, // c\n /** c **/ }', 1],
    ['{ "a": [ /* c */ 1 /* c */, /* c */ 2 // c\n ] }', [1, 2]],
    ['{ "a" /* c */ : 1 }', REFUSED],
    ['{ "a" // c\n : 1 }', REFUSED],
    ['{ "a": [ /* c */ ] }', REFUSED],
    ['{ "a": [ // c\n // c\n ] }', REFUSED],
    ['{ "a": [ 1, // c\n ] }', REFUSED],
    ['{ "a": 1 // c\r }', 1],
    ['{ "a": 1 // c\u2028 }\n}', 1],
    ['{ "a": "http://x//y /* z */" }', 'http://x//y /* z */'],
    ['{ "a": "\\"// c" }', '"// c'],
    ['/*/ { "a": 1 }', REFUSED],
    ['# c\n{ "a": 1 }', REFUSED],
    ['{ "a": 1 /* unclosed }', REFUSED],
    // Keys and commas.
    ['{ "a": 1, "a": 2 }', 2],
    ['{ "a": {"b": 1}, "a": {"c": 2} }', { c: 2 }],
    ['{ "a": [1,] }', [1]],
    ['{ "a": {"__proto__": {"b": 1}} }', JSON.parse('{"__proto__": {"b": 1}}')],
    ['{ "a": 1,, }', REFUSED],
    ['{ , "a": 1 }', REFUSED],
    ['{ "a": [,] }', REFUSED],
    ['{ "a": [1,,2] }', REFUSED],
    ['{ "a": 1 "b": 2 }', REFUSED],
    ["{ 'a': 1 }", REFUSED],
    ['{ "a": \'x\' }', REFUSED],
    ['{ a: 1 }', REFUSED],
    ['{ 1: 2 }', REFUSED],
    ['{ "a" = 1 }', REFUSED],
    // Numbers.
    ['{ "a": 1e3 }', 1000],
    ['{ "a": +1 }', 1],
    ['{ "a": 007 }', 7],
    ['{ "a": 08 }', 8],
    ['{ "a": 1. }', 1],
    ['{ "a": -.5 }', -0.5],
    ['{ "a": 1.e3 }', 1000],
    ['{ "a": - }', 0],
    ['{ "a": 12345678901234567890123 }', 1.2345678901234568e22],
    ['{ "a": .5 }', REFUSED],
    ['{ "a": + }', REFUSED],
    ['{ "a": - 1 }', REFUSED],
    ['{ "a": 1-1 }', REFUSED],
    ['{ "a": 1e }', REFUSED],
    ['{ "a": 1.5.2 }', REFUSED],
    ['{ "a": 0x10 }', REFUSED],
    ['{ "a": 1_000 }', REFUSED],
    ['{ "a": NaN }', REFUSED],
    ['{ "a": -Infinity }', REFUSED],
    // Words and escapes.
    ['{ "a": null }', null],
    ['{ "a": True }', REFUSED],
    ['{ "a": truex }', REFUSED],
    ['{ "a": "\\u00e9\\u004A\\n\\/" }', 'éJ\n/'],
    ['{ "a": "\\ud83d\\ude00" }', '😀'],
    ['{ "a": "C:\\dir" }', REFUSED],
    ['{ "a": "\\x41" }', REFUSED],
    ['{ "a": "\\u12g4" }', REFUSED],
    ['{ "a": "\\\'" }', REFUSED],
    // The whole.
    ['', REFUSED],
    [' \n', REFUSED],
    ['\uFEFF', REFUSED],
    ['\uFEFF\uFEFF{ "a": 1 }', REFUSED],
    ['null', REFUSED],
    ['[{ "a": 1 }]', REFUSED],
    ['\u00a0{ "a": 1 }', REFUSED],
    ['\f{ "a": 1 }', REFUSED],
    ['x{ "a": 1 }', REFUSED],
    // Variables.
    ['{ "a": "<{NAME}<{NONE}" }', 'x'],
    ['{ "a": "<{EMPTY:-y}" }', ''],
    ['{ "a": "<{NONE-y}" }', ''],
    ['{ "a": "<{NONE:y}" }', '<{NONE:y}'],
    ['{ "a": <{NONE:-5} }', 5],
    ['{ "a": "<{NONE:-\'y\'}" }', 'y'],
    ['{ "a": <{NONE:-\'"y"\'} }', 'y'],
    ['{ "a": <{NONE:-"y"} }', REFUSED],
    ['{ "a": "<{NONE:-it\'s}" }', "<{NONE:-it's}"],
    ['{ "a": "<{NONE:-http://x:80/}" }', 'http://x:80/'],
    ['{ "a": "<{my-var}" }', ''],
    ['{ "a": "$NAME" }', '$NAME'],
    ['{ "a": "\\<{NAME}" }', REFUSED],
    ['{ "a": "<{QUOTED}" }', REFUSED],
    ['{ "a": "<{LINES}" }', 'a\nb'],
    ['{ "a": 1 // <{QUOTED}\n }', 1],
    ['{ "a": 1 // <{LINES}\n }', REFUSED],
    ['{ "a": 1 /* <{} */ }', REFUSED],
    ['{ "a": "<{:-x}" }', REFUSED],
  ])('%j', (text, a) => {
    write('a.json', text.replaceAll('<{', '${'));
    if (a === REFUSED) {
      expect(() => read(variables)).toThrow(/a\.json/);
      return;
    }
    const expected = typeof a === 'string' ? a.replaceAll('<{', '$\u007b') : a;
    expect(read(variables)).toEqual({ a: expected });
  });

  test.each<[string, number | undefined]>([
    ['a.JSON', 1],
    ['.json', 1],
    ['.hidden.json', 1],
    ['a.json~', undefined],
    ['a.jsonc', undefined],
    ['json', undefined],
    ['sub/a.json', undefined],
    ['folder.json/a.json', undefined],
  ])('of a folder, %s is %s', (name, a) => {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    write(name, '{ "a": 1 }');
    expect(read()).toEqual(a === undefined ? {} : { a });
  });

  test('links count as what they lead to', () => {
    mkdirSync(join(folder, 'sub'));
    write('text', '{ "a": 1 }');
    symlinkSync('text', join(folder, 'a.json'));
    symlinkSync('sub', join(folder, 'b.json'));
    expect(read()).toEqual({ a: 1 });
    symlinkSync('nowhere', join(folder, 'c.json'));
    expect(() => read()).toThrow(/c\.json/);
  });
});

test('a raw tab or line break is worth a warning, since newer Orthancs refuse it', () => {
  const warningsFor = (text: string) => {
    const warnings: string[] = [];
    write('a.json', text);
    readOrthancConfiguration(folder, {}, (warning) => warnings.push(warning));
    return warnings;
  };
  expect(warningsFor('{ "a": "x\ty", "b": "\n" }')).toEqual([
    expect.stringMatching(/a\.json: a text holds a tab or a line break .* write \\t or \\n$/),
  ]);
  expect(warningsFor('{\n\t"a": "x\\ty" /*\n*/ }\n')).toEqual([]);
});

test('the line of a mistake is right behind texts and comments of several lines', () => {
  write('a.json', '{ /*\n*/ "a": "x\ny",\n "b": 1\n "c": 2 }');
  expect(() => read()).toThrow(/a\.json:5: no JSON \(CommaExpected\)$/);
});

test.each([
  '{"AwsS3Storage": {"SecretKey": "hunter2"}}',
  `{"SecretKey": "hunter2", "x": "${'x'.repeat(300)}"}`,
])('a configuration in the place of its path is not repeated: %s', (text) => {
  const reading = () => readOrthancConfiguration(text, {});
  expect(reading).toThrow(/^--config \(not shown/);
  expect(reading).not.toThrow(/hunter2/);
});

test.each([
  ['blanks', ' '.repeat(400_000)],
  ['beginnings of variables', '${'.repeat(200_000)],
  ['beginnings of variables with defaults', '${a:-'.repeat(80_000)],
  ['beginnings of comments', '/* '.repeat(130_000)],
  ['quotes within a text that does not end', `"${'\\"'.repeat(200_000)}`],
  ['digits and signs', '-+1e'.repeat(100_000)],
])('very many %s take a moment', (_name, text) => {
  write('orthanc.json', `{ "Name": "x", ${text}`);
  const start = performance.now();
  expect(() => read()).toThrow(/no JSON/);
  expect(performance.now() - start).toBeLessThan(2_000);
});
