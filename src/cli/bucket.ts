// SPDX-License-Identifier: GPL-3.0-or-later
// What the commands take from Orthanc's configuration: the keys, and the bucket where they are told of an object in it.

import { type EncryptionSettings, readEncryption } from '../config/encryption.ts';
import { loadConfiguration } from '../config/load.ts';
import type { Report } from '../config/problems.ts';
import { ENCRYPTION_KEY, isObject, PROVIDER_SECTIONS } from '../config/sections.ts';
import { type NamingSettings, withNetwork } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import { readKeyFiles } from '../encryption/keyring.ts';
import { StorageError } from '../errors.ts';
import { badConfig, openEnvelope } from '../open-configuration.ts';
import { createStore } from '../providers/index.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { ASSUMED_ORTHANC_VERSION, createCliLogger } from './settings.ts';

/** Somebody waits: half a second of patience, where the plugin has half a minute. */
const RETRIES = 3;

export interface Bucket {
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
}

export interface OpenedConfiguration {
  readonly envelope: Envelope;
  readonly encryption: EncryptionSettings;
}

/** Reads the keys. Warnings go to standard error.
 *  @throws StorageError BAD_CONFIG */
export function openConfiguredEncryption(path: string): OpenedConfiguration {
  const report: Report = { problems: [], warnings: [], notes: [] };
  const { section, configuration } = readProviderSection(path);
  const { settings: encryption, keyFiles } = readEncryption(
    `${section}.${ENCRYPTION_KEY}`,
    configuration[ENCRYPTION_KEY],
    report,
  );
  const { keys, problems, warnings } = readKeyFiles(keyFiles);
  if (report.problems.length + problems.length > 0) throw badConfig(report.problems, problems);
  if (encryption === undefined) {
    throw new StorageError('BAD_CONFIG', `${path}: has no keys in ${section}.${ENCRYPTION_KEY}`);
  }
  const log = createCliLogger();
  for (const warning of warnings) log.warning(warning);
  return { envelope: openEnvelope(encryption, keys), encryption };
}

/** @throws StorageError BAD_CONFIG */
export async function openBucket(path: string): Promise<Bucket> {
  const { section, orthanc, configuration } = readProviderSection(path);
  // The keys are not needed here.
  const { [ENCRYPTION_KEY]: _keys, ...rest } = configuration;
  const settings = loadConfiguration(JSON.stringify({ ...orthanc, [section]: rest }), {
    orthancVersion: ASSUMED_ORTHANC_VERSION,
    environmentVariables: process.env,
  });
  if (settings.provider === undefined) {
    throw new StorageError('BAD_CONFIG', `${path}: ${section} can't be used`);
  }
  const log = createCliLogger();
  const provider = withNetwork(settings.provider, { maxRetries: RETRIES });
  const store = await createStore(provider, { log });
  return { store, naming: settings.naming };
}

function readProviderSection(path: string) {
  const orthanc: unknown = JSON.parse(readOrthancConfiguration(path, process.env));
  if (!isObject(orthanc)) throw new StorageError('BAD_CONFIG', `${path}: no JSON object`);
  const present = PROVIDER_SECTIONS.map(({ section }) => section).filter((section) =>
    Object.hasOwn(orthanc, section),
  );
  const [section] = present;
  const configuration = section === undefined ? undefined : orthanc[section];
  if (section === undefined || present.length > 1 || !isObject(configuration)) {
    throw new StorageError(
      'BAD_CONFIG',
      `${path}: must have one section of ${PROVIDER_SECTIONS.map((known) => known.section).join(', ')}, not ${present.length}`,
    );
  }
  return { section, orthanc, configuration };
}
