// SPDX-License-Identifier: GPL-3.0-or-later

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openConfiguration } from '../../../src/attachments/open-configuration.ts';
import { StorageError } from '../../../src/errors.ts';

const ENVIRONMENT = { orthancVersion: '1.12.7', environmentVariables: {} };

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'configuration-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function writeKey(name: string, byte: number, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, Buffer.alloc(32, byte).toString('base64'));
  chmodSync(path, mode);
  return path;
}

const open = (section: object) =>
  openConfiguration(JSON.stringify({ AwsS3Storage: section }), ENVIRONMENT);

function problemsOf(section: object): readonly string[] {
  try {
    open(section);
  } catch (error) {
    if (!(error instanceof StorageError)) throw error;
    expect(error.code).toBe('BAD_CONFIG');
    return error.message.split('\n');
  }
  return [];
}

test('problems of the configuration and of the key files come in one message', () => {
  const missing = join(folder, 'missing.key');
  const StorageEncryption = {
    MasterKey: [1, missing],
    PreviousMasterKeys: [
      [2, writeKey('twice.key', 9)],
      ['02', join(folder, 'twice.key')],
      ['three', join(folder, 'three.key')],
    ],
    Format: 'A3',
  };
  const problems = problemsOf({ BuketName: 'b', Region: 'r', MaxRetries: 'x', StorageEncryption });
  for (const text of [
    'AwsS3Storage.BuketName: unknown key',
    'AwsS3Storage.MaxRetries: ',
    'AwsS3Storage.StorageEncryption.Format: must be one of',
    'AwsS3Storage.StorageEncryption.PreviousMasterKeys[2][0]: must be a whole number',
    `AwsS3Storage.StorageEncryption.MasterKey: there is no file "${missing}"`,
    'AwsS3Storage.StorageEncryption.PreviousMasterKeys[1]: key id 2 ',
  ]) {
    expect(problems.filter((problem) => problem.startsWith(text))).toHaveLength(1);
  }
});

test('with Enable false, a key file that is not there is told with why it is wanted', () => {
  const keys = { MasterKey: [1, '/path/to/master.key'] };
  const about = (Enable: boolean) =>
    problemsOf({ BucketName: 'b', Region: 'r', StorageEncryption: { Enable, ...keys } });
  const why =
    /MasterKey: there is no file .*; with "Enable": false, .* remove this key if nothing was$/;
  expect(about(false)).toEqual([expect.stringMatching(why)]);
  expect(about(true)).toEqual([expect.not.stringMatching(/"Enable"/)]);
});

test('keys that are in order open the envelope, with a warning for one that others can read', () => {
  const { keyWarnings, envelope } = open({
    BucketName: 'b',
    Region: 'r',
    StorageEncryption: { MasterKey: [7, writeKey('open.key', 1, 0o644)], Format: 'A2' },
  });
  expect(envelope).toMatchObject({ format: 'A2', masterKeyId: 7 });
  expect(keyWarnings).toHaveLength(1);
  expect(keyWarnings[0]).toMatch(/MasterKey: the key file ".*" is open to others/);
});

test('without encryption there is no envelope', () => {
  expect(open({ BucketName: 'b', Region: 'r' }).envelope).toBeUndefined();
});
