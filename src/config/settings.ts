// SPDX-License-Identifier: GPL-3.0-or-later

import type { Logger } from '../log.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Secret } from '../text/secret.ts';
import type { EncryptionSettings } from './encryption.ts';

export interface NetworkSettings {
  readonly connectionTimeoutMs: number;
  /** For one operation with its retries. */
  readonly requestTimeoutMs: number;
  readonly maxConnections: number;
  readonly maxRetries: number;
  /** Orthanc's HttpsCACertificates, a PEM file; undefined: the authorities that Node trusts. */
  readonly caCertificatesFile: string | undefined;
  readonly proxies: ProxySettings;
}

export interface ProxySettings {
  readonly http: ProxyServer | undefined;
  readonly https: ProxyServer | undefined;
  /** Hosts to reach directly, in the syntax of NO_PROXY. */
  readonly exceptions: string;
}

export interface ProxyServer {
  /** With user and password. */
  readonly url: Secret;
  /** For messages: "HttpProxy", or the name of an environment variable. */
  readonly setting: string;
}

/** From Orthanc's own settings. */
export type OrthancNetwork = Pick<NetworkSettings, 'caCertificatesFile' | 'proxies'>;

export interface ProviderSettings {
  /** Such as "s3". */
  readonly kind: string;
  /** As the user wrote it, such as "BlobStorage". */
  readonly section: string;
  /** The name of the bucket or container. */
  readonly bucket: string;
  /** An address or a region, to tell buckets of one name apart; "" if neither is known. Never a secret. */
  readonly place: string;
  readonly settings: NetworkSettings;
  /** Loads the provider's code. `createStore` calls it with the settings above. */
  open(settings: NetworkSettings, deps: StoreDependencies): Promise<ObjectStore>;
}

export interface StoreDependencies {
  readonly log: Logger;
  /** RootPath. The check at start writes its probe object below it. */
  readonly probePrefix?: string;
  /** True: a missing object may exist under another name or in another store. */
  readonly readsSeveralNames?: boolean;
  /** True if Orthanc does not verify the MD5 of its reads. */
  readonly verifyMd5?: boolean;
}

export function withNetwork(
  provider: ProviderSettings,
  changes: Partial<NetworkSettings>,
): ProviderSettings {
  return { ...provider, settings: { ...provider.settings, ...changes } };
}

export interface NamingSettings {
  /** Without a slash at its start; a slash joins it to the names below. "" is the bucket's root. */
  readonly rootPath: string;
  readonly structure: 'flat' | 'legacy';
  /** True: reads and removals also try `.unk` for DicomUntilPixelData, the name in older C++ plugins. */
  readonly legacyUnknownFiles: boolean;
}

/** Attachments are in the provider's store and in Orthanc's own folder. */
export interface HybridSettings {
  /** For new attachments. Both are read. */
  readonly writeTo: 'object-storage' | 'file-system';
  readonly fileSystem: FileSystemSettings;
}

export interface FileSystemSettings {
  /** Orthanc's StorageDirectory, absolute. */
  readonly folder: string;
  /** Orthanc's SyncStorageArea: writes wait for the disk. */
  readonly isSynchronous: boolean;
}

/** Removals that are noted on this disk, and carried out later. */
export interface RemovalsSettings {
  /** DeleteInBackground. False: only what is noted already is carried out. */
  readonly isOn: boolean;
  /** Where notes may be. New ones go to the first. */
  readonly folders: readonly string[];
  /** Orthanc's SyncStorageArea. */
  readonly isSynchronous: boolean;
}

export const NO_REMOVALS: RemovalsSettings = { isOn: false, folders: [], isSynchronous: true };

/** Files of this machine in front of the provider's store. */
export interface LocalCacheSettings {
  readonly directory: string;
  readonly maxBytes: number;
  readonly writeBack: boolean;
  readonly uploadConcurrency: number;
  /** Orthanc's SyncStorageArea: writes wait for the disk. */
  readonly isSynchronous: boolean;
  /** How long a stop waits for uploads. */
  readonly stopTimeoutMs: number;
}

export interface PluginSettings {
  /** undefined: the configuration has no section of ours. */
  readonly provider: ProviderSettings | undefined;
  readonly naming: NamingSettings;
  /** undefined: no encryption and no keys. */
  readonly encryption: EncryptionSettings | undefined;
  readonly removals: RemovalsSettings;
  readonly localCache: LocalCacheSettings | undefined;
  /** undefined: the provider's store is the only one. */
  readonly hybrid: HybridSettings | undefined;
  /** Orthanc's StorageDirectory, if HybridMode is off (so that nothing reads it) and the path is absolute. */
  readonly unreadFolder: string | undefined;
  readonly requestTimeoutMs: number;
  readonly startTimeoutMs: number;
  /** The number of event loops. They share the limits. */
  readonly lanes: number;
  readonly warnings: readonly string[];
  /** For the info level of the log. */
  readonly notes: readonly string[];
}
