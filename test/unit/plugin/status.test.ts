// SPDX-License-Identifier: GPL-3.0-or-later

import { beforeEach, expect, test } from 'vitest';
import { loadConfiguration } from '../../../src/config/load.ts';
import type { PluginSettings } from '../../../src/config/settings.ts';
import { StorageError } from '../../../src/errors.ts';
import { Counters } from '../../../src/plugin/figures.ts';
import { createStatus } from '../../../src/plugin/status.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';

const SECRET = 'a-Secret+that/nobody=may.see';
const SECTIONS = {
  s3: { AwsS3Storage: { BucketName: 'bucket', Region: 'r', AccessKey: 'a', SecretKey: SECRET } },
  azure: {
    AzureBlobStorage: {
      ConnectionString: `DefaultEndpointsProtocol=https;AccountName=a;AccountKey=${Buffer.from(SECRET).toString('base64')}`,
      ContainerName: 'bucket',
    },
  },
  google: { GoogleCloudStorage: { BucketName: 'bucket' } },
} as const;

const PLACES = { s3: 'r', azure: 'https://a.blob.core.windows.net', google: '' } as const;

let counters: Counters;

beforeEach(() => {
  counters = new Counters();
});

function settingsOf(provider: keyof typeof SECTIONS, section: object = {}): PluginSettings {
  const [[name, values] = ['', {}]] = Object.entries(SECTIONS[provider]);
  return loadConfiguration(
    JSON.stringify({ StorageDirectory: '/var/lib/orthanc', [name]: { ...values, ...section } }),
    { orthancVersion: '1.13.0', environmentVariables: {} },
    PROVIDERS,
  );
}

function statusOf(
  settings: PluginSettings,
  envelope?: { format: 'A2'; masterKeyId: number; keyIds: readonly number[] },
) {
  const { provider, naming, hybrid } = settings;
  if (provider === undefined) throw new Error('no provider');
  const figures = () => Promise.resolve(counters.snapshot());
  return createStatus({
    version: '1.2.3',
    provider,
    naming,
    hybrid,
    envelope,
    lanes: 1,
    figures,
  })();
}

test.each(['s3', 'azure', 'google'] as const)('of %s, without a secret', async (provider) => {
  const status = await statusOf(settingsOf(provider));
  expect(status).toMatchObject({
    version: '1.2.3',
    provider,
    bucket: 'bucket',
    hybrid: null,
    encryption: null,
    node: process.version,
    inFlight: 0,
    place: PLACES[provider],
  });
  const text = JSON.stringify(status);
  expect(text).not.toContain(SECRET);
  expect(text).not.toContain(Buffer.from(SECRET).toString('base64'));
});

test("an emulator of Azure's is told by its address, not by its account", async () => {
  const key = Buffer.from(SECRET).toString('base64');
  const ConnectionString = `AccountName=a;AccountKey=${key};BlobEndpoint=https://azurite:10000/a`;
  const status = await statusOf(settingsOf('azure', { ConnectionString }));
  expect(status.place).toBe('https://azurite:10000/a');
});

test('with hybrid storage and encryption', async () => {
  const settings = settingsOf('s3', { HybridMode: 'WriteToFileSystem' });
  expect(await statusOf(settings, { format: 'A2', masterKeyId: 7, keyIds: [3, 7] })).toMatchObject({
    place: 'r',
    rootPath: '',
    structure: 'flat',
    hybrid: { writeTo: 'file-system', folder: '/var/lib/orthanc' },
    encryption: { format: 'A2', masterKeyId: 7 },
    keyIds: [3, 7],
  });
});

test('what is under way, and errors without what must not be seen', async () => {
  counters.begin('create', 'x');
  counters.begin('remove', 'y');
  const message = 'GET https://host/key?X-Amz-Signature=0123456789abcdef0123456789abcdef failed';
  counters.begin('readWhole', 'z')({ failure: new StorageError('UNAVAILABLE', message) });
  const status = await statusOf(settingsOf('s3'));
  expect(status).toMatchObject({ inFlight: 2, errors: { UNAVAILABLE: 1 } });
  expect(JSON.stringify(status)).not.toContain('0123456789abcdef');
});
