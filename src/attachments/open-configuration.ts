// SPDX-License-Identifier: GPL-3.0-or-later
// Reads the configuration and the key files together, so that one message lists all problems.

import { type ConfigurationEnvironment, readConfiguration } from '../config/load.ts';
import type { Provider } from '../config/sections.ts';
import type { PluginSettings } from '../config/settings.ts';
import { type CreateAes, createNodeAes } from '../encryption/aes.ts';
import { Envelope } from '../encryption/envelope.ts';
import { Keyring, readKeyFiles } from '../encryption/keyring.ts';
import { badConfig } from '../errors.ts';
import { PROVIDERS } from '../providers/index.ts';

export interface OpenedConfiguration {
  readonly settings: PluginSettings;
  /** Such as a key file that other users can read. */
  readonly keyWarnings: readonly string[];
  /** undefined: neither encryption nor keys. */
  readonly envelope: Envelope | undefined;
}

export interface OpenOptions {
  readonly adapt?: (settings: PluginSettings) => PluginSettings;
  readonly createAes?: CreateAes;
  readonly providers?: readonly Provider[];
}

/** @param json Orthanc's whole configuration
 *  @throws StorageError BAD_CONFIG with a line per problem. A wrong StorageEncryption never leads to files in the clear. */
export function openConfiguration(
  json: string,
  environment: ConfigurationEnvironment,
  {
    adapt = (settings) => settings,
    createAes = createNodeAes,
    providers = PROVIDERS,
  }: OpenOptions = {},
): OpenedConfiguration {
  const { settings: written, problems, keyFiles } = readConfiguration(json, environment, providers);
  const read = readKeyFiles(keyFiles);
  if (written === undefined || read.problems.length > 0)
    throw badConfig([...problems, ...read.problems]);
  const settings = adapt(written);
  const { encryption } = settings;
  const envelope =
    encryption &&
    new Envelope({
      keyring: new Keyring(read.keys, encryption.master?.id),
      createAes,
      format: encryption.format,
      maxInputBytes: encryption.maxInputBytes,
    });
  return { settings, keyWarnings: read.warnings, envelope };
}
