// SPDX-License-Identifier: GPL-3.0-or-later
// The two places that hold attachments: the bucket, and Orthanc's folder.

import { statSync } from 'node:fs';
import { type AttachmentStore, createAttachmentStore } from '../../attachments/attachments.ts';
import { createFileAttachments } from '../../attachments/file-attachments.ts';
import { ORTHANC_NAMING } from '../../attachments/naming.ts';
import {
  bucketNameOf,
  checkFolder,
  checkStores,
  closeStores,
  openCheckedObjects,
  openStores,
} from '../../attachments/open-stores.ts';
import { readFileSystem } from '../../config/orthanc.ts';
import type { Report } from '../../config/problems.ts';
import type {
  FileSystemSettings,
  NamingSettings,
  PluginSettings,
  ProviderSettings,
} from '../../config/settings.ts';
import type { Envelope } from '../../encryption/envelope.ts';
import type { EncryptionFormat } from '../../encryption/sizes.ts';
import { badConfig } from '../../errors.ts';
import { isLocal } from '../../local/disk.ts';
import { readPending } from '../../local/pending-view.ts';
import { createFileSystemStore } from '../../providers/index.ts';
import type { ObjectStore } from '../../store/object-store.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { cliLog, loadCliSettings } from './settings.ts';

export interface Sides {
  readonly provider: ProviderSettings;
  readonly bucket: Side;
  /** Orthanc's folder, with HybridMode. */
  readonly files: Side | undefined;
  /** The same folder with `withDisk`, whatever HybridMode is. */
  readonly disk: Side | undefined;
  close(): Promise<void>;
}

/** Opens and checks the bucket, and with HybridMode the folder.
 *  @param options `withDisk` opens the folder also without HybridMode */
export async function openSides(
  configPath: string,
  { withDisk = false }: { readonly withDisk?: boolean } = {},
): Promise<Sides> {
  const { provider, settings, envelope } = loadCliSettings(configPath);
  const { naming, hybrid } = settings;
  const folder = hybrid?.fileSystem ?? (withDisk ? readFolder(configPath) : undefined);
  const stores = await openStores(settings, provider, { log: cliLog });
  await checkStores(stores, naming, cliLog);
  const { objects } = stores;
  const files = stores.files ?? (folder && (await openFolder(folder, objects, naming)));
  const disk = files && folder && fileSide(files, folder, envelope);
  return {
    provider,
    bucket: { ...bucketSide(objects, provider, naming, envelope), isPending: stores.isPending },
    files: hybrid === undefined ? undefined : disk,
    disk: withDisk ? disk : undefined,
    close: () => closeStores({ objects, files }),
  };
}

/** Closes the bucket, too, if the folder cannot be used. */
async function openFolder(
  folder: FileSystemSettings,
  objects: ObjectStore,
  naming: NamingSettings,
): Promise<ObjectStore> {
  const files = createFileSystemStore(folder);
  try {
    await checkFolder({ files, objects }, naming);
    return files;
  } catch (error) {
    await closeStores({ files, objects });
    throw error;
  }
}

/** @param options `isSource`: all that is in the bucket is needed */
export async function openBucketSide(
  configPath: string,
  { isSource = false }: { readonly isSource?: boolean } = {},
): Promise<Side> {
  const { provider, settings, envelope } = loadCliSettings(configPath);
  if (isSource) await requireNothingPending(settings);
  const store = await openCheckedObjects(settings, provider, { log: cliLog });
  return bucketSide(store, provider, settings.naming, envelope);
}

function bucketSide(
  store: ObjectStore,
  provider: ProviderSettings,
  naming: NamingSettings,
  envelope: Envelope | undefined,
): Side {
  return {
    name: bucketNameOf(provider, naming),
    store,
    naming,
    attachments: createAttachmentStore({ store, naming, envelope }),
    isFileSystem: false,
    hasKeys: envelope !== undefined,
    format: envelope?.format,
    // Names of the flat structure tell what is encrypted.
    lookalikeFormat: naming.structure === 'legacy' ? envelope?.lookalikeFormat : envelope?.format,
  };
}

/** Opens and checks the bucket and Orthanc's StorageDirectory, whatever HybridMode is. Without HybridMode only Orthanc itself reads the
 *  files that are written there, and it has no keys. */
export async function openBucketAndFiles(
  configPath: string,
  { writesFiles }: { readonly writesFiles: boolean },
): Promise<{ readonly bucket: Side; readonly files: Side }> {
  const { provider, settings, envelope } = loadCliSettings(configPath);
  const folder = readFolder(configPath);
  refuseRootForOthers(folder);
  if (writesFiles) await requireNothingPending(settings);
  const objects = await openCheckedObjects(settings, provider, { log: cliLog });
  const files = await openFolder(folder, objects, settings.naming);
  const bucket = bucketSide(objects, provider, settings.naming, envelope);
  const forPlugin = fileSide(files, folder, envelope);
  if (!writesFiles || settings.hybrid !== undefined) return { bucket, files: forPlugin };
  const forOrthanc = fileSide(files, folder, undefined);
  return { bucket, files: { ...forOrthanc, decrypting: forPlugin.attachments } };
}

/** What is pending in LocalCache.Directory is not in the bucket yet, and would be passed over.
 *  @throws StorageError BAD_CONFIG */
export async function requireNothingPending({ localCache }: PluginSettings): Promise<void> {
  if (localCache === undefined) return;
  try {
    const { pending } = await readPending(localCache);
    if (pending.length === 0) return;
    throw badConfig(
      `${pending.length} objects are pending in LocalCache.Directory, and not in the bucket yet; run "orthanc-object-storage cache flush --config …", then this again`,
    );
  } catch (error) {
    if (!isLocal(error)) throw error;
    cliLog.warning(
      `${error.message}: what is pending there is passed over; run this on Orthanc's machine, as its user`,
    );
  }
}

function readFolder(configPath: string): FileSystemSettings {
  const report: Report = { problems: [], warnings: [], notes: [] };
  const folder = readFileSystem(readOrthancConfiguration(configPath), report);
  if (folder === undefined) throw badConfig(report.problems);
  return folder;
}

/** Folders that root makes belong to root. An Orthanc that runs as another user could neither write nor remove files in them. Also, that
 *  user could place a link that leads root elsewhere. */
function refuseRootForOthers({ folder }: FileSystemSettings): void {
  const owner = statSync(folder, { throwIfNoEntry: false })?.uid ?? 0;
  if (owner === 0 || process.geteuid?.() !== 0) return;
  throw badConfig(
    `StorageDirectory "${folder}": belongs to user ${owner}: what root puts into it Orthanc could not change, and root could read more there than Orthanc; run the command as that user, by sudo -u '#${owner}'`,
  );
}

function fileSide(
  store: ObjectStore,
  { folder }: FileSystemSettings,
  envelope: Envelope | undefined,
): Side {
  return {
    name: `file-system ${folder}`,
    store,
    naming: ORTHANC_NAMING,
    attachments: createFileAttachments(store, envelope),
    isFileSystem: true,
    hasKeys: envelope !== undefined,
    format: undefined,
    lookalikeFormat: envelope?.lookalikeFormat,
  };
}

/** A place that holds attachments. */
export interface Side {
  /** Identifies it in messages and in files of earlier runs. */
  readonly name: string;
  readonly store: ObjectStore;
  readonly naming: NamingSettings;
  readonly attachments: AttachmentStore;
  /** With LocalCache: whether an object is on this machine's disk only. */
  readonly isPending?: ((key: string) => Promise<boolean>) | undefined;
  /** Reads encrypted files, too, where `attachments` has no keys. */
  readonly decrypting?: AttachmentStore | undefined;
  /** Orthanc's own folder. Only lookalikes, and files that the C++ plugins have written, are encrypted in it. */
  readonly isFileSystem: boolean;
  readonly hasKeys: boolean;
  /** Of new objects; undefined where they are not encrypted. */
  readonly format: EncryptionFormat | undefined;
  /** Of new objects that begin like an encrypted one. */
  readonly lookalikeFormat: EncryptionFormat | undefined;
}
