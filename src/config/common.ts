// SPDX-License-Identifier: GPL-3.0-or-later

import * as z from 'zod/mini';
import { showName } from '../text/secret.ts';
import { ENCRYPTION_KEY, encryptionSchema } from './encryption.ts';
import {
  choice,
  documented,
  exactTextSchema,
  flag,
  type RawSection,
  wholeNumber,
  withoutSecret,
} from './fields.ts';
import { LOCAL_CACHE_KEY, localCacheSchema, readLocalCache } from './local-cache.ts';
import type { Report } from './problems.ts';
import { readRemovals } from './removals.ts';
import type {
  HybridSettings,
  LocalCacheSettings,
  NetworkSettings,
  OrthancNetwork,
  PluginSettings,
} from './settings.ts';

const SECONDS_PER_DAY = 86_400;

export interface CommonSettings {
  readonly common: Pick<
    PluginSettings,
    'naming' | 'lanes' | 'removals' | 'requestTimeoutMs' | 'startTimeoutMs'
  >;
  readonly localCache: LocalCacheSettings | undefined;
  /** undefined: no hybrid storage. */
  readonly writeTo: HybridSettings['writeTo'] | undefined;
}

export type CommonValues = z.output<z.ZodMiniObject<ReturnType<typeof commonFields>>>;

export function commonFields() {
  return {
    RootPath: documented(z._default(rootPathSchema(), ''), {
      description:
        'A folder in the bucket, without "/" at its start. Do not change it once files are stored.',
      default: '',
    }),
    StorageStructure: choice(
      '"flat": uuid and extension. "legacy": Orthanc\'s own folders, no extension. Do not change it once files are stored.',
      ['flat', 'legacy'],
      'flat',
    ),
    EnableLegacyUnknownFiles: flag(
      'true: also finds the headers of DICOM files that the C++ plugins 1.2.0 to 1.3.0 stored as ".unk" instead of ".dcm.head".',
      false,
    ),
    MigrationFromFileSystemEnabled: flag('Old form of `HybridMode` "WriteToObjectStorage".', false),
    HybridMode: choice(
      '"Disabled": only the bucket is used. Otherwise the plugin reads from Orthanc\'s `StorageDirectory` and from the bucket, and writes to the one in the name.',
      ['Disabled', 'WriteToFileSystem', 'WriteToObjectStorage'],
      'Disabled',
    ),
    StartTimeout: wholeNumber(
      "How long Orthanc's start waits for a store that cannot be reached or that fails, in seconds. A wrong setting, key or bucket is refused at once. With 0, nothing is waited for.",
      { min: 0, max: SECONDS_PER_DAY, unit: 'seconds', default: 30 },
    ),
    StopTimeout: wholeNumber(
      "How long Orthanc's stop waits for pending uploads of `LocalCache`, in seconds. What is left then is uploaded after the next start.",
      { min: 0, max: SECONDS_PER_DAY, unit: 'seconds', default: 2 },
    ),
    ConnectionTimeout: wholeNumber('How long opening a connection may take, in seconds.', {
      min: 1,
      max: 3600,
      unit: 'seconds',
      default: 30,
      aliases: ['ConnectTimeout'],
    }),
    RequestTimeout: wholeNumber(
      'How long one read or write may take, with all its retries, in seconds. A removal has 8 seconds at most, because Orthanc waits for it.',
      { min: 1, max: SECONDS_PER_DAY, unit: 'seconds', default: 1200 },
    ),
    MaxConnections: wholeNumber(
      'How many connections to the provider may be open at once. Removals have up to 4 more.',
      { min: 1, max: 1000, unit: 'connections', default: 25 },
    ),
    MaxRetries: wholeNumber(
      'How often a failed request is sent again. A removal is sent again 6 times at most.',
      { min: 0, max: 100, unit: 'retries', default: 10 },
    ),
    Lanes: wholeNumber(
      'How many event loops serve requests, each on its own thread. More than 1 lets the plugin use more than one core, and takes 10 to 40 MB of memory each. They share `MaxConnections` and `MaxConcurrentInputSize`. `HybridMode`, `LocalCache` and `DeleteInBackground` need 1. How to choose: operations.md, "How many event loops".',
      { min: 1, max: 64, unit: 'threads', default: 1 },
    ),
    DeleteInBackground: flag(
      "true: a removal is noted on this machine's disk (in `LocalCache.Directory`, else in `StorageDirectory`) and carried out within seconds, many at once, so that nobody waits for the bucket. `Lanes` must be 1.",
      false,
    ),
    [LOCAL_CACHE_KEY]: documented(z.optional(localCacheSchema()), {
      description:
        'A folder of this machine in front of the bucket: see the section `LocalCache` below.',
    }),
    [ENCRYPTION_KEY]: documented(z.optional(encryptionSchema()), {
      description:
        'Encryption before anything leaves Orthanc: see the section `StorageEncryption` below.',
    }),
  };
}

// All three providers allow keys of 1,024 bytes. The longest name below RootPath has 51.
const ROOT_PATH_MAX_BYTES = 900;

function rootPathSchema() {
  const rule = (value: string) => {
    if (value.startsWith('/')) {
      const rest = value.replace(/^\/+/, '');
      return `must not start with "/": write ${showName(rest) === rest ? `"${rest}"` : 'it without'}`;
    }
    if (/[\p{Cc}\p{Cs}]/u.test(value)) return 'must not hold control characters';
    if (/(^|\/)\.{1,2}(\/|$)/.test(value)) return 'must not hold "." or ".." as a folder';
    if (Buffer.byteLength(value) > ROOT_PATH_MAX_BYTES) {
      return `must not be longer than ${ROOT_PATH_MAX_BYTES} bytes`;
    }
    return undefined;
  };
  // Removes one slash only: "a//" is another folder in the C++ plugins too.
  return z.pipe(
    exactTextSchema(withoutSecret(rule)),
    z.transform((value: string) => value.replace(/\/$/, '')),
  );
}

export function readNetwork(value: CommonValues, network: OrthancNetwork): NetworkSettings {
  return {
    connectionTimeoutMs: value.ConnectionTimeout * 1000,
    requestTimeoutMs: value.RequestTimeout * 1000,
    maxConnections: value.MaxConnections,
    maxRetries: value.MaxRetries,
    ...network,
  };
}

/** @param orthanc its whole configuration */
export function readCommon(
  section: string,
  value: CommonValues,
  orthanc: RawSection,
  report: Report,
): CommonSettings {
  const writeTo = readWriteTo(value);
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
  const cache = readLocalCache(section, value.LocalCache, orthanc, report);
  if (cache !== undefined && value.Lanes > 1) {
    report.problems.push(
      `${section}.Lanes: must be 1 with LocalCache, since one event loop has to know of all its files`,
    );
  }
  const stopTimeoutMs = value.StopTimeout * 1000;
  const localCache = cache && { ...cache, stopTimeoutMs };
  const naming = {
    rootPath: value.RootPath,
    structure: value.StorageStructure,
    legacyUnknownFiles: value.EnableLegacyUnknownFiles,
  };
  const requestTimeoutMs = value.RequestTimeout * 1000;
  const startTimeoutMs = value.StartTimeout * 1000;
  const removals = readRemovals(section, localCache?.directory, value, orthanc, report);
  const common = { naming, lanes: value.Lanes, removals, requestTimeoutMs, startTimeoutMs };
  return { common, localCache, writeTo };
}

function readWriteTo(value: CommonValues): HybridSettings['writeTo'] | undefined {
  if (value.HybridMode === 'WriteToFileSystem') return 'file-system';
  return value.HybridMode === 'WriteToObjectStorage' || value.MigrationFromFileSystemEnabled
    ? 'object-storage'
    : undefined;
}
