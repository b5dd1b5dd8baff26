// SPDX-License-Identifier: GPL-3.0-or-later
// What the configuration means once it is read and checked.

import type { Logger } from '../log.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Secret } from '../text/secret.ts';
import type { EncryptionSettings } from './encryption.ts';

/** What each provider needs to talk to its server. */
export interface NetworkSettings {
  readonly connectionTimeoutMs: number;
  /** For one operation, its retries included. */
  readonly requestTimeoutMs: number;
  readonly maxConnections: number;
  readonly maxRetries: number;
  /** PEM file of the authorities to trust, from Orthanc's HttpsCACertificates; undefined: those that Node trusts. */
  readonly caCertificatesFile: string | undefined;
  readonly proxies: ProxySettings;
}

export interface ProxySettings {
  /** For http:// addresses; undefined: none. */
  readonly http: ProxyServer | undefined;
  /** For https:// addresses; undefined: none. */
  readonly https: ProxyServer | undefined;
  /** Hosts without a proxy, as NO_PROXY lists them. */
  readonly exceptions: string;
}

export interface ProxyServer {
  /** User and password included. */
  readonly url: Secret;
  /** Where it is set, for messages: "HttpProxy", or the name of an environment variable. */
  readonly setting: string;
}

/** The part of it that is Orthanc's own. */
export type OrthancNetwork = Pick<NetworkSettings, 'caCertificatesFile' | 'proxies'>;

/** A provider and what its section says. */
export interface ProviderSettings {
  /** The provider's name, such as "s3". */
  readonly kind: string;
  /** The section's name, as the user wrote it. */
  readonly section: string;
  /** The name of the bucket, or of what the provider has instead. */
  readonly bucket: string;
  /** An address or a region, which tells the bucket from others of its name; "": neither is known. Never a secret. */
  readonly place: string;
  readonly settings: NetworkSettings;
  /** Loads the provider's code. Call it by `createStore`, with the settings above. */
  open(settings: NetworkSettings, deps: StoreDependencies): Promise<ObjectStore>;
}

/** What a provider's store needs beside its settings. */
export interface StoreDependencies {
  readonly log: Logger;
  /** RootPath, below which the check at start may write its probe object. */
  readonly probePrefix?: string;
  /** A missing object may exist under another name or in another store. */
  readonly readsSeveralNames?: boolean;
  /** True where Orthanc does not verify the MD5 of what it reads. */
  readonly verifyMd5?: boolean;
}

/** The same provider with other limits. */
export function withNetwork(
  provider: ProviderSettings,
  changes: Partial<NetworkSettings>,
): ProviderSettings {
  return { ...provider, settings: { ...provider.settings, ...changes } };
}

export interface NamingSettings {
  /** Has no slash at its start. A slash joins it to the names below it. "" is the bucket's root. */
  readonly rootPath: string;
  readonly structure: 'flat' | 'legacy';
  /** Older C++ plugins named DicomUntilPixelData `.unk`. With this, reads and removals try both names. */
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
  /** Orthanc's SyncStorageArea: a write waits for the disk. */
  readonly isSynchronous: boolean;
}

export interface PluginSettings {
  /** undefined: no section of ours in the configuration. */
  readonly provider: ProviderSettings | undefined;
  readonly naming: NamingSettings;
  /** undefined: no encryption and no keys. */
  readonly encryption: EncryptionSettings | undefined;
  /** undefined: attachments are in the provider's store only. */
  readonly hybrid: HybridSettings | undefined;
  /** Orthanc's StorageDirectory, where HybridMode is off and the path is absolute. Nothing reads it then. */
  readonly unreadFolder: string | undefined;
  readonly requestTimeoutMs: number;
  /** How long the start waits for a store that cannot be reached. */
  readonly startTimeoutMs: number;
  /** Number of event loops. They share the limits above. */
  readonly lanes: number;
  /** Such as old names, and settings of Orthanc's that hurt. */
  readonly warnings: readonly string[];
  /** For the info level: environment variables that count. */
  readonly notes: readonly string[];
}
