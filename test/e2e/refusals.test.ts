// SPDX-License-Identifier: GPL-3.0-or-later
// A wrong setting stops Orthanc at start, and one message says which, and what to write instead.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../scripts/lib/ports.mjs';
import { type Configuration, runRefusedOrthanc } from '../support/orthanc.ts';
import { createWorld, SECRET_KEY, type World } from '../support/world.ts';

/** Issue 4 promises 10 s; Orthanc itself needs a part of a second before it comes to plugins. */
const LIMIT_MS = 11_000;

let world: World;

beforeAll(async () => {
  world = await createWorld();
});

afterAll(() => world.close());

/** @returns the plugin's own error lines */
async function refuse(name: string, configuration: Configuration): Promise<readonly string[]> {
  const options = world.options(name.replaceAll(/\W+/g, '-'), { configuration });
  const { status, orthanc } = await runRefusedOrthanc(options, LIMIT_MS);
  expect(status, orthanc.log()).not.toBe(0);
  expect(orthanc.log()).not.toContain(SECRET_KEY);
  const lines = orthanc.pluginLines().filter((line) => line.startsWith('E'));
  expect(lines.length, orthanc.log()).toBe(1);
  return messageOf(orthanc.log());
}

/** The message goes on in lines without a head of their own. */
function messageOf(log: string): readonly string[] {
  const lines = log.split('\n');
  const first = lines.findIndex((line) => /^E.*object-storage:/.test(line));
  const rest = lines.slice(first + 1);
  const end = rest.findIndex((line) => /^[EWIT]\d{4} /.test(line));
  return lines.slice(first, first + 1 + (end === -1 ? rest.length : end));
}

const without = (key: string): Configuration => {
  const { [key]: _, ...others } = world.section;
  return others;
};

describe.concurrent('wrong settings', () => {
  test.each<[string, () => Configuration, RegExp]>([
    [
      'a misspelt key',
      () => ({ ...without('BucketName'), BuketName: 'x' }),
      /AwsS3Storage\.BuketName: .*did you mean "BucketName"/,
    ],
    [
      'a wrong type',
      () => ({ ...world.section, MaxConnections: [25] }),
      /AwsS3Storage\.MaxConnections: .*number/,
    ],
    [
      'a value out of range',
      () => ({ ...world.section, MaxConnections: 0 }),
      /AwsS3Storage\.MaxConnections: .*1/,
    ],
    [
      'RootPath with "/" at its start',
      () => ({ ...world.section, RootPath: '/orthanc' }),
      /AwsS3Storage\.RootPath: must not start with "\/": write "orthanc"/,
    ],
    [
      'a misspelt choice',
      () => ({ ...world.section, StorageStructure: 'flatt' }),
      /AwsS3Storage\.StorageStructure: .*"flat"/,
    ],
    ['no bucket', () => without('BucketName'), /AwsS3Storage\.BucketName: /],
    [
      'a bucket that is not there',
      () => ({ ...world.section, BucketName: 'nowhere' }),
      /AwsS3Storage\.BucketName/,
    ],
    [
      'a wrong secret',
      () => ({ ...world.section, SecretKey: `${SECRET_KEY}x` }),
      /AwsS3Storage\.SecretKey/,
    ],
    [
      'a wrong access key',
      () => ({ ...world.section, AccessKey: 'nobody' }),
      /AwsS3Storage\.AccessKey/,
    ],
  ])('%s', async (name, section, message) => {
    const lines = await refuse(name, { AwsS3Storage: section() });
    expect(lines.join('\n')).toMatch(message);
  });

  test('an endpoint that nobody listens on', async () => {
    const Endpoint = `http://127.0.0.1:${await freePort()}`;
    const lines = await refuse('nobody', { AwsS3Storage: { ...world.section, Endpoint } });
    expect(lines.join('\n')).toMatch(/AwsS3Storage\.Endpoint/);
  });

  test('a misspelt section', async () => {
    const lines = await refuse('section', { AwsS3Storag: world.section, AwsS3Storage: undefined });
    expect(lines.join('\n')).toMatch(/AwsS3Storag: unknown section, did you mean "AwsS3Storage"/);
  });

  test('several mistakes at once, in one message', async () => {
    const lines = await refuse('several', {
      AwsS3Storage: {
        ...without('BucketName'),
        BuketName: 'x',
        RootPath: '/a',
        StorageStructure: 'flatt',
        MaxRetries: 'many',
      },
    });
    const mistakes = lines.filter((line) => /AwsS3Storage\.\w+: /.test(line));
    expect(mistakes.length, lines.join('\n')).toBeGreaterThanOrEqual(4);
  });

  test('a store that never answers', async () => {
    world.proxy.setFault(({ key }) => (key.startsWith('hang/') ? { kind: 'hang' } : undefined));
    const lines = await refuse('hanging', {
      AwsS3Storage: { ...world.section, RootPath: 'hang' },
    });
    expect(lines.join('\n')).toMatch(/AwsS3Storage\.Endpoint/);
  });
});
