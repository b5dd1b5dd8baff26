// SPDX-License-Identifier: GPL-3.0-or-later

import { Command } from 'commander';
import { loadConfiguration } from '../config/load.ts';
import { StorageError } from '../errors.ts';
import { createLogger } from '../log.ts';
import { createStore } from '../providers/index.ts';
import { checkStore } from '../start-check.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';

// The newest Orthanc that the plugin knows of; outside Orthanc nothing tells which one will run.
const ASSUMED_ORTHANC_VERSION = '1.13.0';

/** `check`: what the plugin does when Orthanc starts, without Orthanc. */
export function checkCommand(): Command {
  return new Command('check')
    .description(
      'Reads the configuration and tries the store, as the plugin does when Orthanc starts.',
    )
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .addHelpText('after', '\nExample:\n  orthanc-object-storage check --config /etc/orthanc')
    .action(async (options: { readonly config: string }) => {
      const log = createLogger((level, line) => {
        if (level === 'error' || level === 'warning') process.stderr.write(`${level}: ${line}\n`);
      });
      const settings = loadConfiguration(readOrthancConfiguration(options.config, process.env), {
        orthancVersion: ASSUMED_ORTHANC_VERSION,
        environmentVariables: process.env,
      });
      for (const warning of settings.warnings) log.warning(warning);
      if (settings.provider === undefined) {
        throw new StorageError(
          'BAD_CONFIG',
          `${options.config} has no section AwsS3Storage, AzureBlobStorage or GoogleCloudStorage`,
        );
      }
      const store = await createStore(settings.provider, {
        log,
        probePrefix: settings.naming.rootPath,
      });
      try {
        await checkStore(store);
      } finally {
        await store.close();
      }
      process.stdout.write(
        `${settings.provider.section}: the configuration and the store are fine\n`,
      );
    });
}
