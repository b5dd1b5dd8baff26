// SPDX-License-Identifier: GPL-3.0-or-later

import type { PluginSettings } from './config/settings.ts';
import type { Counters } from './counters.ts';

export interface Status {
  readonly version: string;
  readonly provider: string;
  readonly bucket: string;
  readonly node: string;
  /** Since this runtime started. */
  readonly uptimeSeconds: number;
  readonly operations: ReturnType<Counters['snapshot']>['operations'];
  readonly errors: ReturnType<Counters['snapshot']>['errors'];
}

/** @returns what GET /object-storage/status answers; never a secret */
export function createStatus(deps: {
  readonly version: string;
  readonly provider: NonNullable<PluginSettings['provider']>;
  readonly counters: Counters;
}): () => Status {
  const startedMs = performance.now();
  return () => ({
    version: deps.version,
    provider: deps.provider.kind,
    bucket: deps.provider.s3.bucketName,
    node: process.version,
    uptimeSeconds: Math.round((performance.now() - startedMs) / 1000),
    ...deps.counters.snapshot(),
  });
}
