// SPDX-License-Identifier: GPL-3.0-or-later

import type { HybridSettings, NamingSettings, PluginSettings } from '../config/settings.ts';
import type { Envelope } from '../encryption/envelope.ts';
import type { LocalCacheStatus } from '../local/local-cache.ts';
import type { RemovalsStatus } from '../local/removals.ts';
import type { CountersSnapshot } from './figures.ts';

export interface Status extends CountersSnapshot {
  /** This machine's, in ISO 8601. */
  readonly time: string;
  readonly version: string;
  readonly provider: string;
  readonly bucket: string;
  /** The store's address or region; "" if neither is known. */
  readonly place: string;
  readonly rootPath: string;
  readonly structure: NamingSettings['structure'];
  /** null: HybridMode is off. */
  readonly hybrid: {
    readonly writeTo: HybridSettings['writeTo'];
    /** Orthanc's StorageDirectory. */
    readonly folder: string;
  } | null;
  /** null: new objects are not encrypted. */
  readonly encryption: { readonly format: string; readonly masterKeyId: number } | null;
  /** The ids of all keys that are there, which decrypt also older objects. */
  readonly keyIds: readonly number[];
  /** null: DeleteInBackground is off, and nothing is left of it. */
  readonly removals: RemovalsStatus | null;
  /** null: there is none. */
  readonly localCache: LocalCacheStatus | null;
  readonly node: string;
  /** The number of event loops. The figures are those of all. */
  readonly lanes: number;
  readonly uptimeSeconds: number;
  readonly inFlight: number;
}

/** @returns a function that makes the answer to GET /object-storage/status, without secrets */
export function createStatus(deps: {
  readonly version: string;
  readonly provider: NonNullable<PluginSettings['provider']>;
  readonly naming: NamingSettings;
  readonly hybrid: HybridSettings | undefined;
  readonly envelope: Pick<Envelope, 'format' | 'masterKeyId' | 'keyIds'> | undefined;
  readonly lanes: number;
  readonly figures: () => Promise<CountersSnapshot>;
  readonly removals?: () => RemovalsStatus | undefined;
  readonly localCache?: () => LocalCacheStatus | undefined;
}): () => Promise<Status> {
  const startedMs = performance.now();
  return async () => {
    const figures = await deps.figures();
    return {
      time: new Date().toISOString(),
      version: deps.version,
      provider: deps.provider.kind,
      bucket: deps.provider.bucket,
      place: deps.provider.place,
      rootPath: deps.naming.rootPath,
      structure: deps.naming.structure,
      hybrid: hybridOf(deps.hybrid),
      encryption: encryptionOf(deps.envelope),
      keyIds: deps.envelope?.keyIds ?? [],
      removals: deps.removals?.() ?? null,
      localCache: deps.localCache?.() ?? null,
      node: process.version,
      lanes: deps.lanes,
      uptimeSeconds: Math.round((performance.now() - startedMs) / 1000),
      inFlight: Object.values(figures.operations).reduce((sum, { inFlight }) => sum + inFlight, 0),
      ...figures,
    };
  };
}

function hybridOf(hybrid: HybridSettings | undefined): Status['hybrid'] {
  return hybrid === undefined
    ? null
    : { writeTo: hybrid.writeTo, folder: hybrid.fileSystem.folder };
}

function encryptionOf(
  envelope: Pick<Envelope, 'format' | 'masterKeyId'> | undefined,
): Status['encryption'] {
  const { format, masterKeyId } = envelope ?? {};
  return format === undefined || masterKeyId === undefined ? null : { format, masterKeyId };
}
