// SPDX-License-Identifier: GPL-3.0-or-later

import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { renderJsonSchema, renderMarkdown } from '../../../src/config/docs.ts';
import { loadConfiguration } from '../../../src/config/load.ts';
import { knownSections } from '../../../src/config/sections.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';

const inProject = (path: string) => new URL(`../../../${path}`, import.meta.url);

describe('the documentation', () => {
  test.each([
    ['docs/configuration.md', renderMarkdown],
    ['docs/configuration.schema.json', renderJsonSchema],
  ])('%s is what the schemas say; else: node scripts/generate-docs.mjs', async (path, render) => {
    expect(await readFile(inProject(path), 'utf8')).toBe(render(PROVIDERS));
  });

  test('names every key', () => {
    const page = renderMarkdown(PROVIDERS);
    for (const key of knownSections(PROVIDERS).flatMap(({ keys }) => keys)) {
      if (['StorageDirectory', 'SyncStorageArea'].includes(key)) continue;
      expect(page).toContain(`| \`${key}\` |`);
    }
  });

  test('shows defaults, ranges, values and old names', () => {
    const page = renderMarkdown(PROVIDERS);
    expect(page).toContain('| `TransferBufferSize` | 5 to 1024 | `5` |');
    expect(page).toContain('| `StorageStructure` | `"flat"`, `"legacy"` | `"flat"` |');
    expect(page).toContain('| `BucketName` | text | *required* |');
    expect(page).toMatch(/\| `ConnectionTimeout` \|.*Old name: `ConnectTimeout`/);
  });

  test('the JSON Schema says what is required, closed and old', () => {
    const { properties } = JSON.parse(renderJsonSchema(PROVIDERS));
    expect(properties.AwsS3Storage).toMatchObject({
      type: 'object',
      required: ['BucketName', 'Region'],
      additionalProperties: false,
      properties: {
        BucketName: { type: 'string' },
        ConnectTimeout: { type: 'integer', deprecated: true },
        MaxRetries: { type: 'integer', minimum: 0, maximum: 100, default: 10 },
        StorageEncryption: {
          type: 'object',
          additionalProperties: false,
          properties: { MasterKey: { type: 'array' } },
        },
      },
    });
    expect(properties.BlobStorage.deprecated).toBe(true);
  });
});

test('the sample orthanc.json is a configuration without problems or warnings', async () => {
  const text = await readFile(inProject('orthanc.json'), 'utf8');
  const json = text.replace(/^\s*\/\/.*$/gm, '');
  const settings = loadConfiguration(
    json,
    { orthancVersion: '1.13.0', environmentVariables: {} },
    PROVIDERS,
  );
  expect(settings.provider).toMatchObject({
    kind: 's3',
    settings: { endpoint: 'http://127.0.0.1:9000', virtualAddressing: false },
  });
  expect(settings.warnings).toEqual([]);
});
