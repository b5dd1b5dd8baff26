// SPDX-License-Identifier: GPL-3.0-or-later
// Which room of src may import which: a newcomer reads the order here, and nothing goes against it.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

/** Each imports from those below it, never from its neighbours in a line or from above. `.` is src itself: errors and log. */
const ORDER: readonly (readonly string[])[] = [
  ['page'],
  ['plugin', 'cli'],
  ['tools'],
  ['move'],
  ['attachments'],
  ['encryption', 'local', 'providers'],
  ['http'],
  ['config'],
  ['checksums', 'orthanc'],
  ['store'],
  ['.'],
  ['text'],
];

const SOURCES = fileURLToPath(new URL('../../src', import.meta.url));

interface Import {
  readonly file: string;
  readonly target: string;
  readonly from: string;
  readonly to: string;
}

const imports: readonly Import[] = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) =>
    [...readFileSync(join(SOURCES, file), 'utf8').matchAll(/(?:from |import\()'(\.[^']+)'/g)]
      .map(([, path = '']) => join(dirname(file), path))
      .map((target) => ({ file, target, from: roomOf(file), to: roomOf(target) })),
  );

function roomOf(file: string): string {
  const [room = '', ...rest] = file.split('/');
  return rest.length === 0 ? '.' : room;
}

function levelOf(room: string): number {
  return ORDER.findIndex((rooms) => rooms.includes(room));
}

test('each room has its place', () => {
  const rooms = new Set(imports.flatMap(({ from, to }) => [from, to]));
  expect([...rooms].filter((room) => levelOf(room) < 0)).toEqual([]);
  expect(imports.length).toBeGreaterThan(500);
});

test('imports go down only', () => {
  const wrong = imports
    .filter(({ from, to }) => from !== to && levelOf(from) >= levelOf(to))
    .map(({ file, from, to }) => `${file}: ${from} → ${to}`);
  expect(wrong).toEqual([]);
});

test('a provider knows no other one', () => {
  const providers = ['s3', 'azure', 'google', 'filesystem'];
  const siblings = imports.filter(({ file, target }) => {
    const [own = '', other = ''] = [file, target].map((path) => path.split('/')[1]);
    return (
      file.startsWith('providers/') &&
      own !== other &&
      providers.includes(own) &&
      providers.includes(other)
    );
  });
  expect(siblings).toEqual([]);
});
