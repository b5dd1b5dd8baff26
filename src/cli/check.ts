// SPDX-License-Identifier: GPL-3.0-or-later

import { Command } from 'commander';
import { checkStores, closeStores, describeUnreadFiles, openStores } from '../open-stores.ts';
import { createCliLogger, loadCliSettings } from './settings.ts';

interface Options {
  readonly config: string;
  readonly json?: true;
}

/** `check`: what the plugin does when Orthanc starts, without Orthanc. */
export function checkCommand(): Command {
  return new Command('check')
    .description(
      'Reads the configuration and the key files and tries the store, as the plugin does when Orthanc starts.',
    )
    .requiredOption('--config <path>', "Orthanc's configuration file, or its folder of files")
    .option('--json', 'print the result as JSON')
    .addHelpText(
      'after',
      `
Run it as the user that Orthanc runs as: others may be allowed to read other files.

Examples:
  orthanc-object-storage check --config /etc/orthanc
  sudo -u orthanc orthanc-object-storage check --config /etc/orthanc --json

Exit codes: 0 Orthanc would start, 1 it would not, and standard error says why, 2 wrong usage.`,
    )
    .action(run);
}

async function run({ config, json }: Options): Promise<void> {
  const log = createCliLogger();
  const { provider, settings, keyWarnings, envelope } = loadCliSettings(config, log);
  const unread = await describeUnreadFiles(settings);
  const warnings = [...settings.warnings, ...(unread === undefined ? [] : [unread])];
  for (const warning of warnings) log.warning(warning);
  const stores = await openStores(settings, provider, { log });
  await checkStores(stores, settings.naming, log);
  await closeStores(stores);
  if (json === true) {
    const encryption =
      envelope === undefined
        ? null
        : { format: envelope.format ?? null, masterKeyId: envelope.masterKeyId ?? null };
    const all = [...warnings, ...keyWarnings];
    process.stdout.write(
      `${JSON.stringify({ section: provider.section, encryption, warnings: all })}\n`,
    );
    return;
  }
  const what =
    envelope === undefined
      ? 'the configuration and the store are'
      : 'the configuration, the keys and the store are';
  process.stdout.write(`${provider.section}: ${what} fine\n`);
}
