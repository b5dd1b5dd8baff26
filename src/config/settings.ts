// SPDX-License-Identifier: GPL-3.0-or-later
// What the configuration means once it is read and checked. Orthanc's PascalCase keys end in this folder.

import type { Secret } from '../text/secret.ts';
import type { EncryptionSettings } from './encryption.ts';

/** What each provider needs to talk to its server. */
export interface NetworkSettings {
  readonly connectionTimeoutMs: number;
  /** The time that one operation may take in all, its retries included. */
  readonly requestTimeoutMs: number;
  /** Connections, and so requests, at the same time. */
  readonly maxConnections: number;
  readonly maxRetries: number;
  /** PEM file of the authorities to trust, Orthanc's HttpsCACertificates; undefined: those that Node's build trusts. */
  readonly caCertificatesFile: string | undefined;
  readonly proxies: ProxySettings;
}

/** By what requests go to servers beyond this machine. */
export interface ProxySettings {
  /** For http:// addresses; undefined: straight. */
  readonly http: ProxyServer | undefined;
  /** For https:// addresses; undefined: straight. */
  readonly https: ProxyServer | undefined;
  /** Hosts that are reached straight all the same, as NO_PROXY lists them. */
  readonly exceptions: string;
}

export interface ProxyServer {
  /** User and password included. */
  readonly url: Secret;
  /** Where it is set, for messages: "HttpProxy", or the name of an environment variable. */
  readonly setting: string;
}

export interface S3Settings extends NetworkSettings {
  readonly bucketName: string;
  readonly region: string;
  /** undefined: the SDK's chain (environment, profiles, web identity, container and instance roles). */
  readonly credentials: { readonly accessKey: string; readonly secretKey: Secret } | undefined;
  /** A URL with its scheme, without a slash at its end; undefined is AWS. */
  readonly endpoint: string | undefined;
  /** Where it is or would be set, for messages: "AwsS3Storage.Endpoint", or the name of an environment variable. */
  readonly endpointSetting: string;
  /** Host style (bucket.host) or path style (host/bucket). */
  readonly virtualAddressing: boolean;
  readonly storageClass: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
  readonly serverSideEncryption: string | undefined;
  readonly kmsKeyId: string | undefined;
  readonly checksumMode: 'WhenSupported' | 'WhenRequired';
  readonly transfer: {
    /** True: every content larger than one part goes in parts. False: only above the size from which a single PUT is unwise. */
    readonly always: boolean;
    /** Parts under way at once, for one object. */
    readonly poolSize: number;
    readonly partSizeBytes: number;
  };
  readonly enableSdkLogs: boolean;
}

export interface AzureSettings extends NetworkSettings {
  /** How to reach the account: a connection string (account key or SAS) with the address of its blob service, or the account's URL
   *  with the default credential chain. */
  readonly account:
    | { readonly kind: 'connection-string'; readonly connectionString: Secret }
    | { readonly kind: 'default-chain'; readonly accountUrl: string };
  readonly containerName: string;
  readonly createContainerIfNotExists: boolean;
  readonly accessTier: string | undefined;
}

export interface GoogleSettings extends NetworkSettings {
  readonly bucketName: string;
  /** undefined: application default credentials. */
  readonly serviceAccountFile: string | undefined;
  /** A URL with its scheme, without a path; undefined is Google. */
  readonly endpoint: string | undefined;
  readonly storageClass: string | undefined;
}

/** `section` is the name that the user wrote. */
export type ProviderSettings =
  | { readonly kind: 's3'; readonly section: string; readonly settings: S3Settings }
  | { readonly kind: 'azure'; readonly section: string; readonly settings: AzureSettings }
  | { readonly kind: 'google'; readonly section: string; readonly settings: GoogleSettings };

/** The same provider with other limits. */
export function withNetwork<Provider extends ProviderSettings>(
  provider: Provider,
  changes: Partial<NetworkSettings>,
): Provider {
  return { ...provider, settings: { ...provider.settings, ...changes } };
}

export interface NamingSettings {
  /** Without a slash at its start; a slash joins it to the names below it. "" is the bucket's root. */
  readonly rootPath: string;
  readonly structure: 'flat' | 'legacy';
  /** DicomUntilPixelData is then `.unk` in objects that older C++ plugins wrote: reads and removes try both names. */
  readonly legacyUnknownFiles: boolean;
}

/** Two places for attachments: the provider's and Orthanc's own folder. */
export interface HybridSettings {
  /** Where new attachments go; the other one is read too. */
  readonly writeTo: 'object-storage' | 'file-system';
  readonly fileSystem: FileSystemSettings;
}

export interface FileSystemSettings {
  /** Orthanc's StorageDirectory, absolute. */
  readonly folder: string;
  /** Orthanc's SyncStorageArea: a write ends when the disk has it. */
  readonly isSynchronous: boolean;
}

export interface PluginSettings {
  /** undefined: no section of ours in the configuration. */
  readonly provider: ProviderSettings | undefined;
  readonly naming: NamingSettings;
  /** undefined: none, and no keys to read what was encrypted before. */
  readonly encryption: EncryptionSettings | undefined;
  /** undefined: attachments are in the provider's store only. */
  readonly hybrid: HybridSettings | undefined;
  /** Orthanc's StorageDirectory, which it does not read without HybridMode; undefined where it is read, or where nobody here knows its
   *  place. */
  readonly unreadFolder: string | undefined;
  readonly requestTimeoutMs: number;
  /** How long a store that cannot be reached is waited for at start. */
  readonly startTimeoutMs: number;
  /** Event loops that share the work, and the limits above. */
  readonly lanes: number;
  /** What the user should know though it is no error: deprecated names, settings of Orthanc's that hurt. */
  readonly warnings: readonly string[];
  /** Worth a line at the info level: what from outside the configuration has a say. */
  readonly notes: readonly string[];
}

/** @returns what the provider calls it: a bucket, or Azure's container */
export function bucketOf({ kind, settings }: ProviderSettings): string {
  return kind === 'azure' ? settings.containerName : settings.bucketName;
}
