// SPDX-License-Identifier: GPL-3.0-or-later
// A provider is added as docs/development.md says: a folder and a line. All else takes what it needs from there.

import { expect, test } from 'vitest';
import { openConfiguration } from '../../../src/attachments/open-configuration.ts';
import { closeStores, openStores } from '../../../src/attachments/open-stores.ts';
import { renderJsonSchema, renderMarkdown } from '../../../src/config/docs.ts';
import { readConfiguration } from '../../../src/config/load.ts';
import { sectionNames } from '../../../src/config/sections.ts';
import { Counters } from '../../../src/plugin/figures.ts';
import { createStatus } from '../../../src/plugin/status.ts';
import { defineProvider, PROVIDERS } from '../../../src/providers/index.ts';
import { bodyOf, MemorySink } from '../../../src/store/bodies.ts';
import { memorySection } from '../../support/memory-provider/settings.ts';
import { makeLogger } from '../../support/settings.ts';

const providers = [
  ...PROVIDERS,
  defineProvider(
    memorySection,
    async () => (await import('../../support/memory-provider/store.ts')).createShelf,
  ),
];

function open(section: object, environmentVariables = {}) {
  const environment = { orthancVersion: '1.12.7', environmentVariables };
  const json = JSON.stringify({ MemoryStorage: section });
  const { settings } = openConfiguration(json, environment, { providers });
  if (settings.provider === undefined) throw new Error('no provider');
  return { settings, provider: settings.provider };
}

const problemsOf = (configuration: object, environmentVariables = {}) =>
  readConfiguration(
    JSON.stringify(configuration),
    { orthancVersion: '1.12.7', environmentVariables },
    providers,
  ).problems;

test('its section opens a store', async () => {
  const { settings, provider } = open({ Shelf: 'top', Label: 'CT', MaxRetries: 3 });
  expect(provider).toMatchObject({
    kind: 'memory',
    section: 'MemoryStorage',
    bucket: 'top',
    place: 'CT',
    settings: { shelf: 'top', maxRetries: 3, requestTimeoutMs: 1_200_000 },
  });
  const log = makeLogger();
  const stores = await openStores(settings, provider, { log });
  const { objects } = stores;
  const { signal } = new AbortController();
  await objects.check({ signal });
  expect(log.lines).toEqual(['info: memory: the shelf "top" is within reach']);
  const content = Buffer.from('content');
  await objects.put('key', bodyOf(content), { signal });
  const memory = new MemorySink();
  await objects.get('key', undefined, memory, { signal });
  expect(memory.bytes).toEqual(content);
  await closeStores(stores);
});

test('the store says which setting is wrong', async () => {
  const { settings, provider } = open({ Shelf: 'cellar' });
  const { objects } = await openStores(settings, provider, { log: makeLogger() });
  const { signal } = new AbortController();
  await expect(objects.check({ signal })).rejects.toThrow(/^MemoryStorage.Shelf: only "top"/);
});

test('its mistakes are found as those of the others are', () => {
  expect(problemsOf({ MemoryStorage: { Shelv: 'top' } })).toEqual([
    'MemoryStorage.Shelf: is missing; write its name',
    'MemoryStorage.Shelv: unknown key, did you mean "Shelf"?',
  ]);
  expect(problemsOf({ MemryStorage: { Shelf: 'top' } })).toEqual([
    'MemryStorage: unknown section, did you mean "MemoryStorage"?',
  ]);
  expect(problemsOf({ MemoryStorage: { Shelf: 'top' } }, { MEMORY_KEY: 'key\n' })).toEqual([
    'MEMORY_KEY: holds a line break; remove it',
  ]);
});

test('status, notes, names and the documentation know it', async () => {
  const variables = { MEMORY_SPEED: 'fast', MEMORY_KEY: 'key' };
  const { settings, provider } = open({ Shelf: 'top' }, variables);
  const { naming } = settings;
  expect(settings.notes.join()).toContain('MEMORY_KEY, MEMORY_SPEED');
  const figures = () => Promise.resolve(new Counters().snapshot());
  const deps = {
    version: '1',
    provider,
    naming,
    hybrid: undefined,
    envelope: undefined,
    lanes: 1,
  };
  expect(await createStatus({ ...deps, figures })()).toMatchObject({
    provider: 'memory',
    bucket: 'top',
  });
  expect(sectionNames(providers)).toBe(
    'AwsS3Storage, AzureBlobStorage, GoogleCloudStorage or MemoryStorage',
  );
  const page = renderMarkdown(providers);
  expect(page).toContain('## MemoryStorage');
  expect(page).toContain('| `Shelf` | text | *required* | The shelf that objects lie on. |');
  expect(JSON.parse(renderJsonSchema(providers)).properties.MemoryStorage).toMatchObject({
    required: ['Shelf'],
    properties: { Shelf: { type: 'string' }, RootPath: { type: 'string' } },
  });
});
