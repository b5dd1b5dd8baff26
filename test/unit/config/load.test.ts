// SPDX-License-Identifier: GPL-3.0-or-later

import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadConfiguration, readConfiguration } from '../../../src/config/load.ts';
import { knownSections } from '../../../src/config/sections.ts';
import type { PluginSettings } from '../../../src/config/settings.ts';
import { StorageError } from '../../../src/errors.ts';
import type { AzureSettings } from '../../../src/providers/azure/settings.ts';
import { PROVIDERS } from '../../../src/providers/index.ts';
import type { S3Settings } from '../../../src/providers/s3/settings.ts';

type Json = Readonly<Record<string, unknown>>;

const ENVIRONMENT = { orthancVersion: '1.12.7', environmentVariables: {} };

const MINIMAL: Json = { BucketName: 'bucket', Region: 'eu-central-1' };

function load(
  configuration: Json,
  { orthancVersion = '1.12.7', environmentVariables = {} as NodeJS.ProcessEnv } = {},
): PluginSettings {
  return loadConfiguration(
    JSON.stringify(configuration),
    { orthancVersion, environmentVariables },
    PROVIDERS,
  );
}

/** The problems of an AwsS3Storage section, in their order. */
function problemsOf(section: Json, rest: Json = {}): readonly string[] {
  return problemsIn({ ...rest, AwsS3Storage: section });
}

function problemsIn(configuration: Json): readonly string[] {
  try {
    load(configuration);
  } catch (error) {
    if (!(error instanceof StorageError) || error.code !== 'BAD_CONFIG') throw error;
    return error.message.split('\n');
  }
  return [];
}

function s3(section: Json, rest: Json = {}): S3Settings {
  const { provider } = load({ ...rest, AwsS3Storage: { ...MINIMAL, ...section } });
  if (provider?.kind !== 's3') throw new Error('not S3');
  return provider.settings as S3Settings;
}

describe('a section of the least', () => {
  test('has the defaults of the C++ plugin', () => {
    expect(load({ AwsS3Storage: MINIMAL })).toEqual({
      provider: {
        kind: 's3',
        section: 'AwsS3Storage',
        bucket: 'bucket',
        place: 'eu-central-1',
        open: expect.any(Function),
        settings: {
          bucketName: 'bucket',
          region: 'eu-central-1',
          credentials: undefined,
          endpoint: undefined,
          endpointSetting: 'AwsS3Storage.Endpoint',
          virtualAddressing: true,
          storageClass: undefined,
          tags: {},
          serverSideEncryption: undefined,
          kmsKeyId: undefined,
          checksumMode: 'WhenSupported',
          transfer: { always: false, poolSize: 10, partSizeBytes: 5 * 1024 * 1024 },
          enableSdkLogs: false,
          connectionTimeoutMs: 30_000,
          requestTimeoutMs: 1_200_000,
          maxConnections: 25,
          maxRetries: 10,
          caCertificatesFile: undefined,
          proxies: { http: undefined, https: undefined, exceptions: '' },
        },
      },
      naming: { rootPath: '', structure: 'flat', legacyUnknownFiles: false },
      localCache: undefined,
      hybrid: undefined,
      removals: { isOn: false, folders: [], isSynchronous: true },
      unreadFolder: undefined,
      requestTimeoutMs: 1_200_000,
      startTimeoutMs: 30_000,
      lanes: 1,
      warnings: [],
      notes: [],
    });
  });

  test("and the page's sample is read whole", () => {
    const { provider, naming, requestTimeoutMs, warnings } = load({
      AwsS3Storage: {
        BucketName: 'test-orthanc-s3-plugin',
        Region: 'eu-central-1',
        AccessKey: 'AKXXX',
        SecretKey: 'RhYYYY',
        Endpoint: '',
        ConnectionTimeout: 30,
        RequestTimeout: 600,
        RootPath: 'a/b/',
        MigrationFromFileSystemEnabled: false,
        StorageStructure: 'legacy',
        EnableLegacyUnknownFiles: true,
        VirtualAddressing: true,
        StorageEncryption: {},
        HybridMode: 'Disabled',
        UseTransferManager: true,
        TransferPoolSize: 4,
        TransferBufferSize: 16,
        EnableAwsSdkLogs: true,
        StorageClass: 'STANDARD_IA',
        Tags: { project: 'radiology' },
        MaxConnections: 50,
        MaxRetries: 0,
        Lanes: 1,
      },
    });
    if (provider?.kind !== 's3') throw new Error('not S3');
    expect(provider.settings).toMatchObject({
      credentials: { accessKey: 'AKXXX' },
      endpoint: undefined,
      storageClass: 'STANDARD_IA',
      tags: { project: 'radiology' },
      transfer: { always: true, poolSize: 4, partSizeBytes: 16 * 1024 * 1024 },
      enableSdkLogs: true,
      maxConnections: 50,
      maxRetries: 0,
    });
    const { credentials } = provider.settings as S3Settings;
    expect(credentials?.secretKey.reveal()).toBe('RhYYYY');
    expect(naming).toEqual({ rootPath: 'a/b', structure: 'legacy', legacyUnknownFiles: true });
    expect(requestTimeoutMs).toBe(600_000);
    expect(warnings).toEqual([]);
  });
});

describe('what Docker makes of values', () => {
  test.each([
    ['BucketName', 2026, 'bucketName', '2026'],
    ['BucketName', ' bucket\n', 'bucketName', 'bucket'],
    ['MaxRetries', '7', 'maxRetries', 7],
    ['MaxConnections', ' 30 ', 'maxConnections', 30],
    ['ConnectionTimeout', 30.0, 'connectionTimeoutMs', 30_000],
    ['EnableAwsSdkLogs', 'true', 'enableSdkLogs', true],
    ['EnableAwsSdkLogs', 'True', 'enableSdkLogs', true],
    ['EnableAwsSdkLogs', 1, 'enableSdkLogs', true],
    ['EnableAwsSdkLogs', '0', 'enableSdkLogs', false],
    ['VirtualAddressing', 0, 'virtualAddressing', false],
    ['VirtualAddressing', 'false', 'virtualAddressing', false],
    ['Tags', { a: 1, b: true, c: ' x ' }, 'tags', { a: '1', b: 'true', c: ' x ' }],
    ['StorageClass', '', 'storageClass', undefined],
    ['ServerSideEncryption', '', 'serverSideEncryption', undefined],
  ] as const)('%s: %j', (key, value, setting, expected) => {
    expect(s3({ [key]: value })[setting]).toEqual(expected);
  });

  test('a SecretKey of digits', () => {
    const { credentials } = s3({ AccessKey: 1234, SecretKey: 5678 });
    expect(credentials?.accessKey).toBe('1234');
    expect(credentials?.secretKey.reveal()).toBe('5678');
  });

  test('empty keys are none', () => {
    expect(s3({ AccessKey: '', SecretKey: ' ' }).credentials).toBeUndefined();
  });

  test('digits that JSON has rounded are refused, not guessed', () => {
    const json = `{"AwsS3Storage": {"BucketName": "b", "Region": "r", "AccessKey": "a", "SecretKey": 12345678901234567890}}`;
    const read = () =>
      loadConfiguration(json, { orthancVersion: '1.12.7', environmentVariables: {} }, PROVIDERS);
    expect(read).toThrow(
      'AwsS3Storage.SecretKey: is a number that is not kept exactly: put it in quotes',
    );
  });
});

describe('what is wrong, and what to write', () => {
  test.each<[Json, string]>([
    [{ BucketName: undefined }, "BucketName: is missing; write the bucket's name"],
    [{ BucketName: '' }, "BucketName: must not be empty; write the bucket's name"],
    [{ BucketName: null }, 'BucketName: must be text in quotes, not null'],
    [{ BucketName: ['b'] }, 'BucketName: must be text in quotes, not a list'],
    [{ BucketName: true }, 'BucketName: must be text in quotes, not true'],
    [{ BucketName: 1.5 }, 'BucketName: is a number that is not kept exactly: put it in quotes'],
    [
      { BucketName: 's3://bucket' },
      "BucketName: must not be a URL: write the bucket's name alone, a folder belongs in RootPath",
    ],
    [
      { BucketName: 'bucket/folder' },
      'BucketName: must not hold "/": write the bucket\'s name alone, a folder belongs in RootPath',
    ],
    [{ Region: undefined }, 'Region: is missing; write the region, such as "eu-central-1"'],
    [{ Region: 'eu central' }, 'Region: must be a region such as "eu-central-1"'],
    [
      { AccessKey: 'AK' },
      'SecretKey: is missing, while "AccessKey" is there; write both or neither',
    ],
    [
      { SecretKey: 'x' },
      'AccessKey: is missing, while "SecretKey" is there; write both or neither',
    ],
    [
      { StorageStructure: 'flatt' },
      'StorageStructure: must be one of "flat", "legacy", not "flatt"; did you mean "flat"?',
    ],
    [
      { StorageStructure: 'Legacy' },
      'StorageStructure: must be one of "flat", "legacy", not "Legacy"; did you mean "legacy"?',
    ],
    [{ StorageStructure: 3 }, 'StorageStructure: must be one of "flat", "legacy", not 3'],
    [{ RootPath: '/a/b' }, 'RootPath: must not start with "/": write "a/b"'],
    [{ RootPath: 'a/../b' }, 'RootPath: must not hold "." or ".." as a folder'],
    [{ RootPath: './a' }, 'RootPath: must not hold "." or ".." as a folder'],
    [{ RootPath: 'a\nb' }, 'RootPath: must not hold control characters'],
    [{ RootPath: 'ä'.repeat(451) }, 'RootPath: must not be longer than 900 bytes'],
    [
      { RequestTimeout: 0 },
      'RequestTimeout: must be a whole number from 1 to 86400 (seconds), not 0',
    ],
    [
      { ConnectionTimeout: 1.5 },
      'ConnectionTimeout: must be a whole number from 1 to 3600 (seconds), not 1.5',
    ],
    [
      { ConnectionTimeout: 'soon' },
      'ConnectionTimeout: must be a whole number from 1 to 3600 (seconds), not "soon"',
    ],
    [{ MaxRetries: '' }, 'MaxRetries: must be a whole number from 0 to 100 (retries), not ""'],
    [{ MaxRetries: -1 }, 'MaxRetries: must be a whole number from 0 to 100 (retries), not -1'],
    [
      { MaxConnections: 1001 },
      'MaxConnections: must be a whole number from 1 to 1000 (connections), not 1001',
    ],
    [
      { TransferBufferSize: 4 },
      'TransferBufferSize: must be a whole number from 5 to 1024 (MB), not 4',
    ],
    [{ VirtualAddressing: 'no' }, 'VirtualAddressing: must be true or false, not "no"'],
    [{ VirtualAddressing: 2 }, 'VirtualAddressing: must be true or false, not 2'],
    [{ Tags: 'a=b' }, 'Tags: must be an object of texts, such as {"project": "radiology"}'],
    [{ Tags: { a: {} } }, 'Tags.a: must be text in quotes, not an object'],
    [
      { Tags: Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`t${i}`, ''])) },
      'Tags: has 11 tags; S3 allows 10',
    ],
    [{ Tags: { '': 'x' } }, 'Tags: the name of tag "" must not be empty'],
    [{ Tags: { 'aws:x': 'y' } }, 'Tags: the name of tag "aws:x" must not start with "aws:"'],
    [{ Tags: { a: 'x'.repeat(257) } }, 'Tags.a: must not be longer than 256 characters'],
    [{ Tags: { a: '<b>' } }, 'Tags.a: may hold letters, digits, spaces and + - = . _ : / @ only'],
    [
      { ServerSideEncryption: 'aws-kms' },
      'ServerSideEncryption: must be one of "AES256", "aws:kms", "aws:kms:dsse", not "aws-kms"; did you mean "aws:kms"?',
    ],
    [{ KmsKeyId: 'k' }, 'KmsKeyId: needs "ServerSideEncryption": "aws:kms" or "aws:kms:dsse"'],
    [
      { KmsKeyId: 'k', ServerSideEncryption: 'AES256' },
      'KmsKeyId: needs "ServerSideEncryption": "aws:kms" or "aws:kms:dsse"',
    ],
    [
      { Endpoint: 'ftp://host' },
      'Endpoint: must not start with "ftp://": write a host, host:port, or a URL like "https://s3.example.org:9000"',
    ],
    [{ BuketName: 'b' }, 'BuketName: unknown key, did you mean "BucketName"?'],
    [{ accesskey: 'b' }, 'accesskey: unknown key, did you mean "AccessKey"?'],
    [{ Colour: 'b' }, 'Colour: unknown key, remove it'],
    ...(
      [
        ['SecretAccessKey', 'SecretKey'],
        ['aws_secret_access_key', 'SecretKey'],
        ['AccessKeyId', 'AccessKey'],
        ['Bucket', 'BucketName'],
        ['EndpointUrl', 'Endpoint'],
        ['endpoint_url', 'Endpoint'],
        ['AWS_DEFAULT_REGION', 'Region'],
        ['KeyPrefix', 'RootPath'],
        ['SSEKMSKeyId', 'KmsKeyId'],
        ['max_pool_connections', 'MaxConnections'],
      ] as const
    ).map(([key, meant]): [Json, string] => [
      { [key]: 'b' },
      `${key}: unknown key, did you mean "${meant}"?`,
    ]),
    ...['ForcePathStyle', 's3ForcePathStyle', 'UsePathStyle', 'path_style'].map(
      (key): [Json, string] => [
        { [key]: true },
        `${key}: unknown key, did you mean "VirtualAddressing"? Its false is path style`,
      ],
    ),
    [{ ContainerName: 'b' }, 'ContainerName: unknown key, it belongs in AzureBlobStorage'],
    [
      { ServiceAccountFile: 'b' },
      'ServiceAccountFile: unknown key, it belongs in GoogleCloudStorage',
    ],
    [
      { MasterKey: [1, 'b'] },
      'MasterKey: unknown key, it belongs in AwsS3Storage.StorageEncryption',
    ],
    [
      { StorageDirectory: 'b' },
      'StorageDirectory: unknown key, it belongs at the top of the configuration',
    ],
    [
      { StorageEncryption: { RootPath: '', Enable: false } },
      'StorageEncryption.RootPath: unknown key, it belongs in AwsS3Storage',
    ],
    [{ StorageEncryption: 'on' }, 'StorageEncryption: must be an object, not "on"'],
    [
      { StorageEncryption: { Enable: false, MasterKey: [1] } },
      'StorageEncryption.MasterKey[1]: is missing',
    ],
    [
      { StorageEncryption: { Enable: false, MasterKey: 'key' } },
      'StorageEncryption.MasterKey: must be [id, "path of the key file"]',
    ],
    [
      { StorageEncryption: { Enable: false, PreviousMasterKeys: [[4294967296, 'k']] } },
      'StorageEncryption.PreviousMasterKeys[0][0]: must be a whole number from 0 to 4294967295, not 4294967296',
    ],
    [
      { StorageEncryption: { Enable: false, Format: 'A3' } },
      'StorageEncryption.Format: must be one of "A1", "A2", not "A3"',
    ],
    [
      { StorageClass: 'STANDRD_IA' },
      `StorageClass: must be one of "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER", "DEEP_ARCHIVE", "OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE", not "STANDRD_IA"; did you mean "STANDARD_IA"?`,
    ],
    [
      { ConnectTimeout: 3, ConnectionTimeout: 3 },
      'ConnectTimeout: is the old name of "ConnectionTimeout", which is there too; remove "ConnectTimeout"',
    ],
  ])('%j', (section, problem) => {
    expect(problemsOf({ ...MINIMAL, ...section })).toEqual([`AwsS3Storage.${problem}`]);
  });

  test('objects that JavaScript cannot print are as wrong as others', () => {
    const unprintable = { toString: 1, valueOf: 1 };
    const problems = problemsOf({
      ...MINIMAL,
      KmsKeyId: 'k',
      ServerSideEncryption: unprintable,
      MaxRetries: unprintable,
      StorageEncryption: { Enable: unprintable, MasterKey: [unprintable, 'k'] },
    });
    expect(problems.map((problem) => problem.split(':')[0] ?? '').toSorted()).toEqual([
      'AwsS3Storage.KmsKeyId',
      'AwsS3Storage.MaxRetries',
      'AwsS3Storage.ServerSideEncryption',
      'AwsS3Storage.StorageEncryption.Enable',
      'AwsS3Storage.StorageEncryption.MasterKey[0]',
    ]);
  });

  test('all of it in one message', () => {
    const problems = problemsOf(
      { BuketName: 'b', Region: '', MaxRetries: 'x', RootPath: '/', Lanes: 65, SecretKey: 's' },
      { HttpProxy: 'socks5://proxy' },
    );
    const settings = problems.map((problem) => problem.split(':')[0] ?? '');
    expect(settings.toSorted()).toEqual([
      'AwsS3Storage.AccessKey',
      'AwsS3Storage.BucketName',
      'AwsS3Storage.BuketName',
      'AwsS3Storage.Lanes',
      'AwsS3Storage.MaxRetries',
      'AwsS3Storage.Region',
      'AwsS3Storage.RootPath',
      'HttpProxy',
    ]);
  });
});

describe('hybrid storage', () => {
  const FOLDER = { StorageDirectory: '/var/lib/orthanc/db-v6' };
  const hybrid = (section: Json, rest: Json = FOLDER) =>
    load({ ...rest, AwsS3Storage: { ...MINIMAL, ...section } }).hybrid;

  test.each<[Json, 'object-storage' | 'file-system' | undefined]>([
    [{}, undefined],
    [{ HybridMode: 'Disabled', MigrationFromFileSystemEnabled: 'false' }, undefined],
    [{ HybridMode: 'WriteToObjectStorage' }, 'object-storage'],
    [{ HybridMode: 'WriteToFileSystem' }, 'file-system'],
    [{ MigrationFromFileSystemEnabled: 'true' }, 'object-storage'],
    [{ HybridMode: 'Disabled', MigrationFromFileSystemEnabled: true }, 'object-storage'],
    [{ HybridMode: 'WriteToObjectStorage', MigrationFromFileSystemEnabled: 1 }, 'object-storage'],
  ])('%j', (section, writeTo) => {
    expect(hybrid(section)?.writeTo).toBe(writeTo);
  });

  test("takes Orthanc's folder and whether to wait for the disk", () => {
    const section = { HybridMode: 'WriteToFileSystem' };
    const folder = '/var/lib/orthanc/db-v6';
    expect(hybrid(section)?.fileSystem).toEqual({ folder, isSynchronous: true });
    expect(hybrid(section, { ...FOLDER, SyncStorageArea: false })?.fileSystem).toEqual({
      folder,
      isSynchronous: false,
    });
  });

  test.each<[Json, Json, RegExp]>([
    [{ HybridMode: 'WriteToFileSystem' }, {}, /^StorageDirectory: is missing; write .* absolute/],
    [
      { MigrationFromFileSystemEnabled: true },
      { StorageDirectory: 'OrthancStorage' },
      /^StorageDirectory: "OrthancStorage" is a relative path; write .* absolute/,
    ],
    [
      { HybridMode: 'WriteToFileSystem' },
      { ...FOLDER, SyncStorageArea: 'yes' },
      /^SyncStorageArea: must be true or false/,
    ],
    [
      { HybridMode: 'WriteToFileSystem', MigrationFromFileSystemEnabled: '1' },
      FOLDER,
      /MigrationFromFileSystemEnabled: contradicts/,
    ],
    [
      { HybridMode: 'WriteToFileSystem ', MigrationFromFileSystemEnabled: true },
      FOLDER,
      /MigrationFromFileSystemEnabled: contradicts/,
    ],
    [{ HybridMode: 'Both' }, FOLDER, /AwsS3Storage\.HybridMode: must be one of|HybridMode/],
  ])('%j with %j is refused', (section, rest, problem) => {
    expect(problemsOf({ ...MINIMAL, ...section }, rest)).toEqual([
      expect.stringMatching(problem) as string,
    ]);
  });
});

describe('lanes', () => {
  test('as many as are written', () => {
    expect(load({ AwsS3Storage: { ...MINIMAL, Lanes: '3' } }).lanes).toBe(3);
  });

  test.each([{ HybridMode: 'WriteToFileSystem' }, { MigrationFromFileSystemEnabled: true }])(
    'more than one with %j is refused',
    (hybrid) => {
      expect(
        problemsOf({ ...MINIMAL, ...hybrid, Lanes: 2 }, { StorageDirectory: '/files' }),
      ).toEqual([
        expect.stringMatching(/^AwsS3Storage\.Lanes: must be 1 where files are in both places/),
      ]);
    },
  );
});

describe('encryption', () => {
  test.each([
    { Enable: true, MasterKey: [1, 'k'] },
    { Enable: 1, MasterKey: [1, 'k'] },
    // Without Enable: the C++ plugins encrypt then.
    { MasterKey: [1, 'k'] },
  ])('on: %j', (StorageEncryption) => {
    const { encryption } = load({ AwsS3Storage: { ...MINIMAL, StorageEncryption } });
    expect(encryption).toMatchObject({ format: 'A1', master: { id: 1, path: 'k' } });
  });

  test.each([{}, { Enable: false }, { Enable: '0', MasterKey: [1, 'k'] }, { Enable: 'False' }])(
    'no encryption: %j',
    (StorageEncryption) => {
      const { encryption } = load({ AwsS3Storage: { ...MINIMAL, StorageEncryption } });
      expect(encryption?.format).toBeUndefined();
    },
  );

  test('encryption that lacks its key is told so as well', () => {
    expect(problemsOf({ ...MINIMAL, StorageEncryption: { Enable: true } })).toContain(
      'AwsS3Storage.StorageEncryption.MasterKey: is missing; write [id, "path of the key file"]',
    );
  });
});

describe('settings at the top of the configuration', () => {
  const StorageEncryption = { Enable: true, MasterKey: [1, 'k'] };
  const top = 'is ignored at the top of the configuration';
  const inTheClear = `${top}, so that files would be stored in the clear`;

  test.each<[Json, string]>([
    [
      { AwsS3Storage: MINIMAL, StorageEncryption },
      `StorageEncryption: ${inTheClear}; move it into AwsS3Storage`,
    ],
    [
      {
        BlobStorage: { AccountName: 'a', AccountKey: 'a2V5', ContainerName: 'box' },
        StorageEncryption,
      },
      `StorageEncryption: ${inTheClear}; move it into BlobStorage`,
    ],
    [
      { GoogleCloudStorage: { BucketName: 'b' }, storageEncyption: StorageEncryption },
      `storageEncyption: ${inTheClear}; move it into GoogleCloudStorage as "StorageEncryption"`,
    ],
    [
      { AwsS3Storage: MINIMAL, MasterKey: [1, 'k'] },
      `MasterKey: ${inTheClear}; move it into AwsS3Storage.StorageEncryption`,
    ],
    // No section: what was to be encrypted would stay on Orthanc's disk as it is.
    [
      { StorageEncryption },
      `StorageEncryption: ${inTheClear}; move it into AwsS3Storage or AzureBlobStorage or GoogleCloudStorage`,
    ],
    [
      { AwsS3Storage: { ...MINIMAL, StorageEncryption }, StorageEncryption },
      `StorageEncryption: ${top}; remove it, since AwsS3Storage has its own`,
    ],
    [
      { AwsS3Storage: { ...MINIMAL, StorageEncryption }, MasterKey: [2, 'k'] },
      `MasterKey: ${top}; remove it, since AwsS3Storage.StorageEncryption has its own`,
    ],
  ])('encryption stops Orthanc: %j', (configuration, problem) => {
    expect(problemsIn(configuration)).toEqual([problem]);
  });

  test('what else is ours is warned of', () => {
    const { warnings, hybrid } = load({
      HybridMode: 'WriteToFileSystem',
      RootPath: 'a',
      Format: 'A2',
      AwsS3Storage: { ...MINIMAL, RootPath: 'b' },
    });
    expect(warnings).toEqual([
      `HybridMode: ${top}; move it into AwsS3Storage`,
      `RootPath: ${top}; remove it, since AwsS3Storage has its own`,
      `Format: ${top}; move it into AwsS3Storage.StorageEncryption`,
    ]);
    expect(hybrid).toBeUndefined();
  });

  test("what is Orthanc's own, another plugin's or another provider's is not", () => {
    const others = { StorageCompression: true, StorageDirectory: '/files', HttpProxy: '' };
    const { warnings } = load({
      ...others,
      ContainerName: 'c',
      DicomWeb: {},
      AwsS3Storage: MINIMAL,
    });
    expect(warnings).toEqual([]);
  });
});

describe('Azure and Google', () => {
  const azure = {
    ConnectionString: 'AccountName=a;AccountKey=a2V5',
    ContainerName: 'container',
    AccessTier: 'Cool',
  };
  const oldAzure = { AccountName: 'a', AccountKey: 'a2V5', ContainerName: 'container' };
  const google = { BucketName: 'b', ServiceAccountFile: '/f.json', StorageClass: 'NEARLINE' };
  test('a connection string', () => {
    const { provider, requestTimeoutMs } = load({
      AzureBlobStorage: { ...azure, RequestTimeout: 60 },
    });
    if (provider?.kind !== 'azure') throw new Error('not Azure');
    const { account, ...others } = provider.settings as AzureSettings;
    if (account.kind !== 'connection-string') throw new Error('no connection string');
    expect(account.connectionString.reveal()).toBe(
      'DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5;BlobEndpoint=https://a.blob.core.windows.net',
    );
    expect(others).toMatchObject({
      containerName: 'container',
      createContainerIfNotExists: true,
      accessTier: 'Cool',
    });
    expect(requestTimeoutMs).toBe(60_000);
  });

  test.each([
    ['AccountName=a;AccountKey=a2V5;DefaultEndpointsProtocol=http', 1],
    ['AccountName=a;AccountKey=a2V5;BlobEndpoint=HTTP://azurite:10000/a', 1],
    ['AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/a', 0],
    ['UseDevelopmentStorage=true', 0],
    ['AccountName=a;AccountKey=a2V5', 0],
  ])('a connection string without TLS, %s: %i warnings', (ConnectionString, count) => {
    const { warnings } = load({ AzureBlobStorage: { ...azure, ConnectionString } });
    expect(warnings).toEqual(
      Array(count).fill(expect.stringMatching(/^AzureBlobStorage.ConnectionString: without TLS/)),
    );
  });

  test('the old section of Azure, with a name and a key', () => {
    const { provider, warnings } = load({ BlobStorage: oldAzure });
    expect(provider).toMatchObject({ kind: 'azure', section: 'BlobStorage' });
    expect(warnings).toContain('BlobStorage: is the old name of "AzureBlobStorage"; write that');
  });

  test('Google', () => {
    const { provider } = load({ GoogleCloudStorage: google });
    expect(provider).toMatchObject({
      kind: 'google',
      settings: { bucketName: 'b', serviceAccountFile: '/f.json', storageClass: 'NEARLINE' },
    });
  });

  test.each([
    ['AzureBlobStorage', azure],
    ['BlobStorage', oldAzure],
    ['GoogleCloudStorage', google],
  ])('%s: an unknown key', (section, good) => {
    expect(problemsIn({ [section]: { ...good, RootPth: '' } })).toEqual([
      `${section}.RootPth: unknown key, did you mean "RootPath"?`,
    ]);
  });

  test.each<[string, Json, string]>([
    [
      'AzureBlobStorage',
      { ...azure, Container: 'c' },
      'Container: unknown key, did you mean "ContainerName"?',
    ],
    [
      'AzureBlobStorage',
      { ...azure, AZURE_STORAGE_CONNECTION_STRING: 'hunter2' },
      'AZURE_STORAGE_CONNECTION_STRING: unknown key, did you mean "ConnectionString"?',
    ],
    [
      'GoogleCloudStorage',
      { ...google, CredentialsFile: 'hunter2' },
      'CredentialsFile: unknown key, did you mean "ServiceAccountFile"?',
    ],
    [
      'AzureBlobStorage',
      { ...azure, AccountUrl: 'https://a' },
      'AccountUrl: replaces "ConnectionString": keep one',
    ],
    [
      'AzureBlobStorage',
      { ContainerName: 'container' },
      'ConnectionString: is missing; write it, or "AccountUrl" for the default credential chain',
    ],
    [
      'AzureBlobStorage',
      { ...azure, ConnectionString: 'hunter2' },
      'ConnectionString: lacks AccountName= (or BlobEndpoint=, the address of the blob service); copy it whole from the Azure portal ("Access keys" or "Shared access signature")',
    ],
    [
      'AzureBlobStorage',
      { ...azure, ContainerName: 'My_Container' },
      'ContainerName: must be 3 to 63 lower-case letters, digits and single hyphens',
    ],
    [
      'AzureBlobStorage',
      { ...azure, AccessTier: 'cool' },
      'AccessTier: must be one of "Hot", "Cool", "Cold", "Archive", "Premium", not "cool"; did you mean "Cool"?',
    ],
    [
      'BlobStorage',
      { AccountName: 'a', ContainerName: 'container' },
      'AccountKey: is missing, while "AccountName" is there; write both or neither',
    ],
    [
      'BlobStorage',
      { ...oldAzure, AccountKey: 'hunter2' },
      'AccountKey: has an AccountKey= that is not base64 or is cut off; copy it whole from the Azure portal ("Access keys" or "Shared access signature")',
    ],
    [
      'GoogleCloudStorage',
      { ...google, StorageClass: 'STANDARD_IA' },
      'StorageClass: must be one of "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", not "STANDARD_IA"; did you mean "STANDARD"?',
    ],
  ])('%s %j', (section, settings, problem) => {
    expect(problemsIn({ [section]: settings })).toContain(`${section}.${problem}`);
  });
});

describe('sections', () => {
  test('none leaves Orthanc alone, whatever else is there', () => {
    const { provider, warnings, notes } = load(
      { Name: 'x', HttpProxy: 'socks5://p', PostgreSQL: {}, AzureBlob: {} },
      { orthancVersion: '1.13.0', environmentVariables: { AWS_PROFILE: 'p' } },
    );
    expect([provider, warnings, notes]).toEqual([undefined, [], []]);
  });

  test('several are an error that names them', () => {
    expect(
      problemsIn({ AwsS3Storage: MINIMAL, GoogleCloudStorage: { BucketName: 'b' } }),
    ).toContain(
      'AwsS3Storage, GoogleCloudStorage: more than one storage section; keep the one to store in',
    );
  });

  test.each(['AwsS3Storge', 'awsS3Storage', 'AwsS3Storage ', 'AWSS3Storag'])(
    '%j is a mistake, not nothing',
    (section) => {
      expect(problemsIn({ [section]: MINIMAL })).toEqual([
        `${section}: unknown section, did you mean "AwsS3Storage"?`,
      ]);
    },
  );

  test('a misspelt section beside a right one is a mistake, too: it may ask for encryption', () => {
    const sealed = { ...MINIMAL, StorageEncryption: { Enable: true } };
    expect(problemsIn({ AwsS3Storage: MINIMAL, AwsS3storage: sealed })).toEqual([
      'AwsS3storage: unknown section, did you mean "AwsS3Storage"?',
    ]);
  });

  test.each([[null], [[]], ['bucket'], [true]])('%j is no section', (section) => {
    expect(problemsIn({ AwsS3Storage: section })).toEqual([
      'AwsS3Storage: must be an object, { … }',
    ]);
  });

  test.each(['[]', '1', 'null', '"x"', '', '{"AwsS3Storage": {"SecretKey": "hunter2" "x"}}'])(
    'a configuration of %j',
    (json) => {
      const read = () =>
        loadConfiguration(json, { orthancVersion: '1.12.7', environmentVariables: {} }, PROVIDERS);
      expect(read).toThrow(/^the configuration is not (a JSON object|valid JSON)$/);
    },
  );
});

describe('addressing', () => {
  test.each([
    ['bucket', undefined, true],
    ['bucket', 's3.example.org', true],
    ['bucket', 'http://localhost:9000', false],
    ['bucket', 'https://10.0.0.5', false],
    ['bucket', 'https://[::1]:9000', false],
    ['my.bucket', undefined, false],
    ['my.bucket', 'https://s3.example.org', false],
    ['my.bucket', 'http://s3.example.org', true],
    ['My_Bucket', 'http://s3.example.org', false],
    ['bucket', 'https://s3.example.org/storage', false],
  ])('bucket %j at %j: host style %s', (BucketName, Endpoint, virtual) => {
    expect(s3({ BucketName, Endpoint }).virtualAddressing).toBe(virtual);
    expect(s3({ BucketName, Endpoint, VirtualAddressing: false }).virtualAddressing).toBe(false);
  });
});

describe("Orthanc's own settings", () => {
  test('apply', () => {
    const settings = s3({}, { HttpsCACertificates: '/etc/ca.pem', HttpProxy: 'u:p@proxy:3128' });
    expect(settings.caCertificatesFile).toBe('/etc/ca.pem');
    const { http, https } = settings.proxies;
    expect(http?.url.reveal()).toBe('http://u:p@proxy:3128');
    expect(https).toBe(http);
  });

  test.each<[NodeJS.ProcessEnv, string, string | undefined, string | undefined]>([
    [{ HTTPS_PROXY: 'p:1', HTTP_PROXY: 'http://q:2' }, '', 'http://q:2', 'http://p:1'],
    [{ https_proxy: 'p:1', HTTPS_PROXY: 'q:2' }, '', undefined, 'http://p:1'],
    [{ ALL_PROXY: 'p' }, '', 'http://p:1080', 'http://p:1080'],
    [{ HTTPS_PROXY: ' ', all_proxy: 'p:1' }, '', 'http://p:1', 'http://p:1'],
    [{ HTTPS_PROXY: 'p:1', HTTP_PROXY: 'p:1' }, 'o:3', 'http://o:3', 'http://o:3'],
    [{ NO_PROXY: '*' }, '', undefined, undefined],
  ])(
    'without HttpProxy, %j has a say (HttpProxy %j)',
    (environmentVariables, HttpProxy, ...urls) => {
      const { provider } = load({ AwsS3Storage: MINIMAL, HttpProxy }, { environmentVariables });
      const { http, https, exceptions } = provider?.settings.proxies ?? {};
      expect([http?.url.reveal(), https?.url.reveal()]).toEqual(urls);
      expect(exceptions).toBe(environmentVariables['NO_PROXY'] ?? '');
    },
  );

  test('a proxy in the environment that is none is a problem, under its name', () => {
    const environmentVariables = { HTTPS_PROXY: 'socks5://u:hunter2@p' };
    const failing = () => load({ AwsS3Storage: MINIMAL }, { environmentVariables });
    expect(failing).toThrow(/^HTTPS_PROXY: a proxy of kind "socks5" is not supported/);
    expect(failing).not.toThrow(/hunter2/);
  });

  test('empty ones are none', () => {
    const settings = s3({}, { HttpsCACertificates: '', HttpProxy: '' });
    expect(settings.caCertificatesFile).toBeUndefined();
    expect(settings.proxies.https).toBeUndefined();
  });

  test('wrong ones are problems', () => {
    expect(
      problemsOf(MINIMAL, { HttpsCACertificates: 1, HttpProxy: 'socks5://u:hunter2@p' }),
    ).toEqual([
      'HttpsCACertificates: must be text in quotes',
      'HttpProxy: a proxy of kind "socks5" is not supported: write host:port, user:password@host:port, or either behind "http://"; "/", "@" and the like in a password as %2F, %40',
    ]);
  });
});

describe('warnings', () => {
  test('StorageCompression with encryption', () => {
    const StorageEncryption = { MasterKey: [1, 'k'] };
    const section = { ...MINIMAL, StorageEncryption };
    const { warnings } = load({ StorageCompression: true, AwsS3Storage: section });
    expect(warnings.join()).toContain('StorageCompression: with it Orthanc reads whole files only');
    expect(load({ StorageCompression: true, AwsS3Storage: MINIMAL }).warnings).toEqual([]);
    expect(load({ AwsS3Storage: section }).warnings).toEqual([]);
  });

  test('what depends on the version, where nobody knows it', () => {
    const json = JSON.stringify({ AwsS3Storage: MINIMAL, StoreMD5ForAttachments: false });
    const unknown = { orthancVersion: undefined, environmentVariables: {} };
    // Not StorageLoaderThreadsCount: most Orthancs that nobody has asked are older ones, which do not have it.
    expect(loadConfiguration(json, unknown, PROVIDERS).warnings).toEqual([
      expect.stringMatching(/^StoreMD5ForAttachments: with false, Orthanc 1.13.0 answers/),
    ]);
  });

  const warningsOf = (section: Json, rest: Json = {}, orthancVersion = '1.12.7') =>
    load({ ...rest, AwsS3Storage: { ...MINIMAL, ...section } }, { orthancVersion }).warnings;

  test('HttpsVerifyPeers', () => {
    expect(warningsOf({}, { HttpsVerifyPeers: false })).toEqual([
      expect.stringMatching(/^HttpsVerifyPeers: .* always verified; .* HttpsCACertificates$/),
    ]);
    expect(warningsOf({}, { HttpsVerifyPeers: true })).toEqual([]);
  });

  test('an old name', () => {
    expect(warningsOf({ ConnectTimeout: '12' })).toEqual([
      'AwsS3Storage.ConnectTimeout: is the old name of "ConnectionTimeout"; write that',
    ]);
    expect(s3({ ConnectTimeout: '12' }).connectionTimeoutMs).toBe(12_000);
  });

  test.each([
    ['1.12.7', {}, false],
    ['1.13.0', {}, true],
    ['1.13.0', { StorageLoaderThreadsCount: 4 }, true],
    ['1.13.0', { StorageLoaderThreadsCount: 20 }, false],
    ['1.14.2', {}, true],
    ['2.0.0', {}, true],
    ['mainline', {}, true],
  ])('loader threads on %s with %j: %s', (version, orthanc, isWarned) => {
    expect(warningsOf({}, orthanc, version)).toEqual(
      isWarned ? [expect.stringMatching(/^StorageLoaderThreadsCount: .* about 20$/)] : [],
    );
  });

  test.each([
    ['1.13.0', false, true],
    ['1.13.0+dfsg', false, true],
    ['1.13.0', true, false],
    ['1.13.01', false, false],
    ['1.13.1', false, false],
    ['1.12.7', false, false],
  ])('MD5 on %s, %s: %s', (version, StoreMD5ForAttachments, isWarned) => {
    const orthanc = { StoreMD5ForAttachments, StorageLoaderThreadsCount: 20 };
    expect(warningsOf({}, orthanc, version)).toEqual(
      isWarned ? [expect.stringMatching(/^StoreMD5ForAttachments: /)] : [],
    );
  });

  test.each<[Json, readonly RegExp[]]>([
    [{ Endpoint: 'http://s3.example.org' }, [/^AwsS3Storage.Endpoint: without TLS/]],
    [{ Endpoint: 'http://127.0.0.1:9000' }, []],
    [{ Endpoint: 'https://s3.example.org' }, []],
    [{ Endpoint: 'https://minio:9000' }, [/^AwsS3Storage.VirtualAddressing: .* write false$/]],
    [{ Endpoint: 'https://minio:9000', VirtualAddressing: false }, []],
    [{ StorageClass: 'GLACIER' }, [/^AwsS3Storage.StorageClass: .* restored/]],
    [{ StorageClass: 'GLACIER_IR' }, []],
    [
      { StorageClass: 'COLD', Endpoint: 'https://s3.example.org' },
      [/^AwsS3Storage.StorageClass: .* Sent to the server as it is\.$/],
    ],
  ])('%j', (section, warnings) => {
    expect(warningsOf(section)).toEqual(warnings.map((line) => expect.stringMatching(line)));
  });

  test('variables of the environment are named, their values are not', () => {
    const { notes, warnings } = load(
      { AwsS3Storage: MINIMAL },
      {
        environmentVariables: {
          AWS_PROFILE: 'hunter2',
          AWS_S3_STORAGE_PLUGIN_ENABLED: 'false',
          AZURE_CLIENT_ID: 'hunter2',
          AWS_ACCESS_KEY_ID: 'hunter2',
          // These have none: other SDKs', the plugin's own, and the one that the same in lower case outranks.
          AWS_CA_BUNDLE: 'hunter2',
          UV_THREADPOOL_SIZE: '4',
          https_proxy: 'http://u:hunter2@p',
          HTTPS_PROXY: 'http://u:hunter2@q',
          no_proxy: 'hunter2',
          NODE_EXTRA_CA_CERTS: '',
          NODE_TLS_REJECT_UNAUTHORIZED: '0',
          PATH: '/bin',
        },
      },
    );
    expect(notes).toEqual([
      'environment variables that also have a say: AWS_ACCESS_KEY_ID, AWS_PROFILE, NODE_TLS_REJECT_UNAUTHORIZED, https_proxy, no_proxy',
    ]);
    expect(warnings).toEqual([expect.stringMatching(/^NODE_TLS_REJECT_UNAUTHORIZED: /)]);
  });
});

test('credentials in the environment have no say beside those of the configuration', () => {
  const { notes } = load(
    { AwsS3Storage: { ...MINIMAL, AccessKey: 'a', SecretKey: 'b' }, HttpProxy: 'p' },
    { environmentVariables: { AWS_ACCESS_KEY_ID: 'c', HTTPS_PROXY: 'q', AWS_PROFILE: 'd' } },
  );
  expect(notes).toEqual(['environment variables that also have a say: AWS_PROFILE']);
});

describe('an address that holds the bucket', () => {
  const about = (BucketName: string, Endpoint: string, section: Json = {}) => {
    try {
      return {
        problems: [],
        ...load({ AwsS3Storage: { ...MINIMAL, BucketName, Endpoint, ...section } }),
      };
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      return { problems: error.message.split('\n'), warnings: [] };
    }
  };

  test.each([
    ['pacs', 'https://pacs.s3.eu-central-1.amazonaws.com', 'https://s3.eu-central-1.amazonaws.com'],
    ['pacs', 'pacs.s3.amazonaws.com', 'https://s3.amazonaws.com'],
    ['pacs', 'pacs.s3-eu-west-1.amazonaws.com', 'https://s3-eu-west-1.amazonaws.com'],
    ['pacs', 'pacs.s3.cn-north-1.amazonaws.com.cn', 'https://s3.cn-north-1.amazonaws.com.cn'],
    ['minio', 'minio.s3.eu-west-1.amazonaws.com', 'https://s3.eu-west-1.amazonaws.com'],
    ['my.pacs', 'http://my.pacs.s3.example.org:9000', 'http://s3.example.org:9000'],
    ['pacs', 'https://pacs.minio.example', 'https://minio.example'],
    ['pacs', 'https://pacs.fra1.digitaloceanspaces.com', 'https://fra1.digitaloceanspaces.com'],
    ['pacs', 'https://a1b2.r2.cloudflarestorage.com/pacs', 'https://a1b2.r2.cloudflarestorage.com'],
    ['pacs', 'https://pacs.a1b2.r2.cloudflarestorage.com', 'https://a1b2.r2.cloudflarestorage.com'],
    ['pacs', 'https://pacs.storage.googleapis.com', 'https://storage.googleapis.com'],
    ['bucket', 'https://s3.example.org/storage/bucket', 'https://s3.example.org/storage'],
    ['pacs', 'https://s3.example.org/gateway/pacs/archive/', 'https://s3.example.org/gateway'],
    ['pacs', 'http://127.0.0.1:9000/pacs', 'http://127.0.0.1:9000'],
  ])('%s in %s is refused, with what to write', (bucket, endpoint, instead) => {
    for (const VirtualAddressing of [true, false]) {
      expect(about(bucket, endpoint, { VirtualAddressing }).problems).toEqual([
        expect.stringContaining(
          `AwsS3Storage.Endpoint: must not hold the bucket, which BucketName names; write "${instead}". `,
        ),
      ]);
    }
  });

  // Buckets that are called after their server, and paths of services: whole archives may be there.
  test.each([
    ['minio', 'https://minio.hospital.example'],
    ['minio', 'https://minio.s3.hospital.example'],
    ['s3', 'https://s3.example.org'],
    ['storage', 'https://storage.googleapis.com'],
    ['storage', 'https://x.supabase.co/storage/v1/s3'],
    ['s3', 'https://x.supabase.co/storage/v1/s3'],
    ['pacs', 'https://pacs-s3.example.org'],
    ['pacs', 'https://s3.pacs.example.org'],
    ['pacs', 'https://s3.example.org/pacs-gateway'],
    ['pacs', 'https://pacs:9000'],
    ['localhost', 'https://localhost:9000'],
    ['bucket', 'https://bucket.vpce-0a-1b.s3.eu-west-1.vpce.amazonaws.com'],
  ])('bucket %s at %s is fine', (bucket, endpoint) => {
    const { problems, warnings } = about(bucket, endpoint, { VirtualAddressing: false });
    expect([problems, warnings]).toEqual([[], []]);
  });

  test('a server of the same name is possible, and worth a warning', () => {
    const section = { VirtualAddressing: false };
    const { problems, warnings } = about('pacs', 'https://pacs.hospital.example:9000', section);
    expect([problems, warnings]).toEqual([
      [],
      [expect.stringMatching(/^AwsS3Storage.Endpoint: its host begins with "pacs" as BucketName/)],
    ]);
  });

  test('objects that are there already are found again, by RootPath', () => {
    expect(about('pacs', 'https://h.example/x/pacs/a').problems[0]).toMatch(/"a\/pacs\/" before/);
    expect(about('pacs', 'https://pacs.s3.h.example').problems[0]).toMatch(/"pacs\/" before/);
  });

  test('of the environment, of Google, of Azure', () => {
    const environmentVariables = { AWS_ENDPOINT_URL_S3: 'https://bucket.s3.amazonaws.com' };
    expect(() => load({ AwsS3Storage: MINIMAL }, { environmentVariables })).toThrow(
      /^AWS_ENDPOINT_URL_S3: must not hold the bucket, .* write "https:\/\/s3.amazonaws.com"/,
    );
    expect(
      problemsIn({
        GoogleCloudStorage: { BucketName: 'pacs', Endpoint: 'pacs.storage.googleapis.com' },
      }),
    ).toEqual([
      expect.stringMatching(
        /^GoogleCloudStorage.Endpoint: must not hold .* write "https:\/\/storage.googleapis.com"/,
      ),
    ]);
    const azure = (AccountUrl: string) =>
      problemsIn({ AzureBlobStorage: { ContainerName: 'pacs', AccountUrl } });
    expect(azure('https://azure.example/account/pacs')).toEqual([
      'AzureBlobStorage.AccountUrl: must not hold the container, which ContainerName names; write "https://azure.example/account"',
    ]);
    expect(azure('https://pacs.blob.core.windows.net')).toEqual([]);
    expect(azure('https://127.0.0.1:10000/pacs')).toEqual([]);
    const ConnectionString =
      'BlobEndpoint=https://azure.example/pacs;SharedAccessSignature=sv=1&sig=hunter2';
    expect(problemsIn({ AzureBlobStorage: { ContainerName: 'pacs', ConnectionString } })).toEqual([
      'AzureBlobStorage.ConnectionString: has a BlobEndpoint= that holds the container, which ContainerName names; write BlobEndpoint=https://azure.example',
    ]);
  });
});

describe('what the environment holds', () => {
  const about = (section: Json, environmentVariables: NodeJS.ProcessEnv) => {
    try {
      load(section, { environmentVariables });
      return [];
    } catch (error) {
      return String((error as Error).message).split('\n');
    }
  };
  const s3Chain = { AwsS3Storage: MINIMAL };
  const azureChain = {
    AzureBlobStorage: { ContainerName: 'pacs', AccountUrl: 'https://a.blob.core.windows.net' },
  };
  const googleChain = { GoogleCloudStorage: { BucketName: 'bucket' } };

  test.each<[string, Json, string, string]>([
    ['AWS_ACCESS_KEY_ID', s3Chain, 'hunter2\n', 'holds a line break; remove it'],
    ['AWS_SECRET_ACCESS_KEY', s3Chain, 'hunter2\r\n', 'holds a line break; remove it'],
    ['AWS_SECRET_ACCESS_KEY', s3Chain, 'hunter2 ', 'begins or ends with a blank; remove it'],
    ['AWS_SESSION_TOKEN', s3Chain, 'hunter2\n', 'holds a line break; remove it'],
    ['AZURE_CLIENT_SECRET', azureChain, 'hunter2\n', 'holds a line break; remove it'],
    ['AZURE_TENANT_ID', azureChain, ' hunter2', 'begins or ends with a blank; remove it'],
    ['GOOGLE_APPLICATION_CREDENTIALS', googleChain, '/hunter2\n', 'holds a line break; remove it'],
    [
      'GOOGLE_APPLICATION_CREDENTIALS',
      googleChain,
      '{"type": "service_account", "private_key": "hunter2"}',
      'holds JSON text or a token itself; a path or a name belongs there',
    ],
    [
      'AWS_WEB_IDENTITY_TOKEN_FILE',
      s3Chain,
      `eyJhbGciOiJSUzI1NiJ9.${'hunter2x'.repeat(8)}`,
      'holds JSON text or a token itself; a path or a name belongs there',
    ],
    [
      'AZURE_CLIENT_CERTIFICATE_PATH',
      azureChain,
      '-----BEGIN PRIVATE KEY-----\nhunter2',
      'holds a key or certificate in PEM itself; a path or a name belongs there',
    ],
  ])('%s that cannot be right is told by name', (name, section, value, problem) => {
    expect(about(section, { [name]: value })).toEqual([`${name}: ${problem}`]);
  });

  test('what has no say, or is right, is left alone', () => {
    const keys = { AwsS3Storage: { ...MINIMAL, AccessKey: 'a', SecretKey: 'b' } };
    expect(about(keys, { AWS_SECRET_ACCESS_KEY: 'x\n' })).toEqual([]);
    expect(about(s3Chain, { AZURE_CLIENT_SECRET: 'x\n', AWS_SESSION_TOKEN: 'x ' })).toEqual([]);
    expect(
      about(s3Chain, { AWS_SECRET_ACCESS_KEY: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }),
    ).toEqual([]);
  });

  test('of the settings, line breaks and blanks at the ends are taken off', () => {
    const { credentials } = s3({ AccessKey: ' AK\n', SecretKey: 'hunter2\r\n' });
    expect(credentials?.accessKey).toBe('AK');
    expect(credentials?.secretKey.reveal()).toBe('hunter2');
  });
});

const AWS_EXAMPLE = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
test.each<[Json, string]>([
  [{ BucketName: AWS_EXAMPLE }, 'BucketName: holds what looks like a key, which does not belong'],
  [{ Region: AWS_EXAMPLE.replaceAll('/', 'x') }, 'Region: holds what looks like a key'],
  [{ RootPath: AWS_EXAMPLE }, 'RootPath: holds what looks like a key'],
  [{ KmsKeyId: AWS_EXAMPLE, ServerSideEncryption: 'aws:kms' }, 'KmsKeyId: holds what looks like'],
  [{ Endpoint: AWS_EXAMPLE }, 'Endpoint: holds what looks like a key'],
  [{ Endpoint: 'http://me:hunter2@proxy:3128' }, 'Endpoint: holds a password'],
  [{ StorageClass: AWS_EXAMPLE }, 'StorageClass: holds what looks like a key'],
  [
    { AccessKey: AWS_EXAMPLE, SecretKey: 'AKIAIOSFODNN7EXAMPLE' },
    'AccessKey: holds what looks like a key; the id of the access key belongs there',
  ],
  [{ MaxRetries: 'hunter2' }, 'MaxRetries: must be a whole number from 0 to 100 (retries)'],
  [{ MaxRetries: 12345678 }, 'MaxRetries: must be a whole number from 0 to 100 (retries)'],
  [{ VirtualAddressing: 'hunter2' }, 'VirtualAddressing: must be true or false'],
  [{ StorageStructure: 'hunter2' }, 'StorageStructure: must be one of "flat", "legacy"'],
  [{ StorageEncryption: 'hunter2' }, 'StorageEncryption: must be an object'],
  [{ RootPath: '/Q3AM3UQ867SPQQA43P2F' }, 'RootPath: must not start with "/": write it without'],
  [{ [AWS_EXAMPLE]: 1 }, '[not shown: 40 characters]: unknown key, remove it'],
  [{ Tags: { [AWS_EXAMPLE]: {} } }, 'Tags.[not shown: 40 characters]: must be text in quotes'],
  [{ Q3AM3UQ867SPQQA43P2F: 1 }, '[not shown: 20 characters]: unknown key, remove it'],
])('a secret in the wrong place is not repeated: %j', (section, problem) => {
  const problems = problemsOf({ ...MINIMAL, ...section });
  expect(problems).toEqual([expect.stringContaining(`AwsS3Storage.${problem}`)]);
  expect(problems.join()).not.toMatch(/wJalr|hunter2|12345678|Q3AM3/);
});

// Names that a rule for secrets could take for one: whole archives may be below them.
test.each<Json>([
  { RootPath: 'Hospital/Radiology/Archive2024/Orthanc12' },
  { RootPath: 'PACS_01-CT_MR_US-2024_2025-Room1a' },
  { RootPath: '550e8400-e29b-41d4-a716-446655440000' },
  { RootPath: '[PACS] {north}/Ärzte' },
  { RootPath: 'd41d8cd98f00b204e9800998ecf8427e' },
  { BucketName: 'pacs-8f3e9c2b7a1d4e6f9a0b3c5d7e8f1a2b' },
  { BucketName: 'the-orthanc-archive-of-the-university-hospital-of-the-north-1' },
  { BucketName: 'arn:aws:s3:eu-west-1:123456789012:accesspoint/my-access-point' },
  { KmsKeyId: 'arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab' },
  { KmsKeyId: 'mrk-1234abcd12ab34cd56ef1234567890ab' },
  // Ids of access keys as MinIO, Tencent, Google and Oracle make them.
  ...[
    'kPfWYzXQ8QnSk7YmXt9q',
    'AKIDz8krbsJ5yKBZQpn74WFkmLPx3ExAmPlE',
    'GOOG1EWZ3KQ5VXJ2M7T4NQ6R8B1C5D3F9H2J4L6P8S1V3X5Z7A2C4E6G8J1L3',
    '0123456789abcdef0123456789abcdef01234567',
  ].map((AccessKey) => ({ AccessKey, SecretKey: 'x' })),
])('what looks like a secret and is none: %j', (section) => {
  const sse = section['KmsKeyId'] === undefined ? {} : { ServerSideEncryption: 'aws:kms' };
  expect(problemsOf({ ...MINIMAL, ...sse, ...section })).toEqual([]);
});

test('a temporary AccessKey is refused, since its token has no setting', () => {
  const section = { ...MINIMAL, AccessKey: 'ASIAIOSFODNN7EXAMPLE', SecretKey: 'k' };
  expect(problemsOf(section)).toEqual([
    expect.stringMatching(/^AwsS3Storage.AccessKey: is a temporary key: .*AWS_SESSION_TOKEN/),
  ]);
});

test('"" for a choice counts as absent', () => {
  const { naming } = load({
    AwsS3Storage: { ...MINIMAL, StorageStructure: '', HybridMode: ' ', ChecksumMode: '' },
  });
  expect(naming.structure).toBe('flat');
});

describe('AWS_ENDPOINT_URL', () => {
  const read = (environmentVariables: NodeJS.ProcessEnv, section: Json = {}) =>
    load({ AwsS3Storage: { ...MINIMAL, ...section } }, { environmentVariables });
  const addressIn = (environmentVariables: NodeJS.ProcessEnv, section: Json = {}) => {
    const { provider } = read(environmentVariables, section);
    if (provider?.kind !== 's3') throw new Error('not S3');
    const { endpoint, endpointSetting } = provider.settings as S3Settings;
    return [endpoint, endpointSetting];
  };

  test('is the endpoint where the section has none', () => {
    const both = {
      AWS_ENDPOINT_URL: 'https://a.example',
      AWS_ENDPOINT_URL_S3: 'https://b.example',
    };
    expect(addressIn(both)).toEqual(['https://b.example', 'AWS_ENDPOINT_URL_S3']);
    expect(addressIn({ AWS_ENDPOINT_URL: 'https://a.example/' })).toEqual([
      'https://a.example',
      'AWS_ENDPOINT_URL',
    ]);
    expect(addressIn(both, { Endpoint: 'c.example' })).toEqual([
      'https://c.example',
      'AwsS3Storage.Endpoint',
    ]);
    expect(addressIn({ ...both, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS: 'true' })[0]).toBeUndefined();
  });

  test('gets the same warnings, under its name', () => {
    expect(read({ AWS_ENDPOINT_URL: 'http://minio:9000' }).warnings).toEqual([
      expect.stringMatching(/^AWS_ENDPOINT_URL: without TLS/),
      expect.stringMatching(/^AwsS3Storage.VirtualAddressing: .* write false$/),
    ]);
    expect(() => read({ AWS_ENDPOINT_URL: 'a b' })).toThrow(/^AWS_ENDPOINT_URL: is not an address/);
  });
});

describe('whatever the configuration', () => {
  const sections = PROVIDERS.map(({ section }) => section);
  const keys = [...new Set(knownSections(PROVIDERS).flatMap((known) => known.keys))];
  const odd = fc.constantFrom('__proto__', 'toString', 'constructor', 'valueOf', 'hasOwnProperty');
  const value = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom<unknown>('', 0, 1, -1, true, null, 'flat', 'aws:kms', '1', 'a/', [[1, 'k']]),
    fc.dictionary(fc.oneof(odd, fc.constantFrom(...keys)), fc.jsonValue()),
  );
  const section = fc.dictionary(fc.oneof(fc.constantFrom(...keys), odd, fc.string()), value);
  const configuration = fc.dictionary(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...sections) },
      fc.constantFrom(...keys),
      odd,
      fc.string(),
    ),
    fc.oneof({ weight: 4, arbitrary: section }, value),
  );

  // Schemas are built anew for each of the 300, which takes seconds; more on a busy machine.
  test('it is settings or one BAD_CONFIG with a line per problem', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(configuration, (orthanc) => {
        for (const problem of problemsIn(orthanc)) expect(problem).toMatch(/^\S.*: \S/su);
      }),
      { numRuns: 300 },
    );
  });

  test('no secret is in a message, a warning, a note or a printed setting', {
    timeout: 60_000,
  }, () => {
    const secret = fc.stringMatching(/^[A-Za-z0-9+/]{20}$/).map((text) => `s3cr3t${text}`);
    fc.assert(
      fc.property(secret, section, fc.constantFrom(...sections), (text, other, name) => {
        const broken = {
          HttpProxy: `user:${text}@proxy${other['Lanes'] === 1 ? '' : '/path'}`,
          [name]: {
            ...MINIMAL,
            ...other,
            AccessKey: 'AK',
            SecretKey: text,
            AccountKey: text,
            ConnectionString: `AccountName=a;AccountKey=${text}`,
          },
        };
        expect(problemsIn(broken).join('\n')).not.toContain(text);
        const good = {
          HttpProxy: `user:${encodeURIComponent(text)}@proxy`,
          AwsS3Storage: { ...MINIMAL, AccessKey: 'AK', SecretKey: text },
        };
        const settings = load(good, { orthancVersion: '1.13.0' });
        expect(inspect(settings, { depth: 9 })).not.toContain(text);
        expect(JSON.stringify(settings)).not.toContain(text);
      }),
    );
  });

  // What people have at hand when they fill in a configuration, and put into the wrong line.
  const bytes = (length: number) =>
    fc.noBias(fc.uint8Array({ minLength: length, maxLength: length }));
  const base64 = (length: number) => bytes(length).map((b) => Buffer.from(b).toString('base64'));
  const secretInWrongPlace = fc.oneof(
    base64(32),
    base64(64),
    bytes(32).map((b) => Buffer.from(b).toString('hex')),
    // As AWS, MinIO and Ceph make them: of 40 characters at random, one in a thousand looks like words.
    fc.constantFrom(
      AWS_EXAMPLE,
      'kPfWYzXQ8QnSk7YmXt9qLrTgHs4dE7Jq2nYx0vZb',
      '3gRz+Lq0TtBv8/ZcWn5KdJyM2hXpE9sUaFo1rViY',
    ),
    base64(64).map((key) => `DefaultEndpointsProtocol=https;AccountName=a;AccountKey=${key}`),
    base64(32).map((sig) => `sv=2024-11-04&sp=rwd&sig=${encodeURIComponent(sig)}`),
    base64(32).map(
      (sig) => `https://a.blob.core.windows.net/c?sv=1&sig=${encodeURIComponent(sig)}`,
    ),
    base64(48).map((key) => `-----BEGIN PRIVATE KEY-----\n${key}\n-----END PRIVATE KEY-----`),
    base64(48).map((key) => JSON.stringify({ type: 'service_account', private_key: key })),
    base64(12).map((password) => `http://user:${encodeURIComponent(password)}@proxy:3128`),
  );
  // Where it is right, where Orthanc keeps it, and where who reads the file that it names keeps it: keyring.test.ts has those of keys.
  const mayHold =
    /^(SecretKey|ConnectionString|AccountKey|Tags|HttpProxy|AccessKey|ServiceAccountFile)$/;
  const own = knownSections(PROVIDERS).flatMap(({ section: name, keys }) =>
    keys.map((key) => ({ name, key })),
  );
  const place = fc.constantFrom(...own);
  const shape = fc.constantFrom<(secret: string) => unknown>(
    (secret) => secret,
    (secret) => [secret],
    (secret) => [1, secret],
    (secret) => [[1, secret]],
    (secret) => ({ [secret]: secret }),
    (secret) => ({ [secret]: {} }),
  );
  const GOOD: Readonly<Record<string, Json>> = {
    AwsS3Storage: MINIMAL,
    AzureBlobStorage: { AccountUrl: 'https://a.blob.core.windows.net', ContainerName: 'box' },
    BlobStorage: { AccountName: 'a', AccountKey: 'a2V5', ContainerName: 'box' },
    GoogleCloudStorage: { BucketName: 'bucket' },
  };

  function withSecret(name: string, key: string, value: unknown): Json {
    const [section = '', part] = name.split('.');
    if (section === '') {
      const HybridMode = 'WriteToFileSystem';
      return { [key]: value, AwsS3Storage: { ...MINIMAL, HybridMode } };
    }
    const good = GOOD[section] ?? {};
    if (part === undefined) return { [section]: { ...good, [key]: value } };
    return { [section]: { ...good, [part]: { [key]: value } } };
  }

  test('a secret in a wrong place is refused or kept, and never repeated', {
    timeout: 120_000,
  }, () => {
    fc.assert(
      fc.property(secretInWrongPlace, place, shape, (text, { name, key }, shapeOf) => {
        // Some 20 characters in a row are more than chance.
        const pieces = text.match(/[A-Za-z0-9+/]{20}/g) ?? [];
        const value = shapeOf(text);
        for (const configuration of [
          withSecret(name, key, value),
          withSecret(name, text, value),
          withSecret(name, `${text}x`, 1),
        ]) {
          const { problems, settings } = readConfiguration(
            JSON.stringify(configuration),
            ENVIRONMENT,
            PROVIDERS,
          );
          const said = [...problems, ...(settings?.warnings ?? []), ...(settings?.notes ?? [])];
          for (const piece of pieces) expect(said.join('\n')).not.toContain(piece);
        }
        const { problems } = readConfiguration(
          JSON.stringify(withSecret(name, key, text)),
          ENVIRONMENT,
          PROVIDERS,
        );
        if (!mayHold.test(key)) expect(problems).not.toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  test('a key with one slip is found again', { timeout: 60_000 }, () => {
    const known =
      knownSections(PROVIDERS).find((other) => other.section === 'AwsS3Storage')?.keys ?? [];
    const slip = fc.constantFrom(...known).chain((key) =>
      fc.tuple(fc.constant(key), fc.nat(key.length - 2)).map(([name, at]) => ({
        name,
        swapped: `${name.slice(0, at)}${name[at + 1]}${name[at]}${name.slice(at + 2)}`,
        cut: name.slice(0, at) + name.slice(at + 1),
      })),
    );
    fc.assert(
      fc.property(slip, ({ name, swapped, cut }) => {
        for (const word of [swapped, cut]) {
          if (known.includes(word) || word.length < 4) continue;
          const problems = problemsOf({ ...MINIMAL, [word]: 1 });
          expect(problems).toEqual([`AwsS3Storage.${word}: unknown key, did you mean "${name}"?`]);
        }
      }),
    );
  });
});

describe('LocalCache', () => {
  const cacheOf = (section: Json, rest: Json = {}) =>
    load({ ...rest, AwsS3Storage: { ...MINIMAL, ...section } }).localCache;

  test('has defaults', () => {
    expect(cacheOf({ LocalCache: { Directory: '/var/cache/x' } })).toEqual({
      directory: '/var/cache/x',
      maxBytes: 10_240 * 1024 * 1024,
      writeBack: false,
      uploadConcurrency: 8,
      isSynchronous: true,
      stopTimeoutMs: 2000,
    });
    const others = { StopTimeout: 60, LocalCache: { Directory: '/x', WriteBack: 'true' } };
    expect(cacheOf(others, { SyncStorageArea: false })).toMatchObject({
      writeBack: true,
      isSynchronous: false,
      stopTimeoutMs: 60_000,
    });
    expect(cacheOf({})).toBeUndefined();
  });

  test.each<[Json, Json, RegExp]>([
    [{ LocalCache: {} }, {}, /LocalCache\.Directory: is missing; write the absolute path/],
    [{ LocalCache: { Directory: 'cache' } }, {}, /LocalCache\.Directory: must be an absolute path/],
    [{ LocalCache: { Directory: '/x', Directry: '/x' } }, {}, /did you mean "Directory"/],
    [
      { LocalCache: { Directory: '/x', MaxSize: 0 } },
      {},
      /LocalCache\.MaxSize: must be a whole number/,
    ],
    [{ LocalCache: { Directory: '/x' }, Lanes: 2 }, {}, /Lanes: must be 1 with LocalCache/],
    [
      { LocalCache: { Directory: '/var/lib/orthanc/cache' } },
      { StorageDirectory: '/var/lib/orthanc' },
      /must not be the same folder, nor one within the other/,
    ],
    [{ WriteBack: true }, {}, /it belongs in AwsS3Storage\.LocalCache/],
  ])('%j is refused', (section, rest, message) => {
    expect(problemsOf({ ...MINIMAL, ...section }, rest).join('\n')).toMatch(message);
  });
});
