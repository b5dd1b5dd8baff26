// SPDX-License-Identifier: GPL-3.0-or-later

import { Command } from 'commander';
import {
  checkLocalFolders,
  checkStores,
  closeStores,
  describeUnreadFiles,
  openStores,
} from '../../attachments/open-stores.ts';
import type { Envelope } from '../../encryption/envelope.ts';
import { CONFIG_OPTION } from '../common/options.ts';
import { printJson, printLine } from '../common/output.ts';
import { cliLog, loadCliSettings } from '../common/settings.ts';
import { type KeyFinding, type KeySample, sampleKeys } from './key-sample.ts';

interface Options {
  readonly config: string;
  readonly json?: true;
}

export function checkCommand(): Command {
  return new Command('check')
    .description(
      'Tries the configuration, the key files and the store, as the plugin does when Orthanc starts.',
    )
    .requiredOption(...CONFIG_OPTION)
    .option('--json', 'prints the result as JSON')
    .addHelpText(
      'after',
      `
Run it as the user that Orthanc runs as: another user may read other files.

It also lists the first objects in the bucket, up to 100, for at most 10 s, and tells whether the configured keys fit them.

Examples:
  orthanc-object-storage check --config /etc/orthanc
  sudo -u orthanc orthanc-object-storage check --config /etc/orthanc --json

Exit codes: 0 Orthanc would start, perhaps with warnings, 1 it would not, and standard error says why, 2 wrong usage.`,
    )
    .action(run);
}

async function run({ config, json }: Options): Promise<void> {
  const { provider, settings, keyWarnings, envelope } = loadCliSettings(config);
  const unread = await describeUnreadFiles(settings);
  const warnings = [...settings.warnings, ...(unread === undefined ? [] : [unread])];
  for (const warning of warnings) cliLog.warning(warning);
  await checkLocalFolders(settings, provider);
  const stores = await openStores(settings, provider, { log: cliLog });
  await checkStores(stores, settings.naming, cliLog);
  const side = { store: stores.objects, naming: settings.naming };
  const sample = await sampleKeys(side, envelope);
  await closeStores(stores);
  const objectWarnings = describeSample(sample, provider.section, envelope);
  for (const warning of objectWarnings) cliLog.warning(warning);
  const { lookedAt, plain } = sample;
  if (json === true) {
    const encryption =
      envelope === undefined
        ? null
        : { format: envelope.format ?? null, masterKeyId: envelope.masterKeyId ?? null };
    const all = [...warnings, ...keyWarnings, ...objectWarnings];
    const objects = { lookedAt, plain };
    printJson({ section: provider.section, encryption, objects, warnings: all });
    return;
  }
  const what =
    envelope === undefined
      ? 'the configuration and the store are'
      : 'the configuration, the keys and the store are';
  const verdict =
    sample.findings.length === 0
      ? `${what} fine`
      : 'Orthanc would start, but could not read all that is in the bucket: see the warnings';
  printLine(`${provider.section}: ${verdict}${describePlain(sample, envelope)}`);
}

/** This is no warning: objects that were stored before encryption was switched on stay readable. */
function describePlain({ lookedAt, plain }: KeySample, envelope: Envelope | undefined): string {
  if (envelope?.format === undefined || plain === 0) return '';
  return `; ${plain} of ${lookedAt} objects that were looked at are not encrypted`;
}

function describeSample(
  { lookedAt, findings, failure }: KeySample,
  section: string,
  envelope: Envelope | undefined,
): readonly string[] {
  const setting = `${section}.StorageEncryption`;
  const problems = findings.map((finding) => {
    const { count, example } = finding;
    const objects = `${count} of ${lookedAt} objects that were looked at, such as ${example},`;
    return `${setting}: ${objects} cannot be read: ${describeProblem(finding, envelope)}`;
  });
  if (failure === undefined) return problems;
  const what = lookedAt === 0 ? 'what is' : 'all of what was picked';
  return [
    ...problems,
    `${what} in the bucket could not be looked at, so that nobody knows whether it is encrypted with other keys than those that are configured (${failure})`,
  ];
}

function describeProblem({ kind, keyId }: KeyFinding, envelope: Envelope | undefined): string {
  if (envelope === undefined) {
    return `they are encrypted with master key ${keyId}, and no key is configured; write that key into MasterKey`;
  }
  return kind === 'missing'
    ? `they are encrypted with master key ${keyId}, which is not configured; add it to PreviousMasterKeys`
    : `they name master key ${keyId}, and the key that is configured with this id does not decrypt them; name the file of the key that they were encrypted with (or they are damaged, which "verify --deep" tells)`;
}
