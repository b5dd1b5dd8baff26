// SPDX-License-Identifier: GPL-3.0-or-later
// The two places that commands work on: the bucket and the folder of one Orthanc's configuration.

import { createAttachmentStore } from '../attachments.ts';
import { readFileSystem } from '../config/orthanc.ts';
import type { Report } from '../config/problems.ts';
import { isObject } from '../config/sections.ts';
import type { NamingSettings, ProviderSettings } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import type { Side } from '../jobs/side.ts';
import { ORTHANC_NAMING } from '../naming.ts';
import { badConfig } from '../open-configuration.ts';
import { checkStores, closeStores, openCheckedObjects, openStores } from '../open-stores.ts';
import { createFileSystemStore } from '../providers/index.ts';
import { withStartTimeout } from '../start-check.ts';
import { bucketOf } from '../status.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { createCliLogger, loadCliSettings } from './settings.ts';

/** All places of one Orthanc. */
export interface Sides {
  readonly bucket: Side;
  /** With HybridMode. */
  readonly files: Side | undefined;
  /** Tells the bucket from others, for people and in reports. */
  readonly bucketName: string;
  close(): Promise<void>;
}

/** Opens the bucket, and with HybridMode the folder, and tries them. @throws StorageError BAD_CONFIG */
export async function openSides(configPath: string): Promise<Sides> {
  const log = createCliLogger();
  const { provider, settings, envelope } = loadCliSettings(configPath, log);
  const stores = await openStores(settings, provider, { log });
  await checkStores(stores, settings.naming, log);
  return {
    bucket: bucketSide(stores.objects, settings.naming, envelope),
    files: stores.files === undefined ? undefined : fileSide(stores.files),
    bucketName: nameOf(provider, settings.naming),
    close: () => closeStores(stores),
  };
}

/** Opens the bucket, with its keys, and tries it. @throws StorageError BAD_CONFIG */
export async function openBucketSide(configPath: string): Promise<Side> {
  const log = createCliLogger();
  const { provider, settings, envelope } = loadCliSettings(configPath, log);
  const store = await openCheckedObjects(settings, provider, { log });
  return bucketSide(store, settings.naming, envelope);
}

function bucketSide(
  store: ObjectStore,
  naming: NamingSettings,
  envelope: Envelope | undefined,
): Side {
  return {
    store,
    naming,
    attachments: createAttachmentStore({ store, naming, envelope }),
    isFileSystem: false,
    hasKeys: envelope !== undefined,
    format: envelope?.format,
  };
}

/** Opens Orthanc's StorageDirectory, and tries it. @throws StorageError BAD_CONFIG */
export async function openFileSide(configPath: string): Promise<Side> {
  const orthanc: unknown = JSON.parse(readOrthancConfiguration(configPath, process.env));
  const report: Report = { problems: [], warnings: [], notes: [] };
  const settings = isObject(orthanc) ? readFileSystem(orthanc, report) : undefined;
  if (settings === undefined) throw badConfig(report.problems);
  const store = createFileSystemStore(settings);
  await withStartTimeout((signal) => store.check({ signal }));
  return fileSide(store);
}

function fileSide(store: ObjectStore): Side {
  const naming = ORTHANC_NAMING;
  return {
    store,
    naming,
    attachments: createAttachmentStore({ store, naming }),
    isFileSystem: true,
    hasKeys: false,
    format: undefined,
  };
}

function nameOf(provider: ProviderSettings, { rootPath }: NamingSettings): string {
  const parts = [provider.kind, placeOf(provider), bucketOf(provider), rootPath];
  return parts.filter((part) => part !== '').join(' ');
}

function placeOf({ kind, settings }: ProviderSettings): string {
  switch (kind) {
    case 's3':
      return settings.endpoint ?? settings.region;
    case 'azure': {
      const { account } = settings;
      if (account.kind === 'default-chain') return account.accountUrl;
      // Of a connection string nothing else may be seen.
      const text = account.connectionString.reveal();
      return /(?:AccountName|BlobEndpoint)=([^;?]*)/i.exec(text)?.[1] ?? '';
    }
    case 'google':
      return settings.endpoint ?? '';
    default:
      return kind satisfies never;
  }
}
