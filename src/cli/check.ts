// SPDX-License-Identifier: GPL-3.0-or-later

import { Command } from 'commander';
import { createStore } from '../providers/index.ts';
import { checkStore } from '../start-check.ts';
import { createCliLogger, loadCliSettings } from './settings.ts';

/** `check`: what the plugin does when Orthanc starts, without Orthanc. */
export function checkCommand(): Command {
  return new Command('check')
    .description(
      'Reads the configuration and tries the store, as the plugin does when Orthanc starts.',
    )
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .addHelpText('after', '\nExample:\n  orthanc-object-storage check --config /etc/orthanc')
    .action(async (options: { readonly config: string }) => {
      const log = createCliLogger();
      const settings = loadCliSettings(options.config, log);
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
