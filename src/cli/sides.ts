// SPDX-License-Identifier: GPL-3.0-or-later
// The two places that commands work on: the bucket and the folder of one Orthanc's configuration.

import { createAttachmentStore } from '../attachments.ts';
import { loadConfiguration } from '../config/load.ts';
import { readFileSystem } from '../config/orthanc.ts';
import type { Report } from '../config/problems.ts';
import { isObject } from '../config/sections.ts';
import { StorageError } from '../errors.ts';
import type { Side } from '../jobs/side.ts';
import { ORTHANC_NAMING } from '../naming.ts';
import { createFileSystemStore, createStore } from '../providers/index.ts';
import { checkStore } from '../start-check.ts';
import { readOrthancConfiguration } from './orthanc-configuration.ts';
import { ASSUMED_ORTHANC_VERSION, createCliLogger, loadCliSettings } from './settings.ts';

/** Opens the bucket, with its keys, and tries it. @throws StorageError BAD_CONFIG */
export async function openBucketSide(configPath: string): Promise<Side> {
  const log = createCliLogger();
  const { provider, settings, envelope } = loadCliSettings(configPath, log);
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

/** @returns whether the configuration keeps files in both places */
export function isHybrid(configPath: string): boolean {
  const settings = loadConfiguration(readOrthancConfiguration(configPath, process.env), {
    orthancVersion: ASSUMED_ORTHANC_VERSION,
    environmentVariables: process.env,
  });
  return settings.hybrid !== undefined;
}
