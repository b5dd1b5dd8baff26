// SPDX-License-Identifier: GPL-3.0-or-later

import { badConfig } from '../errors.ts';
import type { KeyFile } from './encryption.ts';
import { noteEnvironment, type Variables } from './environment.ts';
import { isObject, type RawSection } from './fields.ts';
import { reportMisplaced } from './misplaced.ts';
import {
  absoluteFolderIn,
  readFileSystem,
  readOrthancNetwork,
  warnOfOrthancSettings,
} from './orthanc.ts';
import type { Report } from './problems.ts';
import {
  NO_SECTION,
  type Provider,
  readSection,
  type SectionReading,
  type Surroundings,
} from './sections.ts';
import { NO_REMOVALS, type PluginSettings } from './settings.ts';
import { isSlipOf } from './suggest.ts';

export interface ConfigurationEnvironment {
  /** Such as "1.12.7" or "mainline"; undefined outside Orthanc. */
  readonly orthancVersion: string | undefined;
  readonly environmentVariables: Variables;
}

export interface ConfigurationReading {
  /** undefined if there are problems. */
  readonly settings: PluginSettings | undefined;
  /** Lines such as "AwsS3Storage.Region: is missing; write …". */
  readonly problems: readonly string[];
  readonly keyFiles: readonly KeyFile[];
}

/** Does not read key files; `openConfiguration` does.
 *  @throws StorageError BAD_CONFIG, with a line per problem */
export function loadConfiguration(
  json: string,
  environment: ConfigurationEnvironment,
  providers: readonly Provider[],
): PluginSettings {
  const { settings, problems } = readConfiguration(json, environment, providers);
  if (settings === undefined) throw badConfig(problems);
  return settings;
}

/** Checks all settings that concern the plugin, without files or network.
 *  @param json Orthanc's whole configuration
 *  @throws StorageError BAD_CONFIG if it is no JSON object */
export function readConfiguration(
  json: string,
  environment: ConfigurationEnvironment,
  providers: readonly Provider[],
): ConfigurationReading {
  const report: Report = { problems: [], warnings: [], notes: [] };
  const orthanc = parseJson(json);
  const { orthancVersion, environmentVariables: variables } = environment;
  const { section, keyFiles } = readSections(orthanc, { providers, variables, report });
  const writeTo = section?.writeTo;
  const fileSystem = writeTo === undefined ? undefined : readFileSystem(orthanc, report);
  if (section !== undefined) {
    const isEncrypted = section.encryption?.format !== undefined;
    warnOfOrthancSettings(orthanc, orthancVersion, isEncrypted, report);
    if (writeTo === 'file-system' && isEncrypted) {
      report.warnings.push(
        `${section.provider.section}.HybridMode: "WriteToFileSystem" leaves files in the clear in StorageDirectory although StorageEncryption is on, which encrypts objects only; encrypt the disk, or write "WriteToObjectStorage"`,
      );
    }
    noteEnvironment(section, variables, report);
  }
  if (report.problems.length > 0) {
    return { settings: undefined, problems: [...new Set(report.problems)], keyFiles };
  }
  const { warnings, notes } = report;
  if (section === undefined) {
    return { settings: { ...NO_PROVIDER, warnings, notes }, problems: [], keyFiles };
  }
  const { common, localCache, provider, encryption } = section;
  const hybrid =
    writeTo === undefined || fileSystem === undefined ? undefined : { writeTo, fileSystem };
  const unreadFolder = hybrid === undefined ? absoluteFolderIn(orthanc) : undefined;
  const settings = {
    ...common,
    localCache,
    provider,
    encryption,
    hybrid,
    unreadFolder,
    warnings,
    notes,
  };
  return { settings, problems: [], keyFiles };
}

const NO_PROVIDER = {
  provider: undefined,
  naming: { rootPath: '', structure: 'flat', legacyUnknownFiles: false },
  encryption: undefined,
  removals: NO_REMOVALS,
  localCache: undefined,
  hybrid: undefined,
  unreadFolder: undefined,
  requestTimeoutMs: 1_200_000,
  startTimeoutMs: 0,
  lanes: 1,
} as const;

function parseJson(json: string): RawSection {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    // Without a cause: Node's message quotes the text around the error, which may be a key.
    throw badConfig('the configuration is not valid JSON');
  }
  if (!isObject(value)) {
    throw badConfig('the configuration is not a JSON object');
  }
  return value;
}

function readSections(
  orthanc: RawSection,
  { providers, variables, report }: Omit<Surroundings, 'network' | 'orthanc'>,
): SectionReading {
  const present = providers.filter(({ section }) => Object.hasOwn(orthanc, section));
  reportMisplaced(orthanc, present, providers, report);
  refuseMisspeltSections(orthanc, providers, report);
  if (present.length === 0) return NO_SECTION;
  if (present.length > 1) {
    const names = present.map(({ section }) => section).join(', ');
    report.problems.push(`${names}: more than one storage section; keep the one to store in`);
  }
  const network = readOrthancNetwork(orthanc, variables, report);
  const [first = NO_SECTION, ...others] = present.map((provider) =>
    readSection(provider, orthanc[provider.section], {
      orthanc,
      providers,
      network,
      variables,
      report,
    }),
  );
  // Of several sections, none counts, and neither do its keys.
  return others.length === 0 ? first : NO_SECTION;
}

/** Otherwise, all files would stay on Orthanc's disk without a message, or a second section that asks for encryption would be passed over. */
function refuseMisspeltSections(
  orthanc: RawSection,
  providers: readonly Provider[],
  report: Report,
) {
  for (const key of Object.keys(orthanc)) {
    if (providers.some(({ section }) => section === key)) continue;
    const meant = providers.find(({ section }) => isSlipOf(key, section));
    if (meant !== undefined) {
      report.problems.push(`${key}: unknown section, did you mean "${meant.section}"?`);
    }
  }
}
