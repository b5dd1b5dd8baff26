// SPDX-License-Identifier: GPL-3.0-or-later
// What the configuration means once it is read and checked. Orthanc's PascalCase keys end in this folder.

import type { Logger } from '../log.ts';
import type { ObjectStore } from '../store/object-store.ts';
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
  /** Tells the bucket from others of its name, by an address or a region; "" where nothing does. No secret. */
  readonly place: string;
  readonly settings: NetworkSettings;
  /** Loads the provider's code. For its own settings alone: `createStore` calls it. */
  open(settings: NetworkSettings, deps: StoreDependencies): Promise<ObjectStore>;
}

/** What a provider's store needs beside its settings. */
export interface StoreDependencies {
  readonly log: Logger;
  /** The RootPath: where the check at start may write a probe object. */
  readonly probePrefix?: string;
  /** A file that is not where it is looked for first may be under another name or in another store. */
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
