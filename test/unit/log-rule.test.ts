// SPDX-License-Identifier: GPL-3.0-or-later
// deploy/monitoring/vector.toml and docs/logs.md, beside what src/log.ts writes.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseAst } from 'vitest/node';
import { inProject } from '../../scripts/lib/paths.mjs';
import { StorageError } from '../../src/errors.ts';
import { createLogger, describeError, errorFields, formatFields } from '../../src/log.ts';
import { KNOWN_NAMES, parseLogLine, parseValues } from '../support/log-rule.ts';

/** As Orthanc writes it. */
function lineOf(message: string): string {
  let line = '';
  createLogger((_, text) => {
    line = `E1130 15:21:54.071416     STORAGE-LOOP object-storage:/typescript:0] ${text}`;
  }).error(message);
  return line;
}

test('a failure', () => {
  const failure = new StorageError('UNAVAILABLE', 'cannot read "a b.dcm": nobody = there\\n', {
    key: 'a b.dcm',
    requestId: 'R1',
    cause: new TypeError('x'),
  });
  const fields = { op: 'read-range', uuid: 'u-1', provider: 's3', ms: 12, ...errorFields(failure) };
  expect(parseLogLine(lineOf(formatFields(fields)))).toEqual({
    level: 'E',
    thread: 'STORAGE-LOOP',
    source: 'typescript',
    text: expect.stringMatching(/^op=read-range /),
    values: {
      op: 'read-range',
      uuid: 'u-1',
      provider: 's3',
      ms: '12',
      code: 'UNAVAILABLE',
      key: 'a b.dcm',
      requestId: 'R1',
      error: 'cannot read "a b.dcm": nobody = there\\n',
      cause: 'TypeError',
    },
  });
});

test("the shim's line, and values behind words", () => {
  const shim =
    'E1130 15:21:54.071416 HTTP-3 object-storage:/shim:0] op=create uuid=x code=RUNTIME_LOST failed: the storage runtime ended: op=y';
  expect(parseLogLine(shim)).toMatchObject({
    source: 'shim',
    values: { op: 'create', uuid: 'x', code: 'RUNTIME_LOST' },
  });
  const failure = describeError(new StorageError('THROTTLED', 'slow "down"'));
  const words = `LocalCache: an upload fails, and 3 objects (5 bytes) are pending; it is tried again: ${failure}`;
  expect(parseLogLine(lineOf(words))?.values).toMatchObject({
    code: 'THROTTLED',
    error: 'slow "down"',
  });
});

test('whatever the values, each comes back as it was', () => {
  fc.assert(
    fc.property(fc.string(), fc.string({ unit: 'binary' }), (key, error) => {
      const fields = { op: 'read', key, error, ms: 5 };
      expect(parseValues(formatFields(fields))).toEqual({ ...fields, ms: '5' });
    }),
  );
});

test('a value that was cut off is shown as far as it goes', () => {
  const line = lineOf(formatFields({ op: 'read', error: `a ${'x'.repeat(3000)}` }));
  expect(parseLogLine(line)?.values).toMatchObject({
    op: 'read',
    error: expect.stringMatching(/^"a x+… \(\d+ more characters\)$/),
  });
});

test("Orthanc's own lines are none of the plugin's", () => {
  expect(
    parseLogLine('W1130 15:25:50.258806             MAIN main.cpp:2102] op=read'),
  ).toBeUndefined();
});

interface Node {
  readonly type: string;
  readonly name?: string;
  readonly key?: Node;
  readonly callee?: Node;
  readonly arguments?: readonly (Node & { readonly properties?: readonly Node[] })[];
}

function* nodesIn(value: unknown): Generator<Node> {
  if (typeof value !== 'object' || value === null) return;
  if ('type' in value && 'start' in value) yield value as unknown as Node;
  for (const child of Object.values(value)) yield* nodesIn(child);
}

test('the rule and docs/logs.md know each name that src writes', () => {
  const folder = inProject('src');
  const names = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .flatMap((file) => [
      ...nodesIn(parseAst(readFileSync(join(folder, file), 'utf8'), { lang: 'ts' })),
    ])
    .filter(({ type, callee }) => type === 'CallExpression' && callee?.name === 'formatFields')
    .flatMap((call) => call.arguments?.[0]?.properties ?? [])
    .flatMap(({ key }) => key?.name ?? []);
  const ofErrors = Object.keys(errorFields(new Error('x')));
  const written = new Set([...names, ...ofErrors]);
  expect(written.size).toBeGreaterThan(8);
  expect([...written].filter((name) => !KNOWN_NAMES.includes(name))).toEqual([]);
  const page = readFileSync(inProject('docs', 'logs.md'), 'utf8');
  expect(KNOWN_NAMES.filter((name) => !page.includes(`| \`${name}\` |`))).toEqual([]);
});
