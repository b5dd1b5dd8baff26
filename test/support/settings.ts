// SPDX-License-Identifier: GPL-3.0-or-later

import type { NetworkSettings, ProxySettings } from '../../src/config/settings.ts';
import type { Logger } from '../../src/log.ts';
import { parseConnectionString } from '../../src/providers/azure/addresses.ts';
import type { AzureSettings } from '../../src/providers/azure/settings.ts';
import type { S3Settings } from '../../src/providers/s3/settings.ts';
import { Secret } from '../../src/text/secret.ts';

export const TEST_ACCESS_KEY = 'test-access-key';
export const TEST_SECRET_KEY = 'test-secret-key-that-no-log-may-show';

/** The timeouts are a user's rather than a test's unless changed. */
export const NETWORK: NetworkSettings = {
  connectionTimeoutMs: 5_000,
  requestTimeoutMs: 30_000,
  maxConnections: 25,
  maxRetries: 10,
  caCertificatesFile: undefined,
  proxies: { http: undefined, https: undefined, exceptions: '' },
};

/** As Orthanc's HttpProxy sets it. */
export function makeProxies(url: string, exceptions = ''): ProxySettings {
  const proxy = { url: new Secret(url), setting: 'HttpProxy' };
  return { http: proxy, https: proxy, exceptions };
}

/** Settings of a local server. */
export function makeS3Settings(changes: Partial<S3Settings> = {}): S3Settings {
  return {
    ...NETWORK,
    bucketName: 'bucket',
    region: 'us-east-1',
    credentials: { accessKey: TEST_ACCESS_KEY, secretKey: new Secret(TEST_SECRET_KEY) },
    endpoint: undefined,
    endpointSetting: 'AwsS3Storage.Endpoint',
    virtualAddressing: false,
    storageClass: undefined,
    tags: {},
    serverSideEncryption: undefined,
    kmsKeyId: undefined,
    checksumMode: 'WhenSupported',
    transfer: { always: false, poolSize: 10, partSizeBytes: 5 * 1024 * 1024 },
    enableSdkLogs: false,
    ...changes,
  };
}

/** The key of no account. */
export const TEST_ACCOUNT_KEY = Buffer.from('test-account-key-that-no-log-may-show').toString(
  'base64',
);

/** Settings of a local server, as `makeS3Settings`. */
export function makeAzureSettings(
  text: string,
  changes: Partial<AzureSettings> = {},
): AzureSettings {
  const parsed = parseConnectionString(text);
  const connectionString = new Secret('problem' in parsed ? text : parsed.connectionString);
  return {
    ...NETWORK,
    account: { kind: 'connection-string', connectionString },
    containerName: 'container',
    createContainerIfNotExists: true,
    accessTier: undefined,
    ...changes,
  };
}

export interface TestLogger extends Logger {
  readonly lines: readonly string[];
}

export function makeLogger(): TestLogger {
  const lines: string[] = [];
  const write = (level: string) => (message: string) => {
    lines.push(`${level}: ${message}`);
  };
  return {
    lines,
    error: write('error'),
    warning: write('warning'),
    info: write('info'),
    debug: write('debug'),
  };
}
