// SPDX-License-Identifier: GPL-3.0-or-later
// A wrong setting stops Orthanc at start, and one message says which, and what to write instead.

import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../scripts/lib/ports.mjs';
import { makeDicom } from '../support/dicom.ts';
import { type Configuration, runRefusedOrthanc } from '../support/orthanc.ts';
import { TEST_ACCOUNT_KEY } from '../support/settings.ts';
import {
  createWorlds,
  PROVIDERS,
  type Provider,
  plugin,
  SECRET_KEY,
  type World,
  type Worlds,
} from '../support/world.ts';

/** 10 s are promised; before it comes to plugins, Orthanc itself needs seconds on a busy machine. */
const LIMIT_MS = 20_000;

let worlds: Worlds;

beforeAll(async () => {
  worlds = await createWorlds();
});

afterAll(() => worlds.close());

/** @returns the lines of the one message in which the plugin says why */
async function refuse(
  world: World,
  name: string,
  configuration: Configuration,
  by: readonly string[] = [],
): Promise<readonly string[]> {
  const options = world.options(name.replaceAll(/\W+/g, '-'), { configuration, by });
  const { status, orthanc } = await runRefusedOrthanc(options, LIMIT_MS);
  expect(status, orthanc.log()).not.toBe(0);
  for (const secret of world.secrets) expect(orthanc.log()).not.toContain(secret);
  expect(orthanc.errorsSince(0), orthanc.log()).toHaveLength(1);
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

function without(section: Configuration, key: string): Configuration {
  const { [key]: _, ...others } = section;
  return others;
}

type Change = (section: Configuration) => Configuration;

describe.concurrent('wrong settings', () => {
  // First, since it takes longest.
  test('a store that never answers', async () => {
    const world = worlds.of('s3');
    world.proxy.setFault(({ key }) => (key.startsWith('hang/') ? { kind: 'hang' } : undefined));
    // No waiting for a store that may come up: what is tested is the refusal.
    const lines = await refuse(
      world,
      'hanging',
      world.configure({ RootPath: 'hang', StartTimeout: 0 }),
    );
    expect(lines.join('\n')).toMatch(/AwsS3Storage\.Endpoint/);
  });

  test.each<[string, Provider, Change, RegExp]>([
    [
      'a misspelt key',
      's3',
      (section) => ({ ...without(section, 'BucketName'), BuketName: 'x' }),
      /AwsS3Storage\.BuketName: .*did you mean "BucketName"/,
    ],
    [
      'a wrong type',
      's3',
      (section) => ({ ...section, MaxConnections: [25] }),
      /AwsS3Storage\.MaxConnections: .*number/,
    ],
    [
      'a value out of range',
      's3',
      (section) => ({ ...section, MaxConnections: 0 }),
      /AwsS3Storage\.MaxConnections: .*1/,
    ],
    [
      'RootPath with "/" at its start',
      's3',
      (section) => ({ ...section, RootPath: '/orthanc' }),
      /AwsS3Storage\.RootPath: must not start with "\/": write "orthanc"/,
    ],
    [
      'a misspelt choice',
      's3',
      (section) => ({ ...section, StorageStructure: 'flatt' }),
      /AwsS3Storage\.StorageStructure: .*"flat"/,
    ],
    ['no bucket', 's3', (section) => without(section, 'BucketName'), /AwsS3Storage\.BucketName: /],
    [
      'a bucket that is not there',
      's3',
      (section) => ({ ...section, BucketName: 'nowhere' }),
      /AwsS3Storage\.BucketName/,
    ],
    [
      'a bucket that is not there',
      'google',
      (section) => ({ ...section, BucketName: 'nowhere' }),
      /GoogleCloudStorage\.BucketName/,
    ],
    [
      'a container that is not there and must not be made',
      'azure',
      (section) => ({ ...section, ContainerName: 'nowhere', CreateContainerIfNotExists: false }),
      /AzureBlobStorage\.ContainerName/,
    ],
    [
      'a wrong secret',
      's3',
      (section) => ({ ...section, SecretKey: `${SECRET_KEY}x` }),
      /AwsS3Storage\.SecretKey/,
    ],
    [
      'a wrong secret',
      'azure',
      ({ ConnectionString, ...others }) => ({
        ...others,
        ConnectionString: String(ConnectionString).replace(
          /AccountKey=[^;]*/,
          `AccountKey=${TEST_ACCOUNT_KEY}`,
        ),
      }),
      /AzureBlobStorage\.ConnectionString/,
    ],
    [
      'a wrong access key',
      's3',
      (section) => ({ ...section, AccessKey: 'nobody' }),
      /AwsS3Storage\.AccessKey/,
    ],
    [
      'a connection string without account',
      'azure',
      (section) => ({ ...section, ConnectionString: 'EndpointSuffix=core.windows.net' }),
      /AzureBlobStorage\.ConnectionString: /,
    ],
    [
      'no service account file',
      'google',
      (section) => ({ ...section, ServiceAccountFile: '/nowhere/key.json' }),
      /GoogleCloudStorage\.ServiceAccountFile.*\/nowhere\/key\.json/,
    ],
  ])('%s (%s)', async (name, provider, change, message) => {
    const world = worlds.of(provider);
    const lines = await refuse(world, name, { [world.sectionName]: change(world.section) });
    expect(lines.join('\n')).toMatch(message);
  });

  test.each(PROVIDERS)('an endpoint that nobody listens on (%s)', async (provider) => {
    const world = worlds.of(provider);
    const nowhere = `http://127.0.0.1:${await freePort()}`;
    const section = JSON.stringify(world.section).replace(world.proxy.endpoint, nowhere);
    const lines = await refuse(world, 'nobody', {
      [world.sectionName]: { ...JSON.parse(section), StartTimeout: 0 },
    });
    expect(lines.join('\n')).toMatch(
      new RegExp(`${world.sectionName}\\.(Endpoint|ConnectionString)`),
    );
  });

  test('a misspelt section', async () => {
    const world = worlds.of('s3');
    const lines = await refuse(world, 'section', {
      AwsS3Storag: world.section,
      AwsS3Storage: undefined,
    });
    expect(lines.join('\n')).toMatch(/AwsS3Storag: unknown section, did you mean "AwsS3Storage"/);
  });

  test('two sections', async () => {
    const lines = await refuse(worlds.of('s3'), 'two', worlds.of('azure').configure({}));
    expect(lines.join('\n')).toMatch(/AwsS3Storage.*AzureBlobStorage/);
  });

  test('several mistakes at once, in one message', async () => {
    const world = worlds.of('s3');
    const lines = await refuse(world, 'several', {
      AwsS3Storage: {
        ...without(world.section, 'BucketName'),
        BuketName: 'x',
        RootPath: '/a',
        StorageStructure: 'flatt',
        MaxRetries: 'many',
      },
    });
    const mistakes = lines.filter((line) => /AwsS3Storage\.\w+: /.test(line));
    expect(mistakes.length, lines.join('\n')).toBeGreaterThanOrEqual(4);
  });
});

// What V8 would otherwise abort Orthanc over, without a word. The other cases are in native/test/host_test.cpp.
test.each([
  ['mdwe', /make memory executable.*MemoryDenyWriteExecute=no/s],
  ['address-space=800', /limited to 800 MB of address space/],
])('a hardened service: %s', async (restriction, message) => {
  const restricted = join(dirname(plugin), 'native', 'test', 'restricted');
  const lines = await refuse(worlds.of('s3'), restriction, {}, [restricted, restriction]);
  expect(lines.join('\n')).toMatch(message);
});

test('a container that is not there is made', async () => {
  const world = worlds.of('azure');
  const orthanc = await world.start('made', {
    configuration: world.configure({ ContainerName: 'made-at-start' }),
  });
  await orthanc.upload(makeDicom({ sopInstanceUid: '1.2.3.1', pixelBytes: 1000 }));
});
