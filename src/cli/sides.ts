// SPDX-License-Identifier: GPL-3.0-or-later
// The two places that commands work on: the bucket and the folder of one Orthanc's configuration.

import { readEncryption } from '../config/encryption.ts';
import { loadConfiguration } from '../config/load.ts';
import { readFileSystem } from '../config/orthanc.ts';
import type { Report } from '../config/problems.ts';
import { ENCRYPTION_KEY, isObject } from '../config/sections.ts';
import { StorageError } from '../errors.ts';
import type { Side } from '../jobs/migrate.ts';
import { createLogger } from '../log.ts';
import { ORTHANC_NAMING } from '../naming.ts';
import { createFileSystemStore, createStore } from '../providers/index.ts';
import { checkStore } from '../start-check.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';

// The newest Orthanc that the plugin knows of; outside Orthanc nothing tells which one will run.
const ASSUMED_ORTHANC_VERSION = '1.13.0';

/** Opens the bucket, and tries it. @throws StorageError BAD_CONFIG also where the configuration asks for encryption: what is stored
 *  would not be encrypted */
export async function openBucketSide(configPath: string): Promise<Side> {
  const json = readOrthancConfiguration(configPath, process.env);
  const orthanc: unknown = JSON.parse(json);
  const settings = loadConfiguration(json, {
    orthancVersion: ASSUMED_ORTHANC_VERSION,
    environmentVariables: process.env,
  });
  const { provider, naming } = settings;
  if (provider === undefined) {
    throw new StorageError(
      'BAD_CONFIG',
      `${configPath} has no section AwsS3Storage, AzureBlobStorage or GoogleCloudStorage`,
    );
  }
  const section = isObject(orthanc) ? orthanc[provider.section] : undefined;
  const report: Report = { problems: [], warnings: [], notes: [] };
  const encryption = isObject(section)
    ? readEncryption(ENCRYPTION_KEY, section[ENCRYPTION_KEY], report)
    : undefined;
  if (encryption !== undefined || report.problems.length > 0) {
    throw new StorageError(
      'BAD_CONFIG',
      `${provider.section}.${ENCRYPTION_KEY}: this command does not encrypt yet; nothing was done`,
    );
  }
  const log = createLogger((level, line) => {
    if (level === 'error' || level === 'warning') process.stderr.write(`${level}: ${line}\n`);
  });
  for (const warning of settings.warnings) log.warning(warning);
  const store = await createStore(provider, { log, probePrefix: naming.rootPath });
  try {
    await checkStore(store);
  } catch (error) {
    await store.close();
    throw error;
  }
  return { store, naming, isFileSystem: false };
}

/** Opens Orthanc's StorageDirectory. @throws StorageError BAD_CONFIG */
export async function openFileSide(configPath: string): Promise<Side> {
  const orthanc: unknown = JSON.parse(readOrthancConfiguration(configPath, process.env));
  const report: Report = { problems: [], warnings: [], notes: [] };
  const settings = isObject(orthanc) ? readFileSystem(orthanc, report) : undefined;
  if (settings === undefined) throw new StorageError('BAD_CONFIG', report.problems.join('\n'));
  const store = createFileSystemStore(settings);
  await checkStore(store);
  return { store, naming: ORTHANC_NAMING, isFileSystem: true };
}

/** @returns whether the configuration keeps files in both places */
export function isHybrid(configPath: string): boolean {
  const settings = loadConfiguration(readOrthancConfiguration(configPath, process.env), {
    orthancVersion: ASSUMED_ORTHANC_VERSION,
    environmentVariables: process.env,
  });
  return settings.hybrid !== undefined;
}
