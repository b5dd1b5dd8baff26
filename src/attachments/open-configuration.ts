// SPDX-License-Identifier: GPL-3.0-or-later
// Reads the configuration and the key files together, so that one message has all their problems. The plugin and the commands begin with it.

import type { EncryptionSettings } from '../config/encryption.ts';
import { type ConfigurationEnvironment, readConfiguration } from '../config/load.ts';
import type { Provider } from '../config/sections.ts';
import type { PluginSettings } from '../config/settings.ts';
import { type CreateAes, createNodeAes } from '../encryption/aes.ts';
import { createEnvelope, type Envelope } from '../encryption/envelope.ts';
import { createKeyring, type MasterKey, readKeyFiles } from '../encryption/keyring.ts';
import { badConfig } from '../errors.ts';
import { PROVIDERS } from '../providers/index.ts';

export interface OpenedConfiguration {
  readonly settings: PluginSettings;
  /** Such as that others can read a key file. */
  readonly keyWarnings: readonly string[];
  /** undefined: no encryption and no keys. */
  readonly envelope: Envelope | undefined;
}

export interface OpenOptions {
  /** Changes the settings before anything is opened. */
  readonly adapt?: (settings: PluginSettings) => PluginSettings;
  readonly createAes?: CreateAes;
  readonly providers?: readonly Provider[];
}

/** @param json Orthanc's whole configuration
 *  @throws StorageError BAD_CONFIG with one line per problem. Where encryption is configured wrongly, nothing is stored in the clear. */
export function openConfiguration(
  json: string,
  environment: ConfigurationEnvironment,
  {
    adapt = (settings) => settings,
    createAes = createNodeAes,
    providers = PROVIDERS,
  }: OpenOptions = {},
): OpenedConfiguration {
  const reading = readConfiguration(json, environment, providers);
  const { settings: written, problems, keyFiles } = reading;
  const read = readKeyFiles(keyFiles);
  if (written === undefined || read.problems.length > 0)
    throw badConfig([...problems, ...read.problems]);
  const settings = adapt(written);
  const { encryption } = settings;
  return {
    settings,
    keyWarnings: read.warnings,
    envelope: encryption === undefined ? undefined : openEnvelope(encryption, read.keys, createAes),
  };
}

function openEnvelope(
  settings: EncryptionSettings,
  keys: readonly MasterKey[],
  createAes: CreateAes,
): Envelope {
  const { format, master, maxInputBytes } = settings;
  return createEnvelope({
    keyring: createKeyring(keys, master?.id),
    createAes,
    format,
    maxInputBytes,
    now: () => performance.now(),
  });
}
