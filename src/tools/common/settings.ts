// SPDX-License-Identifier: GPL-3.0-or-later
// The configuration, and what is opened by it.

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
import { tellLine } from './output.ts';

const ENVIRONMENT: ConfigurationEnvironment = {
  orthancVersion: undefined,
  environmentVariables: process.env,
};

export const cliLog: Logger = createLogger((level, line) => {
  if (level === 'error' || level === 'warning') tellLine(`${level}: ${line}`);
});

/** Reads configuration and keys. Warns about key files; `check` tells the settings' other warnings, which are about Orthanc's running.
 *  @throws StorageError BAD_CONFIG, also where there is no section of ours */
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

/** Needs no key: the user may not be allowed to read one. @throws StorageError BAD_CONFIG */
export function loadProvider(configPath: string): ProviderSettings {
  const json = JSON.stringify(readOrthancConfiguration(configPath));
  return requireProvider(loadConfiguration(json, ENVIRONMENT, PROVIDERS), configPath);
}

function requireProvider({ provider }: PluginSettings, configPath: string): ProviderSettings {
  if (provider !== undefined) return provider;
  throw badConfig(`${configPath} has no section ${sectionNames(PROVIDERS)}`);
}

/** Half a second of retries: somebody waits. The plugin has half a minute. */
const RETRIES = 3;

/** Not tried: the first request tells what is wrong. */
export async function openBucket(provider: ProviderSettings): Promise<ObjectStore> {
  const settings = withNetwork(provider, { maxRetries: RETRIES });
  return await createStore(settings, { log: cliLog });
}
