// SPDX-License-Identifier: GPL-3.0-or-later
// The two places that commands work on: the bucket and the folder of one Orthanc's configuration.

import { createAttachmentStore } from '../attachments.ts';
import { readFileSystem } from '../config/orthanc.ts';
import type { Report } from '../config/problems.ts';
import { isObject } from '../config/sections.ts';
import type { FileSystemSettings, NamingSettings, ProviderSettings } from '../config/settings.ts';
import { StorageError } from '../errors.ts';
import type { Side } from '../jobs/side.ts';
import type { Logger } from '../log.ts';
import { ORTHANC_NAMING } from '../naming.ts';
import { createFileSystemStore, createStore } from '../providers/index.ts';
import { checkStore } from '../start-check.ts';
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

/** Opens the bucket, and with HybridMode the folder. @throws StorageError BAD_CONFIG */
export async function openSides(configPath: string): Promise<Sides> {
  const log = createCliLogger();
  const opened = loadCliSettings(configPath, log);
  const bucket = await openBucket(opened, log);
  const { hybrid, naming } = opened.settings;
  const files = hybrid === undefined ? undefined : await openFolder(hybrid.fileSystem);
  return {
    bucket,
    files,
    bucketName: nameOf(opened.provider, naming),
    close: async () => {
      await Promise.all([bucket.store.close(), files?.store.close()]);
    },
  };
}

/** Opens the bucket, with its keys, and tries it. @throws StorageError BAD_CONFIG */
export async function openBucketSide(configPath: string): Promise<Side> {
  const log = createCliLogger();
  return await openBucket(loadCliSettings(configPath, log), log);
}

async function openBucket(
  { provider, settings, envelope }: ReturnType<typeof loadCliSettings>,
  log: Logger,
): Promise<Side> {
  const { naming } = settings;
  const store = await createStore(provider, { log, probePrefix: naming.rootPath });
  try {
    await checkStore(store);
  } catch (error) {
    await store.close();
    throw error;
  }
  return {
    store,
    naming,
    attachments: createAttachmentStore({ store, naming, envelope }),
    isFileSystem: false,
    hasKeys: envelope !== undefined,
    format: envelope?.format,
  };
}

/** Opens Orthanc's StorageDirectory. @throws StorageError BAD_CONFIG */
export async function openFileSide(configPath: string): Promise<Side> {
  const orthanc: unknown = JSON.parse(readOrthancConfiguration(configPath, process.env));
  const report: Report = { problems: [], warnings: [], notes: [] };
  const settings = isObject(orthanc) ? readFileSystem(orthanc, report) : undefined;
  if (settings === undefined) throw new StorageError('BAD_CONFIG', report.problems.join('\n'));
  return await openFolder(settings);
}

async function openFolder(settings: FileSystemSettings): Promise<Side> {
  const store = createFileSystemStore(settings);
  await checkStore(store);
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
  const [place, bucket] = placeOf(provider);
  return [provider.kind, place, bucket, rootPath].filter((part) => part !== '').join(' ');
}

function placeOf(provider: ProviderSettings): readonly [place: string, bucket: string] {
  switch (provider.kind) {
    case 's3':
      return [provider.s3.endpoint ?? provider.s3.region, provider.s3.bucketName];
    case 'azure': {
      const { account, containerName } = provider.azure;
      // Of a connection string nothing else may be seen.
      const place =
        account.kind === 'default-chain'
          ? account.accountUrl
          : /(?:AccountName|BlobEndpoint)=([^;?]*)/i.exec(account.connectionString.reveal())?.[1];
      return [place ?? '', containerName];
    }
    case 'google':
      return [provider.google.endpoint ?? '', provider.google.bucketName];
    default:
      return provider satisfies never;
  }
}
