// SPDX-License-Identifier: GPL-3.0-or-later

import { StorageError } from '../errors.ts';
import { readEncryption } from './encryption.ts';
import {
  noteEnvironment,
  readFileSystem,
  readOrthancNetwork,
  warnOfOrthancSettings,
} from './orthanc.ts';
import type { Report } from './problems.ts';
import {
  ENCRYPTION_KEY,
  isObject,
  PROVIDER_SECTIONS,
  type RawSection,
  type SectionSettings,
} from './sections.ts';
import type { NetworkSettings, PluginSettings, ProviderSettings } from './settings.ts';
import { editDistance } from './suggest.ts';

/** What else than the configuration decides. */
export interface ConfigurationEnvironment {
  /** As Orthanc gives it, such as "1.12.7" or "mainline". */
  readonly orthancVersion: string;
  readonly environmentVariables: Readonly<Record<string, string | undefined>>;
}

/** Reads and checks all that concerns the plugin. Touches neither files nor network.
 *  @param json Orthanc's whole configuration
 *  @throws StorageError BAD_CONFIG, whose message has one line per problem: `section.key: what is wrong; what to write` */
export function loadConfiguration(
  json: string,
  environment: ConfigurationEnvironment,
): PluginSettings {
  const report: Report = { problems: [], warnings: [], notes: [] };
  const orthanc = parseJson(json);
  const settings = readSections(orthanc, report);
  const provider = settings?.provider;
  const writeTo = settings?.writeTo;
  const fileSystem = writeTo === undefined ? undefined : readFileSystem(orthanc, report);
  if (provider !== undefined) {
    const isEncrypted = settings?.encryption?.format !== undefined;
    warnOfOrthancSettings(orthanc, environment.orthancVersion, isEncrypted, report);
    noteEnvironment(provider.kind, environment.environmentVariables, report);
  }
  if (report.problems.length > 0) {
    throw new StorageError('BAD_CONFIG', [...new Set(report.problems)].join('\n'));
  }
  if (provider === undefined || settings === undefined) {
    return { ...NO_PROVIDER, warnings: report.warnings, notes: report.notes };
  }
  return {
    provider,
    naming: settings.naming,
    encryption: settings.encryption,
    hybrid: writeTo === undefined || fileSystem === undefined ? undefined : { writeTo, fileSystem },
    requestTimeoutMs: networkOf(provider).requestTimeoutMs,
    warnings: report.warnings,
    notes: report.notes,
  };
}

function networkOf(provider: ProviderSettings): NetworkSettings {
  switch (provider.kind) {
    case 's3':
      return provider.s3;
    case 'azure':
      return provider.azure;
    case 'google':
      return provider.google;
    default:
      return provider satisfies never;
  }
}

// Never used for storage; the types want values all the same.
const NO_PROVIDER = {
  provider: undefined,
  naming: { rootPath: '', structure: 'flat', legacyUnknownFiles: false },
  encryption: undefined,
  hybrid: undefined,
  requestTimeoutMs: 1_200_000,
} as const;

function parseJson(json: string): RawSection {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // Node's message quotes the text around the error, which may be a key: it goes nowhere, not even as the cause.
    throw new StorageError('BAD_CONFIG', 'the configuration is not valid JSON');
  }
  if (!isObject(value)) {
    throw new StorageError('BAD_CONFIG', 'the configuration is not a JSON object');
  }
  return value;
}

/** @returns undefined where there is no section, or where `report` tells why none can be used */
function readSections(
  orthanc: RawSection,
  report: Report,
): (SectionSettings & Pick<PluginSettings, 'encryption'>) | undefined {
  const present = PROVIDER_SECTIONS.filter(({ section }) => Object.hasOwn(orthanc, section));
  if (present.length === 0) {
    refuseMisspeltSections(orthanc, report);
    return undefined;
  }
  if (present.length > 1) {
    const names = present.map(({ section }) => section).join(', ');
    report.problems.push(`${names}: more than one storage section; keep the one to store in`);
  }
  const network = readOrthancNetwork(orthanc, report);
  const read = present.map(({ section, replacedBy, read: readSection }) => {
    const raw = orthanc[section];
    if (!isObject(raw)) {
      report.problems.push(`${section}: must be an object, { … }`);
      return undefined;
    }
    if (replacedBy !== undefined) {
      report.warnings.push(`${section}: is the old name of "${replacedBy}"; write that`);
    }
    const encryption = readEncryption(
      `${section}.${ENCRYPTION_KEY}`,
      raw[ENCRYPTION_KEY],
      report,
      true,
    );
    const settings = readSection(raw, network, report);
    return settings === undefined ? undefined : { ...settings, encryption };
  });
  return read.length === 1 ? read[0] : undefined;
}

/** A misspelt section would leave the plugin idle and the files on Orthanc's disk, without a word. */
function refuseMisspeltSections(orthanc: RawSection, report: Report) {
  for (const key of Object.keys(orthanc)) {
    const meant = PROVIDER_SECTIONS.find(
      // Two slips at most: Orthanc and its plugins have sections of their own whose names must not be caught.
      ({ section }) => editDistance(key.toLowerCase(), section.toLowerCase()) <= 2,
    );
    if (meant !== undefined) {
      report.problems.push(`${key}: unknown section, did you mean "${meant.section}"?`);
    }
  }
}
