// SPDX-License-Identifier: GPL-3.0-or-later
// What all commands that read Orthanc's configuration begin with.

import {
  type OpenedConfiguration,
  openConfiguration,
} from '../../attachments/open-configuration.ts';
import { type ConfigurationEnvironment, loadConfiguration } from '../../config/load.ts';
import { sectionNames } from '../../config/sections.ts';
import { type PluginSettings, type ProviderSettings, withNetwork } from '../../config/settings.ts';
import { StorageError } from '../../errors.ts';
import { createLogger, type Logger } from '../../log.ts';
import { createStore, PROVIDERS } from '../../providers/index.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { tellLine } from './output.ts';

const ENVIRONMENT: ConfigurationEnvironment = {
  orthancVersion: undefined,
  environmentVariables: process.env,
};

/** Errors and warnings go to standard error: standard output is for the result. */
export function createCliLogger(): Logger {
  return createLogger((level, line) => {
    if (level === 'error' || level === 'warning') tellLine(`${level}: ${line}`);
  });
}

/** Reads configuration and keys. Tells the warnings about key files, which it opens as Orthanc does; what else there is
 *  to warn of is about Orthanc's running, and for `check` to tell: it is in the settings.
 *  @throws StorageError BAD_CONFIG, also where there is no section of ours */
export function loadCliSettings(
  configPath: string,
  log: Logger,
): OpenedConfiguration & { readonly provider: ProviderSettings } {
  const warnings: string[] = [];
  const json = readOrthancConfiguration(configPath, process.env, (warning) => {
    warnings.push(warning);
  });
  const opened = openConfiguration(json, ENVIRONMENT);
  for (const warning of opened.keyWarnings) log.warning(warning);
  const settings = { ...opened.settings, warnings: [...warnings, ...opened.settings.warnings] };
  return { ...opened, settings, provider: requireProvider(settings, configPath) };
}

/** For who needs no key, and may not be allowed to read one. @throws StorageError BAD_CONFIG */
export function loadProvider(configPath: string): ProviderSettings {
  const json = readOrthancConfiguration(configPath, process.env);
  return requireProvider(loadConfiguration(json, ENVIRONMENT, PROVIDERS), configPath);
}

function requireProvider({ provider }: PluginSettings, configPath: string): ProviderSettings {
  if (provider !== undefined) return provider;
  throw new StorageError('BAD_CONFIG', `${configPath} has no section ${sectionNames(PROVIDERS)}`);
}

/** Somebody waits: half a second of patience, where the plugin has half a minute. */
const RETRIES = 3;

/** Nothing is tried beforehand: the first request tells what is wrong. */
export async function openBucket(provider: ProviderSettings): Promise<ObjectStore> {
  const impatient = withNetwork(provider, { maxRetries: RETRIES });
  return await createStore(impatient, { log: createCliLogger() });
}
