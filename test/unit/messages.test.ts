// SPDX-License-Identifier: GPL-3.0-or-later
// docs/messages.md, beside what is printed. In test/faults, each failure of a store and each line of its log is looked up there as well.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { inProject } from '../../scripts/lib/paths.mjs';
import { loadConfiguration } from '../../src/config/load.ts';
import { ERROR_CODES } from '../../src/error-codes.ts';
import { toStorageError } from '../../src/errors.ts';
import { PROVIDERS } from '../../src/providers/index.ts';
import { expectDocumented, isDocumented } from '../support/messages.ts';

const S3 = { BucketName: 'bucket', Region: 'eu-central-1', AccessKey: 'a', SecretKey: 'b' };

test.each<[string, object]>([
  ['an unknown key', { AwsS3Storage: { ...S3, BuketName: 'x', Nonsense: 1 } }],
  [
    'values of the wrong kind',
    { AwsS3Storage: { ...S3, MaxRetries: 'x', Lanes: 0, Endpoint: '' } },
  ],
  ['a path for a bucket', { AwsS3Storage: { ...S3, BucketName: 'a/b', RootPath: '/x/../y' } }],
  ['what contradicts', { AwsS3Storage: { ...S3, Lanes: 2, LocalCache: { Directory: '/c' } } }],
  ['two sections', { AwsS3Storage: S3, GoogleCloudStorage: { BucketName: 'x' } }],
  ['a section of another name', { AwsS3Storag: S3 }],
  ['what stands at the top', { AwsS3Storage: S3, StorageEncryption: { Enable: true } }],
  ['encryption without a key', { AwsS3Storage: { ...S3, StorageEncryption: { Enable: true } } }],
  ['an incomplete connection string', { AzureBlobStorage: { ConnectionString: 'AccountName=a' } }],
  ['both ways to an account', { AzureBlobStorage: { ConnectionString: 'x', AccountUrl: 'y' } }],
  ['a folder without its place', { AwsS3Storage: { ...S3, HybridMode: 'WriteToFileSystem' } }],
  ['a proxy that is none', { AwsS3Storage: S3, HttpProxy: 'ftp://proxy' }],
])('%s: each problem is on the page', (_, configuration) => {
  let message = '';
  try {
    loadConfiguration(
      JSON.stringify(configuration),
      { orthancVersion: '1.13.0', environmentVariables: {} },
      PROVIDERS,
    );
  } catch (error) {
    message = toStorageError(error).message;
  }
  expect(message).not.toBe('');
  for (const line of message.split('\n')) expectDocumented(line);
});

test('a message that nobody prints is not on the page', () => {
  expect(isDocumented('the bucket has gone for a walk')).toBe(false);
  expect(isDocumented('cannot write "x" in S3 bucket "y": the moon is full')).toBe(false);
});

test("the page has each code, and the shim's own", () => {
  const page = readFileSync(inProject('docs', 'messages.md'), 'utf8');
  for (const code of [...Object.keys(ERROR_CODES), 'RUNTIME_LOST']) {
    expect(page).toContain(`| \`${code}\` |`);
  }
});
