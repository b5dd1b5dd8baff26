// SPDX-License-Identifier: GPL-3.0-or-later

import { describe, expect, test } from 'vitest';
import { readConfiguration } from '../../../src/config/load.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';

const NAME = 'AwsS3Storage.StorageEncryption';

function read(raw: unknown) {
  const section = { BucketName: 'b', Region: 'eu-west-1', StorageEncryption: raw };
  const { settings, keyFiles, problems } = readConfiguration(
    JSON.stringify({ AwsS3Storage: section }),
    { orthancVersion: '1.12.7', environmentVariables: {} },
    PROVIDERS,
  );
  return { settings: settings?.encryption, keyFiles, problems };
}

describe('StorageEncryption', () => {
  test('of the page', () => {
    const { settings, problems } = read({
      Enable: true,
      MasterKey: [3, '/path/to/master.key'],
      PreviousMasterKeys: [
        [1, '/path/to/previous1.key'],
        [2, '/path/to/previous2.key'],
      ],
      MaxConcurrentInputSize: 1024,
    });
    expect(problems).toEqual([]);
    expect(settings).toEqual({
      format: 'A1',
      master: { setting: `${NAME}.MasterKey`, id: 3, path: '/path/to/master.key' },
      previous: [
        { setting: `${NAME}.PreviousMasterKeys[0]`, id: 1, path: '/path/to/previous1.key' },
        { setting: `${NAME}.PreviousMasterKeys[1]`, id: 2, path: '/path/to/previous2.key' },
      ],
      maxInputBytes: 2 ** 30,
    });
  });

  test.each([
    ['absent', undefined],
    ['empty', {}],
    ['off', { Enable: false }],
  ])('%s: none', (_, raw) => {
    expect(read(raw)).toEqual({ settings: undefined, keyFiles: [], problems: [] });
  });

  test('without Enable it is on, as in the C++ plugins', () => {
    expect(read({ MasterKey: [1, '/k'] }).settings?.format).toBe('A1');
  });

  test('off with keys: they read what was encrypted before', () => {
    const { settings } = read({ Enable: 'false', MasterKey: [1, '/k'], Format: 'A2' });
    expect(settings?.format).toBeUndefined();
    expect(settings?.master?.id).toBe(1);
  });

  test.each([
    [{ Enable: true }, `${NAME}.MasterKey: is missing; write [id, "path of the key file"]`],
    [{ Format: 'A2' }, `${NAME}.MasterKey: is missing; write [id, "path of the key file"]`],
    [{ MasterKey: [1, '/k'], Format: 'A3' }, `${NAME}.Format: must be one of "A1", "A2", not "A3"`],
    [
      { MasterKey: [2 ** 32, '/k'] },
      `${NAME}.MasterKey[0]: must be a whole number from 0 to 4294967295, not 4294967296`,
    ],
    [{ MasterKey: [1] }, `${NAME}.MasterKey[1]: is missing`],
    [{ MasterKey: 'x' }, `${NAME}.MasterKey: must be [id, "path of the key file"]`],
    [{ MasterKey: [1, '/k'], Masterkeys: [] }, /Masterkeys: unknown key, did you mean "MasterKey"/],
    [[], /must be an object/],
    [true, /must be an object/],
  ])('%j', (raw, problem) => {
    const { settings, problems } = read(raw);
    expect(settings).toBeUndefined();
    expect(problems).toHaveLength(1);
    if (typeof problem === 'string') expect(problems[0]).toBe(problem);
    else expect(problems[0]).toMatch(problem);
  });

  test('key files are known also where something else is wrong', () => {
    const { problems, keyFiles } = read({
      Enable: 'perhaps',
      MasterKey: ['x', '/master.key'],
      PreviousMasterKeys: [[1, '/one.key'], [2], [3, '/three.key']],
      Format: 'A3',
    });
    expect(problems).toHaveLength(4);
    expect(keyFiles).toEqual([
      { setting: `${NAME}.PreviousMasterKeys[0]`, id: 1, path: '/one.key' },
      { setting: `${NAME}.PreviousMasterKeys[2]`, id: 3, path: '/three.key' },
    ]);
    expect(read({ Enable: true, Format: 'A3' }).problems).toHaveLength(2);
  });
});
