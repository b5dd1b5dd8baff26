// SPDX-License-Identifier: GPL-3.0-or-later

import {
  type OpenedConfiguration,
  openConfiguration,
} from '../../attachments/open-configuration.ts';
import { type ConfigurationEnvironment, loadConfiguration } from '../../config/load.ts';
import { sectionNames } from '../../config/sections.ts';
import { type PluginSettings, type ProviderSettings, withNetwork } from '../../config/settings.ts';
import { badConfig } from '../../errors.ts';
import { createLogger, type Logger } from '../../log.ts';
import { createStore, PROVIDERS } from '../../providers/index.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { printErrorLine } from './output.ts';

const ENVIRONMENT: ConfigurationEnvironment = {
  orthancVersion: undefined,
  environmentVariables: process.env,
};

export const cliLog: Logger = createLogger((level, line) => {
  if (level === 'error' || level === 'warning') printErrorLine(`${level}: ${line}`);
});

/** Reads the configuration and the key files, and warns about key files. The other warnings concern a running Orthanc; only `check`
 *  prints them.
 *  @throws StorageError BAD_CONFIG, also if the configuration has no section of the plugin */
export function loadCliSettings(
  configPath: string,
): OpenedConfiguration & { readonly provider: ProviderSettings } {
  const warnings: string[] = [];
  const json = JSON.stringify(
    readOrthancConfiguration(configPath, process.env, (warning) => warnings.push(warning)),
  );
  const opened = openConfiguration(json, ENVIRONMENT);
  for (const warning of opened.keyWarnings) cliLog.warning(warning);
  const settings = { ...opened.settings, warnings: [...warnings, ...opened.settings.warnings] };
  return { ...opened, settings, provider: requireProvider(settings, configPath) };
}

/** Reads no key file: the user may lack the permission. @throws StorageError BAD_CONFIG */
export function loadProvider(configPath: string): ProviderSettings {
  const json = JSON.stringify(readOrthancConfiguration(configPath));
  return requireProvider(loadConfiguration(json, ENVIRONMENT, PROVIDERS), configPath);
}

function requireProvider({ provider }: PluginSettings, configPath: string): ProviderSettings {
  if (provider !== undefined) return provider;
  throw badConfig(`${configPath} has no section ${sectionNames(PROVIDERS)}`);
}

/** These take half a second, since a user waits. The plugin retries for half a minute. */
const RETRIES = 3;

/** Does not check the bucket: the first request tells what is wrong. */
export async function openBucket(provider: ProviderSettings): Promise<ObjectStore> {
  const settings = withNetwork(provider, { maxRetries: RETRIES });
  return await createStore(settings, { log: cliLog });
}
