// SPDX-License-Identifier: GPL-3.0-or-later
// What a provider declares of its section, and how the section is read. src/providers/index.ts lists the providers.

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
import { LOCAL_CACHE_KEY, localCacheSchema } from './local-cache.ts';
import { describeIssue, type Report, type SectionKeys } from './problems.ts';
import type { NetworkSettings, OrthancNetwork, ProviderSettings } from './settings.ts';
import type { NamesElsewhere } from './suggest.ts';

export type Fields = z.core.$ZodShape;
/** The parsed settings of a section. */
export type ValuesOf<F extends () => Fields> = z.output<z.ZodMiniObject<ReturnType<F>>>;

/** A provider whose section has an old and a new name declares two. */
export interface ProviderSection<
  Settings extends NetworkSettings = NetworkSettings,
  F extends () => Fields = () => Fields,
> {
  /** The name in the log, the status and reports, such as "s3". */
  readonly kind: string;
  readonly section: string;
  /** The section's new name, if this is the old one. */
  readonly replacedBy?: string;
  /** Settings beside the common ones. A function, because building the schemas of all providers would delay Orthanc's start. */
  readonly fields: F;
  readonly obeyed: ProviderVariables;
  /** Beside the names that several providers share. */
  readonly elsewhere?: NamesElsewhere;
  /** Text to append to the suggestion of a key. */
  readonly hints?: Readonly<Record<string, string>>;
  /** Text below its table in docs/configuration.md. */
  readonly notes?: readonly string[];
  /** Checks settings that depend on each other. It gets the section as written, so it runs even if values are invalid. */
  checkWritten?(raw: RawSection, context: SectionContext): void;
  /** @returns undefined if `report` got a problem and there are no usable settings */
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
  readonly settings: Omit<Settings, keyof NetworkSettings>;
}

export interface Provider extends ProviderSection, Pick<ProviderSettings, 'open'> {}

export interface Surroundings {
  /** Orthanc's whole configuration. */
  readonly orthanc: RawSection;
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
  /** undefined: there is none, or the report got a problem. */
  readonly section: SectionSettings | undefined;
  readonly keyFiles: readonly KeyFile[];
}

export const NO_SECTION: SectionReading = { section: undefined, keyFiles: [] };

// Orthanc's own settings, which users may write into our section.
const ORTHANC_KEYS = ['HttpsCACertificates', 'HttpProxy', 'StorageDirectory', 'SyncStorageArea'];

/** Slow, because it builds all schemas: for error messages only. */
export function knownSections(providers: readonly ProviderSection[]): readonly SectionKeys[] {
  return [{ section: '', keys: ORTHANC_KEYS }, ...providers.flatMap(sectionKeys)];
}

/** The provider's section and those in it. */
export function sectionKeys(provider: ProviderSection): readonly SectionKeys[] {
  const { section, elsewhere, hints } = provider;
  return [
    { section, keys: Object.keys(sectionSchema(provider).shape), elsewhere, hints },
    { section: `${section}.${ENCRYPTION_KEY}`, keys: Object.keys(encryptionSchema().shape) },
    { section: `${section}.${LOCAL_CACHE_KEY}`, keys: Object.keys(localCacheSchema().shape) },
  ];
}

/** "A, B or C", without old names.
 *  @param quote goes around each */
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
  const common = readCommon(section, values, surroundings.orthanc, report);
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
  // Not worth compiling: it runs once.
  const result = z.safeParse(schema, renamed, { jitless: true });
  if (result.success) return result.data;
  const known = knownSections(providers);
  for (const issue of result.error.issues) {
    report.problems.push(...describeIssue(section, issue, known));
  }
  return undefined;
}

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

/** Reports a setting that is there without the other. */
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
