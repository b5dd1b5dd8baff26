// SPDX-License-Identifier: GPL-3.0-or-later
// What a provider tells of its section, and how the section is read. src/providers/index.ts lists the providers.

import * as z from 'zod/mini';
import { type CommonSettings, commonFields, readCommon, readNetwork } from './common.ts';
import {
  ENCRYPTION_KEY,
  type EncryptionSettings,
  encryptionSchema,
  type KeyFile,
  readEncryption,
} from './encryption.ts';
import type { ObeyedVariables, ProviderVariables, Variables } from './environment.ts';
import { isGiven, isObject, type RawSection, settingDocs } from './fields.ts';
import { describeIssue, type Report, type SectionKeys } from './problems.ts';
import type { NetworkSettings, OrthancNetwork, ProviderSettings } from './settings.ts';
import type { NamesElsewhere } from './suggest.ts';

export type Fields = z.core.$ZodShape;
/** The parsed settings of a section. */
export type ValuesOf<F extends () => Fields> = z.output<z.ZodMiniObject<ReturnType<F>>>;

/** What the configuration knows of a provider. A provider with an old and a new name for its section has two of these. */
export interface ProviderSection<
  Settings extends NetworkSettings = NetworkSettings,
  F extends () => Fields = () => Fields,
> {
  /** The provider's name in the log, the status and reports. */
  readonly kind: string;
  /** The section's name in Orthanc's configuration. */
  readonly section: string;
  /** The section's present name, where this is an old one. */
  readonly replacedBy?: string;
  /** Its settings beside those that all sections share. A function, since building schemas takes a millisecond or two of Orthanc's
   *  start. */
  readonly fields: F;
  readonly obeyed: ProviderVariables;
  /** Beside what several providers' settings are called. */
  readonly elsewhere?: NamesElsewhere;
  /** Follow the suggestion of a key. */
  readonly hints?: Readonly<Record<string, string>>;
  /** Text behind the table of its settings in docs/configuration.md. */
  readonly notes?: readonly string[];
  /** Checks what concerns two settings. It sees the section as written, so it can report even if a value is wrong. */
  checkWritten?(raw: RawSection, context: SectionContext): void;
  /** @returns undefined where `report` got a problem that leaves nothing to work with */
  read(values: ValuesOf<F>, context: SectionContext): ProviderReading<Settings> | undefined;
}

export interface SectionContext {
  readonly section: string;
  readonly variables: Variables;
  readonly report: Report;
}

export interface ProviderReading<Settings extends NetworkSettings = NetworkSettings>
  extends Pick<ProviderSettings, 'bucket' | 'place'>,
    Pick<ObeyedVariables, 'findsCredentials'> {
  /** Without those that all providers have. */
  readonly settings: Omit<Settings, keyof NetworkSettings>;
}

/** A section with the store that it configures. */
export interface Provider extends ProviderSection, Pick<ProviderSettings, 'open'> {}

export interface Surroundings {
  readonly providers: readonly Provider[];
  readonly network: OrthancNetwork;
  readonly variables: Variables;
  readonly report: Report;
}

export interface SectionSettings extends CommonSettings, ObeyedVariables {
  readonly provider: ProviderSettings;
  readonly encryption: EncryptionSettings | undefined;
}

export interface SectionReading {
  /** undefined: there is none, or the report tells why none can be used. */
  readonly section: SectionSettings | undefined;
  readonly keyFiles: readonly KeyFile[];
}

export const NO_SECTION: SectionReading = { section: undefined, keyFiles: [] };

// Orthanc's own settings that this plugin reads. Users may look for them in the plugin's section.
const ORTHANC_KEYS = ['HttpsCACertificates', 'HttpProxy', 'StorageDirectory', 'SyncStorageArea'];

/** All sections and their keys. Builds all schemas, so it is for error messages and tests only. */
export function knownSections(providers: readonly ProviderSection[]): readonly SectionKeys[] {
  return [{ section: '', keys: ORTHANC_KEYS }, ...providers.flatMap(sectionKeys)];
}

/** A provider's section, and that of encryption in it. */
export function sectionKeys(provider: ProviderSection): readonly SectionKeys[] {
  const { section, elsewhere, hints } = provider;
  return [
    { section, keys: Object.keys(sectionSchema(provider).shape), elsewhere, hints },
    { section: `${section}.${ENCRYPTION_KEY}`, keys: Object.keys(encryptionSchema().shape) },
  ];
}

/** Such as "A, B or C", without old names.
 *  @param quote to put around each */
export function sectionNames(providers: readonly ProviderSection[], quote = ''): string {
  const names = providers
    .filter(({ replacedBy }) => replacedBy === undefined)
    .map(({ section }) => `${quote}${section}${quote}`);
  return `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}

export function sectionSchema({ fields }: ProviderSection) {
  return z.strictObject({ ...fields(), ...commonFields() });
}

export function readSection(
  provider: Provider,
  raw: unknown,
  surroundings: Surroundings,
): SectionReading {
  const { kind, section, replacedBy, obeyed, open } = provider;
  const { variables, report } = surroundings;
  if (!isObject(raw)) {
    report.problems.push(`${section}: must be an object, { … }`);
    return NO_SECTION;
  }
  if (replacedBy !== undefined) {
    report.warnings.push(`${section}: is the old name of "${replacedBy}"; write that`);
  }
  const encryption = readEncryption(`${section}.${ENCRYPTION_KEY}`, raw[ENCRYPTION_KEY], report);
  const { keyFiles } = encryption;
  const context = { section, variables, report };
  const values = parseSection(provider, raw, surroundings);
  provider.checkWritten?.(raw, context);
  if (values === undefined) return { section: undefined, keyFiles };
  const reading = provider.read(values, context);
  const common = readCommon(section, values, report);
  if (reading === undefined) return { section: undefined, keyFiles };
  const { findsCredentials, bucket, place } = reading;
  const settings = { ...readNetwork(values, surroundings.network), ...reading.settings };
  const set = { kind, section, bucket, place, settings, open };
  const read = { provider: set, encryption: encryption.settings, obeyed, findsCredentials };
  return { section: { ...common, ...read }, keyFiles };
}

function parseSection(
  provider: ProviderSection,
  raw: RawSection,
  { providers, report }: Surroundings,
) {
  const { section } = provider;
  const schema = sectionSchema(provider);
  const renamed = renameAliases(schema.shape, section, raw, report);
  // Compiling a parser that runs once costs more than it saves.
  const result = z.safeParse(schema, renamed, { jitless: true });
  if (result.success) return result.data;
  const known = knownSections(providers);
  for (const issue of result.error.issues) {
    report.problems.push(...describeIssue(section, issue, known));
  }
  return undefined;
}

/** Gives settings with an old name their present one. */
function renameAliases(
  fields: Fields,
  section: string,
  raw: RawSection,
  report: Report,
): RawSection {
  const renamed: Record<string, unknown> = { ...raw };
  for (const [key, field] of Object.entries(fields)) {
    for (const alias of settingDocs.get(field)?.aliases ?? []) {
      if (!Object.hasOwn(renamed, alias)) continue;
      if (Object.hasOwn(raw, key)) {
        report.problems.push(
          `${section}.${alias}: is the old name of "${key}", which is there too; remove "${alias}"`,
        );
      } else {
        report.warnings.push(`${section}.${alias}: is the old name of "${key}"; write that`);
        renamed[key] = renamed[alias];
      }
      delete renamed[alias];
    }
  }
  return renamed;
}

/** Reports a setting without the one that it needs. */
export function checkTogether(
  raw: RawSection,
  a: string,
  b: string,
  { section, report }: SectionContext,
) {
  if (isGiven(raw[a]) === isGiven(raw[b])) return;
  const [there, missing] = isGiven(raw[a]) ? [a, b] : [b, a];
  report.problems.push(
    `${section}.${missing}: is missing, while "${there}" is there; write both or neither`,
  );
}
