// SPDX-License-Identifier: GPL-3.0-or-later
// The provider sections: a new provider is a schema (schema.ts), an entry here, and its settings (settings.ts).

import * as z from 'zod/mini';
import { Secret } from '../text/secret.ts';
import { parseConnectionString } from './connection-string.ts';
import { readS3Address, refuseBucketInAddress, warnOfEndpoint } from './endpoints.ts';
import type { Variables } from './environment.ts';
import { settingDocs, wrongChoice } from './fields.ts';
import { describeIssue, type Report, type SectionKeys } from './problems.ts';
import {
  azureSchema,
  encryptionSchema,
  googleSchema,
  oldAzureSchema,
  S3_OFFLINE_CLASSES,
  S3_STORAGE_CLASSES,
  s3Schema,
} from './schema.ts';
import type {
  AzureSettings,
  HybridSettings,
  NamingSettings,
  NetworkSettings,
  ProviderSettings,
} from './settings.ts';
import { withoutContainer } from './urls.ts';

/** A section as the user wrote it. */
export type RawSection = Readonly<Record<string, unknown>>;

/** The part of the settings that is Orthanc's own. */
export type OrthancNetwork = Pick<NetworkSettings, 'caCertificatesFile' | 'proxies'>;

/** What is not in the section and counts all the same. */
export interface Surroundings {
  readonly network: OrthancNetwork;
  /** Of the environment. */
  readonly variables: Variables;
}

export interface SectionSettings {
  readonly provider: ProviderSettings;
  readonly naming: NamingSettings;
  /** Of hybrid storage; undefined: there is none. */
  readonly writeTo: HybridSettings['writeTo'] | undefined;
  readonly lanes: number;
  readonly startTimeoutMs: number;
}

export interface ProviderSection {
  readonly section: string;
  readonly kind: ProviderSettings['kind'];
  /** Another name of this section's, which replaces it. */
  readonly replacedBy?: string;
  readonly schema: () => ObjectSchema;
  /** @returns undefined where `report` got a problem that leaves nothing to work with */
  readonly read: (
    raw: RawSection,
    surroundings: Surroundings,
    report: Report,
  ) => SectionSettings | undefined;
}

type ObjectSchema = z.ZodMiniObject<z.core.$ZodShape, z.core.$strict>;
/** The parsed settings that all sections share and that this version serves. */
type Common = Pick<
  z.infer<ReturnType<typeof s3Schema>>,
  | 'StartTimeout'
  | 'ConnectionTimeout'
  | 'RequestTimeout'
  | 'MaxConnections'
  | 'MaxRetries'
  | 'Lanes'
  | 'RootPath'
  | 'StorageStructure'
  | 'EnableLegacyUnknownFiles'
  | 'HybridMode'
  | 'MigrationFromFileSystemEnabled'
>;

export const ENCRYPTION_KEY = 'StorageEncryption';
// The C++ plugins' MB, in TransferBufferSize and MaxConcurrentInputSize alike.
export const BYTES_PER_MB = 1024 * 1024;

export const PROVIDER_SECTIONS: readonly ProviderSection[] = [
  { section: 'AwsS3Storage', kind: 's3', schema: s3Schema, read: readS3 },
  { section: 'AzureBlobStorage', kind: 'azure', schema: azureSchema, read: readAzure },
  {
    section: 'BlobStorage',
    kind: 'azure',
    replacedBy: 'AzureBlobStorage',
    schema: oldAzureSchema,
    read: readOldAzure,
  },
  { section: 'GoogleCloudStorage', kind: 'google', schema: googleSchema, read: readGoogle },
];

// Those of Orthanc's own settings which this plugin reads; a user may look for them in its section.
const ORTHANC_KEYS = ['HttpsCACertificates', 'HttpProxy', 'StorageDirectory', 'SyncStorageArea'];

/** All sections and their keys. Builds all schemas: for error messages and documentation only. */
export function knownSections(): readonly SectionKeys[] {
  return [{ section: '', keys: ORTHANC_KEYS }, ...PROVIDER_SECTIONS.flatMap(sectionKeys)];
}

/** A provider's section, and that of encryption in it. */
export function sectionKeys({ section, schema }: ProviderSection): readonly SectionKeys[] {
  return [
    { section, keys: Object.keys(schema().shape) },
    { section: `${section}.${ENCRYPTION_KEY}`, keys: Object.keys(encryptionSchema().shape) },
  ];
}

function readS3(raw: RawSection, { network, variables }: Surroundings, report: Report) {
  const section = 'AwsS3Storage';
  const value = parseSection(s3Schema(), section, raw, report);
  // What concerns two settings is checked on what was written, so that it is told even where something else is wrong.
  checkTogether(section, raw, 'AccessKey', 'SecretKey', report);
  if (isGiven(raw['KmsKeyId']) && !scalarText(raw['ServerSideEncryption']).startsWith('aws:kms')) {
    report.problems.push(
      `${section}.KmsKeyId: needs "ServerSideEncryption": "aws:kms" or "aws:kms:dsse"`,
    );
  }
  if (value === undefined) return undefined;
  const address = readS3Address(section, value, variables, report);
  warnOfStorageClass(section, value.StorageClass, address.endpoint, report);
  const { AccessKey: accessKey, SecretKey: secretKey } = value;
  return {
    ...toShared(section, value, report),
    provider: {
      kind: 's3' as const,
      section,
      settings: {
        ...toNetwork(value, network),
        bucketName: value.BucketName,
        region: value.Region,
        credentials:
          accessKey !== undefined && secretKey !== undefined ? { accessKey, secretKey } : undefined,
        ...address,
        storageClass: value.StorageClass,
        tags: value.Tags,
        serverSideEncryption: value.ServerSideEncryption,
        kmsKeyId: value.KmsKeyId,
        checksumMode: value.ChecksumMode,
        transfer: {
          always: value.UseTransferManager,
          poolSize: value.TransferPoolSize,
          partSizeBytes: value.TransferBufferSize * BYTES_PER_MB,
        },
        enableSdkLogs: value.EnableAwsSdkLogs,
      },
    },
  };
}

function readAzure(raw: RawSection, { network }: Surroundings, report: Report) {
  const section = 'AzureBlobStorage';
  const value = parseSection(azureSchema(), section, raw, report);
  const isTwice = isGiven(raw['ConnectionString']) && isGiven(raw['AccountUrl']);
  const isNeither = !isGiven(raw['ConnectionString']) && !isGiven(raw['AccountUrl']);
  if (isTwice) report.problems.push(`${section}.AccountUrl: replaces "ConnectionString": keep one`);
  if (isNeither) {
    report.problems.push(
      `${section}.ConnectionString: is missing; write it, or "AccountUrl" for the default credential chain`,
    );
  }
  return value === undefined ? undefined : azureSettings(section, value, network, report);
}

function readOldAzure(raw: RawSection, { network }: Surroundings, report: Report) {
  const section = 'BlobStorage';
  const value = parseSection(oldAzureSchema(), section, raw, report);
  checkTogether(section, raw, 'AccountName', 'AccountKey', report);
  const ways = ['AccountName', 'ConnectionString', 'AccountUrl'].filter((key) => isGiven(raw[key]));
  if (ways.length > 1) report.problems.push(`${section}: keep one of ${ways.join(', ')}`);
  if (ways.length === 0) {
    report.problems.push(
      `${section}.ConnectionString: is missing; write it, or "AccountName" and "AccountKey"`,
    );
  }
  if (value === undefined) return undefined;
  const { AccountName: name, AccountKey: key } = value;
  // What the C++ plugin makes of the two.
  const fromParts =
    name !== undefined && key !== undefined
      ? new Secret(`DefaultEndpointsProtocol=https;AccountName=${name};AccountKey=${key.reveal()}`)
      : undefined;
  return azureSettings(
    section,
    { ...value, ConnectionString: value.ConnectionString ?? fromParts },
    network,
    report,
    fromParts === undefined ? 'ConnectionString' : 'AccountKey',
  );
}

function azureSettings(
  section: string,
  value: z.infer<ReturnType<typeof azureSchema>>,
  network: OrthancNetwork,
  report: Report,
  /** For messages about the connection string. */
  key = 'ConnectionString',
): SectionSettings | undefined {
  const account = accountOf(section, value, report, key);
  const shared = toShared(section, value, report);
  if (account === undefined) return undefined;
  return {
    ...shared,
    provider: {
      kind: 'azure',
      section,
      settings: {
        ...toNetwork(value, network),
        account,
        containerName: value.ContainerName,
        createContainerIfNotExists: value.CreateContainerIfNotExists,
        accessTier: value.AccessTier,
      },
    },
  };
}

function accountOf(
  section: string,
  value: z.infer<ReturnType<typeof azureSchema>>,
  report: Report,
  key: string,
): AzureSettings['account'] | undefined {
  const { ConnectionString: text, AccountUrl: accountUrl, ContainerName: container } = value;
  if (text === undefined) {
    if (accountUrl === undefined) return undefined;
    const corrected = withoutContainer(new URL(accountUrl), { container });
    if (corrected !== undefined) {
      report.problems.push(
        `${section}.AccountUrl: must not hold the container, which ContainerName names; write "${corrected}"`,
      );
    }
    return { kind: 'default-chain', accountUrl };
  }
  const setting = `${section}.${key}`;
  const result = parseConnectionString(text.reveal(), container);
  if ('problem' in result) {
    report.problems.push(`${setting}: ${result.problem}`);
    return undefined;
  }
  warnOfEndpoint(setting, result.endpoint, report);
  return { kind: 'connection-string', connectionString: new Secret(result.connectionString) };
}

function readGoogle(raw: RawSection, { network }: Surroundings, report: Report) {
  const section = 'GoogleCloudStorage';
  const value = parseSection(googleSchema(), section, raw, report);
  if (value === undefined) return undefined;
  const setting = `${section}.Endpoint`;
  if (value.Endpoint !== undefined) {
    refuseBucketInAddress(setting, value.Endpoint, value.BucketName, report);
  }
  warnOfEndpoint(setting, value.Endpoint, report);
  return {
    ...toShared(section, value, report),
    provider: {
      kind: 'google' as const,
      section,
      settings: {
        ...toNetwork(value, network),
        bucketName: value.BucketName,
        serviceAccountFile: value.ServiceAccountFile,
        endpoint: value.Endpoint,
        storageClass: value.StorageClass,
      },
    },
  };
}

function parseSection<S extends ObjectSchema>(
  schema: S,
  section: string,
  raw: RawSection,
  report: Report,
): z.output<S> | undefined {
  const renamed = renameAliases(schema, section, raw, report);
  // jitless: compiling a parser that runs once costs more than it saves.
  const result = z.safeParse(schema, renamed, { jitless: true });
  if (!result.success) {
    const known = knownSections();
    for (const issue of result.error.issues) {
      report.problems.push(...describeIssue(section, issue, known));
    }
  }
  return result.success ? result.data : undefined;
}

/** Gives settings under an earlier name their present one. */
function renameAliases(
  schema: ObjectSchema,
  section: string,
  raw: RawSection,
  report: Report,
): RawSection {
  const renamed: Record<string, unknown> = { ...raw };
  for (const [key, field] of Object.entries(schema.shape)) {
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

/** Two settings that make sense together only. */
function checkTogether(section: string, raw: RawSection, a: string, b: string, report: Report) {
  if (isGiven(raw[a]) === isGiven(raw[b])) return;
  const [there, missing] = isGiven(raw[a]) ? [a, b] : [b, a];
  report.problems.push(
    `${section}.${missing}: is missing, while "${there}" is there; write both or neither`,
  );
}

function warnOfStorageClass(
  section: string,
  storageClass: string | undefined,
  endpoint: string | undefined,
  report: Report,
) {
  if (storageClass === undefined) return;
  const name = `${section}.StorageClass`;
  if (S3_OFFLINE_CLASSES.includes(storageClass)) {
    report.warnings.push(
      `${name}: objects in ${storageClass} cannot be read until they are restored; "GLACIER_IR" can`,
    );
    return;
  }
  if ((S3_STORAGE_CLASSES as readonly string[]).includes(storageClass)) return;
  const problem = `${name}: ${wrongChoice(storageClass, S3_STORAGE_CLASSES)}`;
  // Other servers have classes of their own.
  if (endpoint === undefined) report.problems.push(problem);
  else report.warnings.push(`${problem} Sent to the server as it is.`);
}

function toNetwork(value: Common, network: OrthancNetwork): NetworkSettings {
  return {
    connectionTimeoutMs: value.ConnectionTimeout * 1000,
    requestTimeoutMs: value.RequestTimeout * 1000,
    maxConnections: value.MaxConnections,
    maxRetries: value.MaxRetries,
    ...network,
  };
}

function toShared(
  section: string,
  value: Common,
  report: Report,
): Omit<SectionSettings, 'provider'> {
  const writeTo = toWriteTo(value);
  if (writeTo === 'file-system' && value.MigrationFromFileSystemEnabled) {
    report.problems.push(
      `${section}.MigrationFromFileSystemEnabled: contradicts "HybridMode": "WriteToFileSystem"; remove it`,
    );
  }
  if (writeTo !== undefined && value.Lanes > 1) {
    report.problems.push(
      `${section}.Lanes: must be 1 where files are in both places (HybridMode, MigrationFromFileSystemEnabled), since one event loop has to know of all moves`,
    );
  }
  return {
    naming: {
      rootPath: value.RootPath,
      structure: value.StorageStructure,
      legacyUnknownFiles: value.EnableLegacyUnknownFiles,
    },
    writeTo,
    lanes: value.Lanes,
    startTimeoutMs: value.StartTimeout * 1000,
  };
}

function toWriteTo(value: Common): HybridSettings['writeTo'] | undefined {
  if (value.HybridMode === 'WriteToFileSystem') return 'file-system';
  return value.HybridMode === 'WriteToObjectStorage' || value.MigrationFromFileSystemEnabled
    ? 'object-storage'
    : undefined;
}

export function isObject(value: unknown): value is RawSection {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a user may have written as text, number or flag; "" for the rest. An object's own toString must not run: JSON may hold
 *  {"toString": 1}. */
function scalarText(value: unknown): string {
  return ['string', 'number', 'boolean'].includes(typeof value) ? String(value).trim() : '';
}

/** "" is what an unset variable in a compose file leaves behind. */
function isGiven(value: unknown): boolean {
  return value !== undefined && !(typeof value === 'string' && value.trim() === '');
}
