// SPDX-License-Identifier: GPL-3.0-or-later
// What a provider tells of its section, and how the section is read. src/providers/index.ts lists the providers.

import * as z from 'zod/mini';
import { type CommonSettings, commonFields, readCommon, readNetwork } from './common.ts';
import { ENCRYPTION_KEY, encryptionSchema } from './encryption.ts';
import type { ObeyedVariables, ProviderVariables, Variables } from './environment.ts';
import { isGiven, type RawSection, settingDocs } from './fields.ts';
import { describeIssue, type Report, type SectionKeys } from './problems.ts';
import type { NetworkSettings, OrthancNetwork, ProviderSettings } from './settings.ts';

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
  /** Text behind the table of its settings in docs/configuration.md. */
  readonly notes?: readonly string[];
  /** Checks what concerns two settings. It sees the section as written, so it can report even if a value is wrong. */
  checkWritten?(raw: RawSection, context: CheckContext): void;
  /** @returns undefined where `report` got a problem that leaves nothing to work with */
  read(values: ValuesOf<F>, context: ReadContext): ProviderReading<Settings> | undefined;
}

export interface CheckContext {
  readonly section: string;
  readonly report: Report;
}

export interface ReadContext extends CheckContext {
  readonly network: NetworkSettings;
  readonly variables: Variables;
}

export interface ProviderReading<Settings extends NetworkSettings = NetworkSettings>
  extends Pick<ProviderSettings, 'bucket' | 'place'>,
    Pick<ObeyedVariables, 'findsCredentials'> {
  readonly settings: Settings;
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
}

// Orthanc's own settings that this plugin reads. Users may look for them in the plugin's section.
const ORTHANC_KEYS = ['HttpsCACertificates', 'HttpProxy', 'StorageDirectory', 'SyncStorageArea'];

/** All sections and their keys. Builds all schemas, so it is for error messages and tests only. */
export function knownSections(providers: readonly ProviderSection[]): readonly SectionKeys[] {
  return [{ section: '', keys: ORTHANC_KEYS }, ...providers.flatMap(sectionKeys)];
}

/** A provider's section, and that of encryption in it. */
export function sectionKeys(provider: ProviderSection): readonly SectionKeys[] {
  const { section } = provider;
  return [
    { section, keys: Object.keys(sectionSchema(provider).shape) },
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

/** @returns undefined where the report got a problem that leaves nothing to work with */
export function readSection(
  provider: Provider,
  raw: RawSection,
  surroundings: Surroundings,
): SectionSettings | undefined {
  const { kind, section, obeyed, open } = provider;
  const { variables, report } = surroundings;
  const values = parseSection(provider, raw, surroundings);
  provider.checkWritten?.(raw, { section, report });
  if (values === undefined) return undefined;
  const network = readNetwork(values, surroundings.network);
  const reading = provider.read(values, { section, network, variables, report });
  const common = readCommon(section, values, report);
  if (reading === undefined) return undefined;
  const { findsCredentials, ...own } = reading;
  return { ...common, obeyed, findsCredentials, provider: { kind, section, ...own, open } };
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
  { section, report }: CheckContext,
) {
  if (isGiven(raw[a]) === isGiven(raw[b])) return;
  const [there, missing] = isGiven(raw[a]) ? [a, b] : [b, a];
  report.problems.push(
    `${section}.${missing}: is missing, while "${there}" is there; write both or neither`,
  );
}
